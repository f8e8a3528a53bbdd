"""What one follower of the live stream is sent: facts it may see, its position, and when it has to begin anew.

It holds a position and no buffer: its own pace decides when the next chunk is made. Behind what the tail keeps, it
reads pages of its own until it has caught up; one that falls behind after that is too slow, and is let go.
"""

import re
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from libs.common.contracts.choreography import BY_SUBJECT
from libs.common.errors import InvalidInput, Unavailable
from libs.common.policy import Scope, scope
from services.gateway.identity import Identity
from services.gateway.reader import Event
from services.gateway.tail import Tail

HEARTBEAT_SECONDS: Final = 20.0
RETRY_MILLISECONDS: Final = 2000
POSITION: Final = r"(?:([1-9][0-9]{0,8})-)?(0|[1-9][0-9]{0,17})"
VIEWS: Final = {
    "incident": "incident.view",
    "runbook": "runbook.view",
    "match": "runbook.view",
    "execution": "execution.view",
    "lock_break": "execution.view",
    "breaker": "execution.view",
    "approval": "approval.view",
    "kill_switch": "kill_switch.view",
    "token": "principal.view",
    "denial": "principal.view",
    "break_glass": "principal.view",
    "flag": "flag.view",
    "evidence_url": "timeline.view",
    "evidence_hold": "timeline.view",
    "redaction": "timeline.view",
}
"""The action that a caller must be allowed for facts about each kind of thing; a kind that is not here is not shown."""


@dataclass(frozen=True, slots=True)
class Position:
    """Behind which event a client stands; epoch 0 is whichever epoch it is now."""

    epoch: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """An id as `POSITION` has it.

        Raises:
            InvalidInput: it is none.
        """
        found = re.fullmatch(POSITION, text)
        if found is None:
            raise InvalidInput("`Last-Event-ID` is no id of ours.", fix="Leave it out to begin with what comes next.")
        return cls(int(found[1] or 0), int(found[2]))

    def __str__(self) -> str:
        return f"{self.epoch}-{self.seq}"


@dataclass(frozen=True, slots=True)
class Chosen:
    """Which events somebody wants to hear of; None is no condition. A type may end in a star, for all that begin so."""

    type: str | None = None
    incident_id: str | None = None

    def has(self, event: Event) -> bool:
        """Whether this is one of them."""
        if self.incident_id is not None and event.incident_id != self.incident_id:
            return False
        if self.type is None:
            return True
        return event.type.startswith(self.type[:-1]) if self.type.endswith("*") else event.type == self.type


EVERYTHING: Final = Chosen()


class Feed:
    """One follower."""

    def __init__(
        self,
        tail: Tail,
        identity: Identity,
        chosen: Chosen = EVERYTHING,
        *,
        heartbeat_seconds: float = HEARTBEAT_SECONDS,
    ) -> None:
        self._tail = tail
        self._identity = identity
        self._chosen = chosen
        self._heartbeat = heartbeat_seconds
        self._position = Position(0, 0)
        self._live = False

    async def lines(self, after: Position | None) -> AsyncGenerator[bytes, None]:
        """Chunks of the stream after a position (None: from now on), until the gateway stops or this is too slow."""
        yield b"retry: %d\n\n" % RETRY_MILLISECONDS
        try:
            async with self._tail.listening():
                yield await self._begin(after)
                while not self._tail.closing:
                    chunk = await self._next()
                    if chunk is None:
                        yield b": too slow, come back with Last-Event-ID\n\n"
                        return
                    if chunk:
                        yield chunk
        except Unavailable as error:
            yield f": {error.detail}\n\n".encode()
            return
        yield b": the gateway stops, come back\n\n"

    async def _begin(self, after: Position | None) -> bytes:
        place = await self._tail.reader.place()
        self._position = Position(place.epoch, place.last)
        if after is None:
            return b": from now on\n\n"
        gone = after.epoch not in {0, place.epoch} or after.seq > place.last or after.seq + 1 < place.first
        if gone:
            return _named("reset", self._position)
        self._position = Position(place.epoch, after.seq)
        return f": after {self._position}\n\n".encode()

    async def _next(self) -> bytes | None:
        """What comes next, maybe nothing; None when the follower is too slow."""
        tail, seq = self._tail, self._position.seq
        if tail.epoch != self._position.epoch:
            return self._reset()
        found, last = tail.since(seq), tail.last
        if found is None and self._live:
            return None
        if found is None:
            page = await tail.reader.page(seq)
            if page.first != seq + 1:  # the stream has let go of it meanwhile
                return self._reset()
            found, last = list(page.events), page.last
        self._position = Position(self._position.epoch, max(seq, last))
        chunk = b"".join(self._drawn(found, await self._scopes()))
        return chunk if chunk or self._position.seq < tail.last else await self._rest()

    async def _rest(self) -> bytes:
        """There is nothing more now: say so once, then wait."""
        if not self._live:
            self._live = True
            return _named("live", self._position)
        if await self._tail.changed(self._position.seq, self._position.epoch, self._heartbeat):
            return b""
        return f"id: {self._position}\n: alive\n\n".encode()

    def _reset(self) -> bytes:
        self._position = Position(self._tail.epoch, self._tail.last)
        return _named("reset", self._position)

    async def _scopes(self) -> Mapping[str, Scope]:
        """What the caller may see now, by the action of seeing it: rights may have changed since the last chunk."""
        principal, tenant = self._identity.principal, self._identity.tenant
        return {view: await scope(principal, view, tenant) for view in sorted(set(VIEWS.values()))}

    def _drawn(self, found: Iterable[Event], scopes: Mapping[str, Scope]) -> Iterator[bytes]:
        for event in found:
            if self._chosen.has(event) and self._visible(event, scopes):
                yield b"id: %d-%d\ndata: %b\n\n" % (self._position.epoch, event.seq, orjson.dumps(_shown(event)))

    def _visible(self, event: Event, scopes: Mapping[str, Scope]) -> bool:
        """Whether the caller may see what the event is about: the rule that the lists of such things keep to."""
        row, tenant = BY_SUBJECT.get(event.type), self._identity.tenant
        if row is None or not {tenant, "*"} & set(event.tenants):
            return False
        view = VIEWS.get(row.fact.aggregate)
        return view is not None and scopes[view].covers(tenant, event.marking.environment, event.marking.clearance)


def _named(name: str, position: Position) -> bytes:
    data = orjson.dumps({"epoch": position.epoch, "seq": position.seq})
    return b"event: %b\nid: %b\ndata: %b\n\n" % (name.encode(), str(position).encode(), data)


def _shown(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "type": event.type,
        "time": event.time,
        "incident_id": event.incident_id,
        "execution_id": event.execution_id,
        "runbook_id": event.runbook_id,
        "actor": event.actor,
    }
