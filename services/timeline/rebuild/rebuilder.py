"""Writes the log again, leaf by leaf, in one transaction that ends only where every root is the one that was signed."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg
import orjson
from msgspec import Struct
from msgspec.structs import replace

from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.objectstore import ObjectStore
from libs.tlog.checkpoint import Checkpoint
from libs.tlog.exportlines import Closing
from libs.tlog.growth import Growth
from libs.tlog.hashing import event_hash
from libs.tlog.note import Verifier, parse_note
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT
from libs.tlog.tree import Frontier
from services.timeline import checkpoints, storage
from services.timeline.audit import audit
from services.timeline.model import Arrival, LogState
from services.timeline.rebuild import rows, sources
from services.timeline.rebuild.rows import Copy
from services.timeline.rebuild.sources import Exports
from services.timeline.rebuild.tail import Tail
from services.timeline.stream import EventStream
from services.timeline.writer import LOCK

LEAVES: Final = 500
BYTES: Final = 4 << 20
LOCK_SECONDS: Final = 20.0
TRY_SECONDS: Final = 0.1

_TABLES: Final = ("leaf", "payload", "entry", "chain_head", "artefact", "control", "checkpoint", "tile", "fork")
_FULL: Final = " OR ".join(f"EXISTS (SELECT FROM {table})" for table in _TABLES)
_NOT_EMPTY: Final = f"SELECT {_FULL} OR EXISTS (SELECT FROM log_state WHERE size > 0)"
_PARTITIONS: Final = "SELECT make_entry_partitions($1::text::timestamptz::date, 3)"
_SOURCES: Final = "SELECT index, source FROM leaf WHERE index = ANY($1::bigint[])"
_CONTROL: Final = """
WITH known AS (
  SELECT id FROM control WHERE index IS NULL AND body = $1::jsonb AND id <> ALL ($3::bigint[]) ORDER BY id LIMIT 1),
made AS (
  INSERT INTO control (body, asked_at) SELECT $1::jsonb, coalesce($2::text::timestamptz, clock_timestamp())
  WHERE NOT EXISTS (SELECT FROM known) RETURNING id)
SELECT id FROM known UNION ALL SELECT id FROM made
"""


class Refused(Exception):
    """The log is not rebuilt; nothing was written."""


class Rebuilt(Struct, frozen=True):
    """What stands in the database: leaves, how many of them from exports, and the stream's position."""

    state: LogState
    exported: int
    published: int


class Plan(Struct, frozen=True):
    """What is to be written: `exported` leaves from exports, the rest to `size` from what is published."""

    exported: int
    published: int
    roots: Mapping[int, bytes]
    notes: Mapping[int, bytes]
    redacted: frozenset[int]
    tail: Tail

    @property
    def size(self) -> int:
        """How many leaves the log has in the end."""
        return max(self.exported, self.published)


class Rebuilder:
    """One rebuild. `unmarked` lets events without marks through, for the fewest eyes; `go_on` adds to an older log.

    `patience`: for how many seconds somebody else may hold the log.
    """

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        stream: EventStream,
        verifiers: Sequence[Verifier],
        exports: Exports | None,
        *,
        origin: str,
        unmarked: bool = False,
        go_on: bool = False,
        patience: float = LOCK_SECONDS,
    ) -> None:
        self._database = database
        self._store = store
        self._stream = stream
        self._verifiers = verifiers
        self._exports = exports
        self._origin = origin
        self._unmarked = unmarked
        self._go_on = go_on
        self._patience = patience

    async def run(self) -> Rebuilt:
        """Rebuild it.

        Raises:
            Refused, Unmarked, Lost: it cannot be; nothing was written.
            TlogError: the exports or what is published do not verify.
            StoreUnavailable: not now.
        """
        await self._look()
        plan = await self._plan()
        async with self._locked():
            old = await self._old(plan)
            async with self._database.transaction("timeline rebuild") as tx:
                await tx.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
                closings: list[Closing] = []
                state = await self._write(tx, plan, old, closings)
                if state.tree.size != plan.size:
                    raise Refused(f"the sources end at {state.tree.size} leaves, {plan.size} were signed")
                await _sign(tx, plan, closings)
                crash_point("rebuild_before_commit")
        return Rebuilt(state, plan.exported, plan.published)

    async def _plan(self) -> Plan:
        found = await self._exports.verify(self._verifiers) if self._exports else None
        signed = await sources.published(self._store, self._verifiers)
        said = [one.checkpoint for one in (found.signed if found else None, signed) if one]
        if not said:
            raise Refused("there are no exports, and nothing is published")
        if found and found.first:
            raise Refused(f"the exports begin at leaf {found.first}: a log is rebuilt from its first leaf on")
        for one in said:
            if one.origin != self._origin:
                raise Refused(f"the sources are of the log {one.origin}, this is {self._origin}")
        roots = {one.size: one.root for one in said}
        notes = {one.checkpoint.size: one.raw for one in (found.signed if found else None, signed) if one}
        if any(roots[one.size] != one.root for one in said):
            raise Refused(f"two roots were signed at size {said[0].size}: the exports' and the published one")
        exported = found.signed.checkpoint.size if found else 0
        published = signed.checkpoint.size if signed else 0
        tail = Tail(self._store, self._stream, exported, published)
        gone = {*(found.redacted if found else ()), *(found.kept if found else ()), *await tail.redacted()}
        return Plan(exported, published, roots, notes, frozenset(gone), tail)

    async def _look(self) -> None:
        """Raise Refused where something is in the schema, and is not to be gone on with."""
        if not self._go_on and await self._database.pool.fetchval(_NOT_EMPTY):
            raise Refused(
                "the schema is not empty: --continue goes on with an older log; otherwise drop it, and make it anew"
            )

    async def _old(self, plan: Plan) -> LogState | None:
        """The log that is there and is gone on with; None where there is none."""
        await self._look()
        if not self._go_on:
            return None
        if await self._database.pool.fetchval("SELECT EXISTS (SELECT FROM fork)"):
            raise Refused("the database keeps two roots that were signed at one size")
        report = await audit(self._database)
        async with self._database.transaction("timeline rebuild state") as tx:
            state = await storage.read_state(tx)
        if state and report and state.tree.size > plan.size:
            raise Refused(f"the database holds {state.tree.size} leaves, the sources {plan.size}")
        return state

    async def _write(self, tx: Any, plan: Plan, old: LogState | None, closings: list[Closing]) -> LogState:
        tree, state = Frontier(), await self._begun(tx)
        held = state.tree.size
        async for group in _groups(self._copies(plan, closings)):
            for copy in group:
                if copy.index != tree.size:
                    raise Refused(f"leaf {tree.size} is in none of the sources")
                tree.append(event_hash(copy.leaf))
                if tree.size in plan.roots and (root := tree.root()) != (signed := plan.roots[tree.size]):
                    raise Refused(
                        f"at size {tree.size} the leaves give the root {root.hex()}, signed is {signed.hex()}"
                    )
                if old and tree.size == held and tree.root() != old.tree.root():
                    raise Refused(f"the database holds another log: its {held} leaves are not this one's beginning")
            fresh = [copy for copy in group if copy.index >= held]
            if fresh:
                state = await _append(tx, state, fresh)
        return state

    async def _begun(self, tx: Any) -> LogState:
        epoch = (await self._stream.extent()).epoch
        return await storage.begin_in(tx, origin=self._origin, stream=self._stream.name, epoch=epoch)

    async def _copies(self, plan: Plan, closings: list[Closing]) -> AsyncIterator[Copy]:
        if self._exports:
            async for copy in self._exports.copies(closings, unmarked=self._unmarked):
                yield replace(copy, payload=None, salt=None) if copy.index in plan.redacted else copy
        async for copy in plan.tail.copies(plan.redacted):
            yield copy

    @asynccontextmanager
    async def _locked(self) -> AsyncIterator[None]:
        """Nobody else writes the log: a frozen writer lets go of it by itself, one that works does not."""
        lock = await self._database.dedicated()
        try:
            await _lock(lock, self._patience)
            yield
        finally:
            lock.terminate()


async def _lock(lock: "asyncpg.Connection[asyncpg.Record]", patience: float) -> None:
    for _ in range(int(patience / TRY_SECONDS)):
        if await lock.fetchval("SELECT pg_try_advisory_lock(hashtext($1))", LOCK):
            return
        await asyncio.sleep(TRY_SECONDS)
    raise Refused("a writer is at work: the log is not lost, or the timeline has to be stopped")


async def _groups(copies: AsyncIterator[Copy]) -> AsyncIterator[list[Copy]]:
    """As many as go into one statement."""
    group: list[Copy] = []
    size = 0
    async for copy in copies:
        group.append(copy)
        size += len(copy.leaf) + len(copy.payload or b"")
        if len(group) == LEAVES or size > BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


async def _append(tx: Any, state: LogState, copies: list[Copy]) -> LogState:
    reads = [orjson.loads(copy.leaf) for copy in copies]
    here = {copy.index: read["ev"]["source"] for copy, read in zip(copies, reads, strict=True) if read["kind"] == EVENT}
    wanted = [int(read["body"]["of"]) for read in reads if read["kind"] in {DUPLICATE, CONFLICT}]
    known = {row["index"]: row["source"] for row in await tx.fetch(_SOURCES, wanted)} | here
    arrivals = [rows.arrival(copy, known.__getitem__) for copy in copies]
    arrivals = await _controls(tx, arrivals, reads)
    times = [read["src"]["ts"] for read in reads if "ts" in read.get("src", {})]
    if times:
        await tx.fetchval(_PARTITIONS, min(times))
    if not state.seq and (epoch := _first_epoch(reads)) is not None:
        state = replace(state, epoch=epoch)
    return await storage.append(tx, storage.appending(state, rows.batch(copies, arrivals), arrivals))


async def _controls(tx: Any, arrivals: list[Arrival], reads: list[Any]) -> list[Arrival]:
    """With the rows of what the log says of itself: those that wait to be said, as far as they do, or new ones."""
    found, used = list[Arrival](), list[int]()
    for arrival, read in zip(arrivals, reads, strict=True):
        if read["kind"] == CONTROL and read["body"]["type"] != "stream_reset":  # which nobody asks for
            body = orjson.dumps(read["body"]).decode()
            used.append(await tx.fetchval(_CONTROL, body, read["body"].get("at"), used))
            found.append(replace(arrival, control=used[-1]))
        else:
            found.append(arrival)
    return found


def _first_epoch(reads: list[Any]) -> int | None:
    for read in reads:
        if "src" in read:
            return int(read["src"]["epoch"])
        if read["body"]["type"] == "stream_reset":
            return int(read["body"]["was"])
    return None


async def _sign(tx: Any, plan: Plan, closings: list[Closing]) -> None:
    """Checkpoints as they were signed, and the tiles that the newest one has."""
    found = {closing.end: closing.checkpoint for closing in closings if closing.checkpoint} | dict(plan.notes)
    notes = {size: checkpoints.as_signed(note) for size, note in found.items()}
    for size, note in sorted(notes.items()):
        if size:
            await checkpoints.keep(tx, size, Checkpoint.parse(parse_note(note)[0]).root, note, {})
    tree = Growth()
    tiles = await checkpoints.grown(tx, tree, max(notes))
    if tree.root() != plan.roots[max(notes)]:
        raise Refused(f"the rows give the root {tree.root().hex()} at size {tree.size}, another one was signed")
    await checkpoints.keep(tx, tree.size, tree.root(), notes[tree.size], tiles)
