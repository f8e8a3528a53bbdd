"""The log as its writer holds it: state, known heads, and one append after another."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

from libs.common import telemetry
from libs.common.cancelling import ended
from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.telemetry import log
from libs.tlog.chain import Batch, ChainKey, Head, Message, chain
from libs.tlog.shape import CONFLICT
from services.timeline import metrics, skew, storage
from services.timeline.model import Arrival, LogState
from services.timeline.storage import Append

HEADS_KEPT: Final = 10_000
"""Chains whose heads are at hand, those that moved last: some 3 MB. The others' are read when they move again."""


class Ledger:
    """One writer's term. After any error it must be thrown away: only the database knows what was committed.

    `state` is what was committed; `ahead` is that with the batch that is under way. While the database writes one batch
    the next one is chained after it, on the word that it will be written just so; if it is not, it is chained anew.
    """

    def __init__(self, database: Database, state: LogState, grown: Callable[[], None] | None = None) -> None:
        self.state = self.ahead = state
        self._grown = grown
        self._database = database
        self._heads: dict[ChainKey, Head] = {}
        self._under_way: asyncio.Task[None] | None = None

    async def append(self, arrivals: Sequence[Arrival], *, began_ns: int = 0) -> None:
        """Chain the arrivals, which must follow the cursor, in one transaction; they are committed on return.

        Raises:
            TermLost: another writer has the log; nothing was written.
        """
        await (await self._next(arrivals, began_ns))

    async def begin(self, arrivals: Sequence[Arrival], *, began_ns: int = 0) -> None:
        """As `append`, but on return only what was begun before is committed, and these are under way.

        Raises:
            TermLost: another writer has the log; nothing of these was written.
        """
        self._under_way = asyncio.create_task(await self._next(arrivals, began_ns))
        await asyncio.sleep(0)  # so that the database has it before the next one is chained

    async def settle(self) -> None:
        """Return once nothing is under way.

        Raises:
            TermLost: another writer has the log; what was under way was not written.
        """
        if self._under_way is not None:
            await self._under_way
            self._under_way = None

    async def close(self) -> None:
        """Let go of what is under way: it is committed or not, but nothing works on behind a successor's back."""
        if self._under_way is not None:
            await ended({self._under_way})

    async def _next(self, arrivals: Sequence[Arrival], began_ns: int) -> Coroutine[Any, Any, None]:
        """What writes the arrivals, once what is under way has been written."""
        ahead = self.ahead
        batch = await self._batch(arrivals, ahead, ask=False)
        said = storage.appending(ahead, batch, arrivals)
        await self.settle()
        if ahead is not self.ahead:
            batch = await self._batch(arrivals, self.ahead, ask=False)
            said = storage.appending(self.ahead, batch, arrivals)
        self.ahead = said.after
        self._keep(batch.heads)
        return self._write(arrivals, batch, said, began_ns or time.time_ns())

    async def _write(self, arrivals: Sequence[Arrival], batch: Batch, said: Append, began_ns: int) -> None:
        """Commit; where the log has one of the events already, chain anew with what it has.

        Whether it does is not asked before: the unique index says so without a round trip of its own, and messages
        seldom come twice.
        """
        crash_point("timeline_before_commit")
        try:
            self.state = await storage.append(self._database.pool, said)
        except storage.SeenBefore:
            for key in batch.heads:
                self._heads.pop(key, None)
            batch = await self._batch(arrivals, said.before, ask=True)
            said = storage.appending(said.before, batch, arrivals)
            self.state = self.ahead = await storage.append(self._database.pool, said)
            self._keep(batch.heads)
        crash_point("timeline_after_commit")
        if self._grown is not None:
            self._grown()
        _tell(batch, arrivals, began_ns)

    def _keep(self, moved: Mapping[ChainKey, Head]) -> None:
        for key in moved:
            self._heads.pop(key, None)
        self._heads |= moved
        while len(self._heads) > HEADS_KEPT:
            del self._heads[next(iter(self._heads))]

    async def _batch(self, arrivals: Sequence[Arrival], state: LogState, *, ask: bool) -> Batch:
        events = [arrival.item.event for arrival in arrivals if isinstance(arrival.item, Message)]
        # Names that cannot be stored are not looked up: such a message is about to be rejected.
        keys = {key for event in events for key in event.chains() if storable(key[1])}
        found = await storage.heads_of(self._database, keys - self._heads.keys())
        names = {event.id for event in events if ask and storable(event.id)}
        seen = await storage.firsts_of(self._database, names)
        return chain(
            [arrival.item for arrival in arrivals],
            origin=state.origin,
            size=state.tree.size,
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
        envelope = arrival.envelope
        if envelope is None:
            continue
        if telemetry.is_sampled(envelope.traceparent):
            telemetry.record(
                f"timeline chains {envelope.type}",
                parent=envelope.traceparent,
                start_ns=began_ns,
                **{"rr.leaf.index": str(entry.index), "rr.leaf.kind": entry.kind, "rr.event.id": envelope.id},
            )
        if entry.kind == CONFLICT:
            log.error("timeline_conflict", event_id=envelope.id, index=entry.index)
