"""Pulls from a durable JetStream consumer: whatever has arrived is one batch, and nothing lingers.

FastStream's batch subscriber waits until a batch is full or a time-out is over, which costs either latency or idle
CPU; here requests stand at the server, messages arrive in a callback, and `next` hands over what is there
(docs/decisions/0003). A consumer that vanishes is never made again from here: the process ends, loudly.
"""

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from typing import Final

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import NotFoundError

from libs.common import wire
from libs.common.bus import Bus
from libs.common.cancelling import heed
from libs.common.denials import NotPermitted
from libs.common.rounds import until_next
from libs.common.streams import described
from libs.common.telemetry import log

EXIT_CONSUMER_GONE: Final = 72
ASK: Final = 256
EXPIRES_SECONDS: Final = 30
HEARTBEAT_SECONDS: Final = 5
LOOK_SECONDS: Final = 1.0
BATCH_BYTES: Final = 512 * 1024
"""So that large messages do not make a transaction longer than its acknowledgement is waited for."""
QUIET_SECONDS: Final = 2.5 * HEARTBEAT_SECONDS
_OLD_TOKENS: Final = 9


def sequence_of(message: Msg) -> int:
    """A pulled message's sequence in its stream."""
    tokens = message.reply.split(".")
    return int(tokens[sequence_at(tokens)])


def sequence_at(tokens: Sequence[str]) -> int:
    """Where the stream's sequence stands in a pulled message's reply subject; the consumer's and the time follow it.

    `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.…`; newer servers put domain and account before the stream.
    """
    return 5 if len(tokens) == _OLD_TOKENS else 7


class Puller:
    """The messages of one durable. At most `ahead` are held here unacknowledged, so another instance gets its share."""

    def __init__(
        self,
        bus: Bus,
        *,
        stream: str,
        durable: str,
        batch: int,
        batch_bytes: int = BATCH_BYTES,
        ahead: int = 2 * ASK,
    ) -> None:
        self._bus = bus
        self.stream = stream
        self.durable = durable
        self._batch, self._batch_bytes = batch, batch_bytes
        self._ahead = max(ahead, ASK)
        self._subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}"
        self._buffer: deque[Msg] = deque()
        self._arrived = asyncio.Event()
        self._credit = 0
        self._inbox = ""
        self._heard = 0.0
        self._denied: NotPermitted | None = None
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Subscribe and ask for the first messages.

        Raises:
            NotFoundError: the consumer does not exist; run provisioning.
            NotPermitted: the server does not let this process look at it.
        """
        await self._bus.js.consumer_info(self.stream, self.durable)
        heed()
        self._inbox = self._bus.nc.new_inbox()
        self._bus.on_denied(self._subject, self._refuse)
        self._subscription = await self._bus.subscribe(self._inbox, self._receive)
        wire.deliver(self._bus.nc, self._subscription, self._take_in)
        self._bus.on_reconnect(self._forget)
        await self._forget()
        await self._ask()

    async def stop(self) -> None:
        """Ask for nothing more; what is held and not acknowledged is delivered again to someone."""
        if self._subscription is not None and not self._bus.nc.is_closed:
            await self._subscription.unsubscribe()

    @property
    def waiting(self) -> bool:
        """Whether messages have arrived that `next` would hand over at once."""
        return bool(self._buffer)

    async def next(self) -> list[Msg]:
        """The messages that have arrived, at least one and at most a batch, in the order of the stream.

        Raises:
            NotPermitted: the server does not let this process take from the consumer.
        """
        while not self._buffer:
            if self._denied is not None:
                raise self._denied
            self._arrived.clear()
            try:
                # Not wait_for: before Python 3.12 it loses a cancellation that meets an arrival.
                async with asyncio.timeout(self._patience()):
                    await self._arrived.wait()
            except TimeoutError:
                await self._if_quiet()
                await self._ask()
        taken = self._take()
        await self._ask()
        return taken

    def _patience(self) -> float:
        """Seconds until there is something to do though nothing arrives: asking, or looking why it is so quiet."""
        if self._room():
            return LOOK_SECONDS
        return max(LOOK_SECONDS, self._heard + QUIET_SECONDS - asyncio.get_running_loop().time())

    def _room(self) -> int:
        """How many messages may be asked for; asked for together, they cost one heartbeat."""
        return max(0, self._ahead - self._credit - len(self._buffer)) // ASK * ASK

    def _take(self) -> list[Msg]:
        taken, size = [self._buffer.popleft()], 0
        while self._buffer and len(taken) < self._batch:
            size += len(taken[-1].data)
            if size + len(self._buffer[0].data) > self._batch_bytes:
                break
            taken.append(self._buffer.popleft())
        return taken

    async def acknowledge(self, messages: list[Msg], *, last_only: bool = False) -> None:
        """Acknowledge after the commit, in one write and without waiting for the server's word.

        A lost acknowledgement costs a redelivery, which the inbox absorbs, as it does when the process dies right here.
        """
        done = messages[-1:] if last_only else messages
        try:
            await wire.publish_bare(self._bus.nc, [message.reply for message in done], b"+ACK")
        except nats.errors.Error as error:
            log.warning("ack_unsent", consumer=self.durable, error=f"{type(error).__name__}: {error}")

    async def check(self, every: float) -> None:
        """Watch that the consumer exists: a deleted one goes silent without an error, so the process ends instead."""
        while True:
            await asyncio.sleep(until_next(every))
            await self._if_gone()
            heed()

    async def _if_gone(self) -> None:
        try:
            await described(self._bus, f"CONSUMER.INFO.{self.stream}.{self.durable}")
        except NotFoundError:
            log.critical("consumer_gone", stream=self.stream, durable=self.durable, fix="run `rangerctl provision`")
            os._exit(EXIT_CONSUMER_GONE)
        except (nats.errors.Error, OSError) as error:
            log.warning("consumer_unchecked", durable=self.durable, error=f"{type(error).__name__}: {error}")

    async def _ask(self) -> None:
        while room := self._room():
            self._credit += room
            request = {
                "batch": room,
                "expires": EXPIRES_SECONDS * 1_000_000_000,
                "idle_heartbeat": HEARTBEAT_SECONDS * 1_000_000_000,
            }
            try:
                await self._bus.nc.publish(self._subject, orjson.dumps(request), reply=self._inbox)
            except (nats.errors.Error, OSError):
                self._credit -= room
                return

    def _refuse(self, denied: NotPermitted) -> None:
        self._denied = NotPermitted(denied.operation, self._subject)
        self._arrived.set()

    def _take_in(self, message: Msg) -> bool:
        """Keep what the stream holds; what the server says of a request is for `_receive`."""
        if message.headers and "Status" in message.headers:
            return False
        self._heard = asyncio.get_running_loop().time()
        self._credit = max(0, self._credit - 1)
        self._buffer.append(message)
        self._arrived.set()
        return True

    async def _receive(self, message: Msg) -> None:
        if self._take_in(message):
            return
        self._heard = asyncio.get_running_loop().time()
        status = (message.headers or {}).get("Status")
        if status != "100":
            # A request ended early; the header says how much of it was left. `next` asks again, so that a server which
            # is still starting is not asked in a hot loop.
            left = (message.headers or {}).get("Nats-Pending-Messages", str(ASK))
            self._credit = max(0, self._credit - int(left))
            self._arrived.set()
            if status == "408":
                await self._ask()
            # Nobody answers (503) where the consumer was gone before it was asked, or JetStream is still starting.
            if status == "503" or "Consumer Deleted" in (message.headers or {}).get("Description", ""):
                await self._if_gone()

    async def _if_quiet(self) -> None:
        """Neither message nor heartbeat: the requests were lost with a server, so they are counted as gone."""
        if asyncio.get_running_loop().time() - self._heard > QUIET_SECONDS and self._bus.nc.is_connected:
            await self._forget()

    async def _forget(self) -> None:
        self._heard = asyncio.get_running_loop().time()
        self._credit = 0
        self._arrived.set()
