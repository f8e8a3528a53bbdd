"""The log as its writer holds it: state, known heads, and one append after another."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from libs.common import telemetry
from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.telemetry import log
from libs.tlog.chain import Batch, ChainKey, Head, Message, chain
from libs.tlog.shape import CONFLICT
from services.timeline import metrics, skew, storage
from services.timeline.model import Arrival, LogState

HEADS_KEPT: Final = 10_000
"""Chains whose heads are at hand, those that moved last: some 3 MB. The others' are read when they move again."""


class Ledger:
    """One writer's term. After any error it must be thrown away: only the database knows what was committed."""

    def __init__(self, database: Database, state: LogState, grown: Callable[[], None] | None = None) -> None:
        self.state = state
        self._grown = grown
        self._database = database
        self._heads: dict[ChainKey, Head] = {}

    async def append(self, arrivals: Sequence[Arrival], *, began_ns: int = 0) -> None:
        """Chain the arrivals, which must follow the cursor, in one transaction; they are committed on return.

        Raises:
            TermLost: another writer has the log; nothing was written.
        """
        batch = await self._chained(arrivals, ask=False)
        crash_point("timeline_before_commit")
        try:
            self.state = await storage.append(self._database, self.state, batch, arrivals)
        except storage.SeenBefore:
            batch = await self._chained(arrivals, ask=True)
            self.state = await storage.append(self._database, self.state, batch, arrivals)
        crash_point("timeline_after_commit")
        if self._grown is not None:
            self._grown()
        self._keep(batch.heads)
        _tell(batch, arrivals, began_ns or time.time_ns())

    def _keep(self, moved: Mapping[ChainKey, Head]) -> None:
        for key in moved:
            self._heads.pop(key, None)
        self._heads |= moved
        while len(self._heads) > HEADS_KEPT:
            del self._heads[next(iter(self._heads))]

    async def _chained(self, arrivals: Sequence[Arrival], *, ask: bool) -> Batch:
        """The leaves. Whether the log has an event already is asked only once an append was refused for one: the unique
        index says so without a round trip of its own, and messages seldom come twice.
        """
        events = [arrival.item.event for arrival in arrivals if isinstance(arrival.item, Message)]
        # Names that cannot be stored are not looked up: such a message is about to be rejected.
        keys = {key for event in events for key in event.chains() if storable(key[1])}
        found = await storage.heads_of(self._database, keys - self._heads.keys())
        names = {event.id for event in events if ask and storable(event.id)}
        seen = await storage.firsts_of(self._database, names)
        return chain(
            [arrival.item for arrival in arrivals],
            origin=self.state.origin,
            size=self.state.tree.size,
            heads={**{key: self._heads[key] for key in keys & self._heads.keys()}, **found},
            seen=seen,
        )


def storable(text: str) -> bool:
    """Whether Postgres takes a text: no NUL, no lone surrogates."""
    try:
        return "\0" not in text and bool(text.encode())
    except UnicodeEncodeError:
        return False


def _tell(batch: Batch, arrivals: Sequence[Arrival], began_ns: int) -> None:
    metrics.BATCH.observe(len(batch.entries))
    metrics.LAST_APPEND.set_to_current_time()
    for kind, count in Counter(entry.kind for entry in batch.entries).items():
        metrics.APPENDED.labels(kind).inc(count)
    skew.flag(batch.entries)
    for entry, arrival in zip(batch.entries, arrivals, strict=True):
        if arrival.envelope is None:
            continue
        telemetry.record(
            f"timeline chains {arrival.envelope.type}",
            parent=arrival.envelope.traceparent,
            start_ns=began_ns,
            **{"rr.leaf.index": str(entry.index), "rr.leaf.kind": entry.kind, "rr.event.id": arrival.envelope.id},
        )
        if entry.kind == CONFLICT:
            log.error("timeline_conflict", event_id=arrival.envelope.id, index=entry.index)
