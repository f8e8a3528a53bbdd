"""Reads the stream EVENTS by direct gets, which leave nothing at the server: no consumer, nothing to clean up."""

import asyncio
import contextlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import nats.errors
import orjson
from nats.aio.msg import Msg
from nats.js.errors import Error as JetStreamError

from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS
from libs.common.contracts.envelope import Envelope, MalformedEnvelope
from libs.common.contracts.marking import Marking
from libs.common.errors import Unavailable
from libs.common.streams import EPOCH_KEY

PAGE: Final = 256
PAGE_BYTES: Final = 1 << 20
READ_SECONDS: Final = 5.0
READ: Final = f"$JS.API.DIRECT.GET.{EVENTS}"
OUTAGES: Final = (nats.errors.Error, JetStreamError, OSError)


@dataclass(frozen=True, slots=True)
class Event:
    """A fact's place and ids. `tenants` and `marking` say who may know of it at all."""

    seq: int
    type: str
    time: str
    tenants: tuple[str, ...]
    aggregate_id: str
    incident_id: str
    execution_id: str
    runbook_id: str
    actor: str
    marking: Marking


@dataclass(frozen=True, slots=True)
class Place:
    """Where the stream begins and ends, and which one it is: an epoch counts how often it was made anew."""

    epoch: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Page:
    """Consecutive messages after a position; what is no fact is left out. `first` and `last` are 0 when none came."""

    first: int
    last: int
    more: bool
    events: tuple[Event, ...]


class Reader:
    """Where the stream stands, and its messages page by page."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def place(self) -> Place:
        """Where the stream stands, from the server.

        Raises:
            Unavailable: the bus does not answer.
        """
        try:
            info = await self._bus.js.stream_info(EVENTS)
        except OUTAGES as error:
            raise Unavailable(f"The events cannot be read ({type(error).__name__}).", fix="Try again.") from None
        epoch = int((info.config.metadata or {}).get(EPOCH_KEY, "1"))
        return Place(epoch, info.state.first_seq, info.state.last_seq)

    async def page(self, after: int) -> Page:
        """The next messages after a position, from the server.

        Raises:
            Unavailable: the bus does not answer.
        """
        try:
            messages = await self._get(after + 1)
        except OUTAGES as error:
            raise Unavailable(f"The events cannot be read ({type(error).__name__}).", fix="Try again.") from None
        if not messages:
            return Page(0, 0, False, ())  # noqa: FBT003 -- a record, field by field
        places = [int((message.headers or {})["Nats-Sequence"]) for message in messages]
        events = [_event(seq, message.headers or {}) for seq, message in zip(places, messages, strict=True)]
        more = (messages[-1].headers or {}).get("Nats-Num-Pending", "0") != "0"
        return Page(places[0], places[-1], more, tuple(event for event in events if event is not None))

    async def _get(self, first: int) -> list[Msg]:
        """At most a page of messages from sequence `first` on, in order.

        Heard in a callback: the client's own `next_msg` may lose a cancellation before Python 3.12.
        """
        nc, found = self._bus.nc, list[Msg]()
        ended = asyncio.get_running_loop().create_future()

        async def receive(message: Msg) -> None:
            status = (message.headers or {}).get("Status")
            if status is None:
                found.append(message)
            elif not ended.done():
                ended.set_result(status)

        inbox = nc.new_inbox()
        subscription = await nc.subscribe(inbox, cb=receive)
        try:
            request = {"seq": first, "batch": PAGE, "max_bytes": PAGE_BYTES}
            async with self._bus.unless_denied(READ), asyncio.timeout(READ_SECONDS):
                await nc.publish(READ, orjson.dumps(request), reply=inbox)
                status = await ended
        finally:
            with contextlib.suppress(*OUTAGES):
                await subscription.unsubscribe()
        if status not in {"204", "404"}:
            raise ConnectionError(f"status {status}")
        return found


def _event(seq: int, headers: Mapping[str, str]) -> Event | None:
    try:
        envelope = Envelope.from_headers(headers)
    except MalformedEnvelope:
        return None
    return Event(
        seq,
        envelope.type,
        envelope.time,
        envelope.tenants,
        envelope.aggregate_id,
        envelope.incident_id,
        envelope.execution_id,
        envelope.runbook_id,
        envelope.actor,
        envelope.marking,
    )
