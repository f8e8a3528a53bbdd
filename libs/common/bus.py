"""The bus: one NATS connection a process, with the traps of its defaults closed.

FastStream's broker owns the connection and serves request/reply. JetStream is published to in windows with a time-out
of our own on each acknowledgement, and consumed by `libs.common.consumer`. Nothing here declares a stream or a
consumer: provisioning alone does that.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

import nats.errors
import orjson
from faststream.nats import NatsBroker
from faststream.nats.security import NatsNKey
from nats.aio.client import DEFAULT_INBOX_PREFIX, Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from pydantic import SecretStr

from libs.common import wire
from libs.common.contracts import permissions
from libs.common.denials import Denials, NotPermitted
from libs.common.publishing import Outgoing, PublishRefused, Sent, Stored, no_responders, outcome
from libs.common.telemetry import log

__all__ = ["Bus", "Outgoing", "PublishRefused", "Stored", "round_trip"]

EXIT_CLOSED: Final = 71
RECONNECT_WAIT_SECONDS: Final = 1
PING_SECONDS: Final = 5
PINGS_OUTSTANDING: Final = 2
ACK_TIMEOUT_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 2
WINDOW: Final = 256


async def round_trip(client: Client) -> None:
    """Wait until the server has taken in all that was sent before, subscriptions above all.

    A message to ourselves, for it keeps its place in the queue: nats-py's `flush` writes its PING past what is still
    pending, so that a subscription made just before may reach the server after the answer.

    Raises:
        nats.errors.Error: not connected, or no answer in time.
    """
    inbox = client.new_inbox()
    own = await client.subscribe(inbox)
    try:
        await client.publish(inbox)
        await own.next_msg(timeout=FLUSH_SECONDS)
    finally:
        with contextlib.suppress(nats.errors.Error):
            await own.unsubscribe()


class Bus:
    """One connection. It reconnects for ever; when it is closed for good the process ends, and is started again.

    It signs in as `identity` with the seed `nkey`, and hears answers on that identity's own subjects; without a key the
    URL says who it is. Whatever the server does not permit raises `NotPermitted`, or refuses a publish, at once.
    """

    def __init__(self, url: str, *, name: str, identity: str = "", nkey: SecretStr | None = None) -> None:
        self._name = name
        self._closing = False
        self._nc: Client | None = None
        self._inbox = ""
        self._waiting: dict[str, Sent] = {}
        self._denials = Denials()
        self._count = 0
        self._on_reconnect: list[Callable[[], Awaitable[None]]] = []
        self.broker = NatsBroker(
            url,
            name=name,
            logger=None,
            max_reconnect_attempts=-1,
            reconnect_time_wait=RECONNECT_WAIT_SECONDS,
            ping_interval=PING_SECONDS,
            max_outstanding_pings=PINGS_OUTSTANDING,
            closed_cb=self._closed,
            error_cb=self._error,
            disconnected_cb=self._disconnected,
            reconnected_cb=self._reconnected,
            flush_timeout=FLUSH_SECONDS,
            drain_timeout=3,
            graceful_timeout=5,
            inbox_prefix=permissions.inbox(identity) if identity else DEFAULT_INBOX_PREFIX,
            security=NatsNKey.from_seed(nkey.get_secret_value()) if nkey else None,
        )

    async def connect(self) -> None:
        """Connect, waiting for the server for as long as it takes; handlers do not run yet.

        Raises:
            NotPermitted: answers cannot be heard.
        """
        self._nc = await self.broker.connect()
        wire.quicken(self._nc)
        self._guard(self._nc)
        self._inbox = self.nc.new_inbox()
        answers = await self.subscribe(f"{self._inbox}.*", self._acknowledged)
        wire.deliver(self.nc, answers, self._take_answer)

    async def serve(self) -> None:
        """Start answering requests; returns once the server knows of it, or will be told at the next reconnection.

        Raises:
            NotPermitted: the server does not let this process answer them.
        """
        await self.broker.start()
        await self._settle()
        self._denials.check_all()

    async def subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Hear what is said on core NATS, as soon as this returns; or from the next reconnection on.

        Raises:
            NotPermitted: the server does not let this process hear it.
        """
        subscription = await self.nc.subscribe(subject, cb=callback)
        await self._settle()
        self._denials.check(subject)
        return subscription

    def unless_denied(self, subject: str) -> AbstractAsyncContextManager[None]:
        """Within the block, wait for what comes of publishing on `subject`; raises NotPermitted if nothing may."""
        return self._denials.unless_denied(subject)

    def on_denied(self, subject: str, callback: Callable[[NotPermitted], None]) -> None:
        """Call back when `subject` may not be published on; a later callback for it takes this one's place."""
        self._denials.watch(subject, callback)

    async def close(self) -> None:
        """Stop answering and leave, whether or not the server is there."""
        self._closing = True
        with contextlib.suppress(nats.errors.Error):  # a connection that is just reconnecting refuses to drain
            await self.broker.stop()
        if self._nc is not None:
            await self._nc.close()

    @property
    def nc(self) -> Client:
        """The connection."""
        if self._nc is None:
            raise ConnectionError("the bus is not connected yet")
        return self._nc

    @property
    def js(self) -> JetStreamContext:
        """JetStream, for information and single reads; publishing goes through `publish`."""
        return self.nc.jetstream()

    async def ping(self) -> None:
        """One round trip to the server.

        Raises:
            Exception: whatever is wrong, within two seconds.
        """
        if not self.nc.is_connected:  # nats-py's flush succeeds at once while it reconnects
            raise ConnectionError("not connected")
        await self.nc.flush(timeout=FLUSH_SECONDS)

    async def publish(self, messages: Sequence[Outgoing]) -> list[Stored | PublishRefused]:
        """Store `messages` in order, in one window, and say of each what became of it; never raises for one of them."""
        if not self.nc.is_connected:
            return [PublishRefused("not connected") for _ in messages]
        window: dict[str, Sent] = {}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ACK_TIMEOUT_SECONDS
        try:
            for message in messages:
                self._count += 1
                token = str(self._count)
                window[token] = self._waiting[token] = Sent(message.subject, loop.create_future())
                await self._send(message, token, window[token], deadline)
            if window:
                answers = [sent.answer for sent in window.values()]
                await asyncio.wait(answers, timeout=max(0.0, deadline - loop.time()))
            return [outcome(sent.answer, ACK_TIMEOUT_SECONDS) for sent in window.values()]
        finally:
            for token in window:
                self._waiting.pop(token, None)

    async def _send(self, message: Outgoing, token: str, sent: Sent, deadline: float) -> None:
        """Hand one message to the connection; what cannot be sent is answered here and does not hold up the others."""
        reply = f"{self._inbox}.{token}"
        try:
            if not self.nc.is_connected:  # it would be kept back and sent at a moment of the client's choosing
                raise ConnectionError("disconnected within the window")
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError("the connection takes nothing")
            await wire.publish(self.nc, message.subject, message.payload, reply=reply, headers=message.headers)
        except (nats.errors.Error, OSError, ValueError) as error:
            sent.refuse(f"{type(error).__name__}: {error}")

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call `callback` each time the connection is back: what stood at the old server is gone."""
        self._on_reconnect.append(callback)

    async def note(self, subject: str, data: Mapping[str, Any]) -> None:
        """A word on core NATS that may be lost without harm."""
        await self.nc.publish(subject, orjson.dumps(data))

    def _take_answer(self, message: Msg) -> bool:
        sent = self._waiting.get(message.subject.rpartition(".")[2])
        if sent is not None and not sent.answer.done():
            sent.answer.set_result(b"" if no_responders(message) else message.data)
        return True

    async def _acknowledged(self, message: Msg) -> None:
        self._take_answer(message)

    async def _closed(self) -> None:
        if not self._closing:
            log.critical("bus_closed", fix="the process ends so that it is started again")
            os._exit(EXIT_CLOSED)

    async def _error(self, error: Exception) -> None:
        denied = self._denials.hear(error)
        if denied is None:
            log.warning("bus_error", error=f"{type(error).__name__}: {error}")
            if self._inbox and self._denials.unauthorised(error):
                log.critical("bus_shut_out", fix="the process ends so that it is started again with its newest key")
                os._exit(EXIT_CLOSED)
            return
        for sent in self._waiting.values():
            if sent.subject.lower() == denied.subject and denied.operation == "publish":
                sent.refuse(f"not permitted: publish {sent.subject}")

    def _guard(self, client: Client) -> None:
        """Let every request over this connection, JetStream's among them, hear of its denial."""
        plain = client.request

        async def request(
            subject: str,
            payload: bytes = b"",
            timeout: float = 0.5,
            old_style: bool = False,
            headers: dict[str, Any] | None = None,
        ) -> Msg:
            async with self._denials.unless_denied(subject):
                return await plain(subject, payload, timeout, old_style, headers)

        client.request = request  # type: ignore[method-assign]  # there is no public way

    async def _settle(self) -> None:
        """Wait until the server has taken in what was subscribed to, if it is there."""
        with contextlib.suppress(nats.errors.Error):
            await round_trip(self.nc)

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("bus_disconnected")
        for sent in self._waiting.values():
            sent.refuse("disconnected before the acknowledgement")
        if self._nc is not None:
            # The client would send its unsent bytes after reconnecting, behind what the old connection lost. Whoever
            # published repeats it in order; requests time out; subscriptions are the client's own to renew.
            self._nc._pending.clear()  # noqa: SLF001 — there is no public way to drop it
            self._nc._pending_data_size = 0  # noqa: SLF001 — as above

    async def _reconnected(self) -> None:
        log.info("bus_reconnected")
        for callback in self._on_reconnect:
            await callback()
