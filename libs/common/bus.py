"""The bus: one NATS connection a process, with the traps of its defaults closed.

FastStream's broker owns the connection and serves request/reply. JetStream is published to in windows with a time-out
of our own on each acknowledgement, and consumed by `libs.common.consumer`. Nothing here declares a stream or a
consumer: provisioning alone does that.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import nats.errors
import orjson
from faststream.nats import NatsBroker
from msgspec import Struct
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js import JetStreamContext

from libs.common import wire
from libs.common.telemetry import log

EXIT_CLOSED: Final = 71
RECONNECT_WAIT_SECONDS: Final = 1
PING_SECONDS: Final = 5
PINGS_OUTSTANDING: Final = 2
ACK_TIMEOUT_SECONDS: Final = 5.0
FLUSH_SECONDS: Final = 2
WINDOW: Final = 256


class Outgoing(Struct, frozen=True):
    """A message for JetStream; `headers` hold its `Nats-Msg-Id`, so that a repeated publish is dropped."""

    subject: str
    payload: bytes
    headers: dict[str, str]


class Stored(Struct, frozen=True):
    """JetStream's acknowledgement: where the message stands. `duplicate` means that it stood there before."""

    stream: str
    seq: int
    duplicate: bool


class PublishRefused(Exception):
    """JetStream answered no, or not in time; in the latter case the message may be stored all the same."""


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
    """One connection. It reconnects for ever; when it is closed for good the process ends, and is started again."""

    def __init__(self, url: str, *, name: str) -> None:
        self._name = name
        self._closing = False
        self._nc: Client | None = None
        self._inbox = ""
        self._waiting: dict[str, asyncio.Future[bytes | PublishRefused]] = {}
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
        )

    async def connect(self) -> None:
        """Connect, waiting for the server for as long as it takes; handlers do not run yet."""
        self._nc = await self.broker.connect()
        wire.quicken(self._nc)
        self._inbox = self.nc.new_inbox()
        answers = await self.nc.subscribe(f"{self._inbox}.*", cb=self._acknowledged)
        wire.deliver(self.nc, answers, self._take_answer)

    async def serve(self) -> None:
        """Start answering requests; returns once the server knows of it, or will be told at the next reconnection."""
        await self.broker.start()
        with contextlib.suppress(nats.errors.Error):
            await round_trip(self.nc)

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
        window: dict[str, asyncio.Future[bytes | PublishRefused]] = {}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + ACK_TIMEOUT_SECONDS
        try:
            for message in messages:
                self._count += 1
                token = str(self._count)
                window[token] = self._waiting[token] = loop.create_future()
                await self._send(message, token, window[token], deadline)
            if window:
                await asyncio.wait(window.values(), timeout=max(0.0, deadline - loop.time()))
            return [_outcome(future) for future in window.values()]
        finally:
            for token in window:
                self._waiting.pop(token, None)

    async def _send(
        self, message: Outgoing, token: str, answer: "asyncio.Future[bytes | PublishRefused]", deadline: float
    ) -> None:
        """Hand one message to the connection; what cannot be sent is answered here and does not hold up the others."""
        reply = f"{self._inbox}.{token}"
        try:
            if not self.nc.is_connected:  # it would be kept back and sent at a moment of the client's choosing
                raise ConnectionError("disconnected within the window")
            if asyncio.get_running_loop().time() > deadline:
                raise TimeoutError("the connection takes nothing")
            await wire.publish(self.nc, message.subject, message.payload, reply=reply, headers=message.headers)
        except (nats.errors.Error, OSError, ValueError) as error:
            if not answer.done():
                answer.set_result(PublishRefused(f"{type(error).__name__}: {error}"))

    def on_reconnect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Call `callback` each time the connection is back: what stood at the old server is gone."""
        self._on_reconnect.append(callback)

    async def note(self, subject: str, data: Mapping[str, Any]) -> None:
        """A word on core NATS that may be lost without harm."""
        await self.nc.publish(subject, orjson.dumps(data))

    def _take_answer(self, message: Msg) -> bool:
        future = self._waiting.get(message.subject.rpartition(".")[2])
        if future is not None and not future.done():
            future.set_result(b"" if _no_responders(message) else message.data)
        return True

    async def _acknowledged(self, message: Msg) -> None:
        self._take_answer(message)

    async def _closed(self) -> None:
        if not self._closing:
            log.critical("bus_closed", fix="the process ends so that it is started again")
            os._exit(EXIT_CLOSED)

    async def _error(self, error: Exception) -> None:
        log.warning("bus_error", error=f"{type(error).__name__}: {error}")

    async def _disconnected(self) -> None:
        if not self._closing:
            log.warning("bus_disconnected")
        for future in self._waiting.values():
            if not future.done():
                future.set_result(PublishRefused("disconnected before the acknowledgement"))
        if self._nc is not None:
            # The client would send its unsent bytes after reconnecting, behind what the old connection lost. Whoever
            # published repeats it in order; requests time out; subscriptions are the client's own to renew.
            self._nc._pending.clear()  # noqa: SLF001 — there is no public way to drop it
            self._nc._pending_data_size = 0  # noqa: SLF001 — as above

    async def _reconnected(self) -> None:
        log.info("bus_reconnected")
        for callback in self._on_reconnect:
            await callback()


def _no_responders(message: Msg) -> bool:
    return (message.headers or {}).get("Status") == "503"


def _outcome(future: "asyncio.Future[bytes | PublishRefused]") -> Stored | PublishRefused:
    if not future.done():
        future.cancel()
        return PublishRefused(f"no acknowledgement within {ACK_TIMEOUT_SECONDS} s")
    answer = future.result()
    if isinstance(answer, PublishRefused):
        return answer
    if not answer:
        return PublishRefused("no stream takes this subject: run `rangerctl provision`")
    reply = orjson.loads(answer)
    if "error" in reply:
        return PublishRefused(f"{reply['error'].get('err_code')}: {reply['error'].get('description')}")
    return Stored(stream=reply["stream"], seq=reply["seq"], duplicate=bool(reply.get("duplicate")))
