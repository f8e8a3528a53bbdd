"""What the log carries: events chained while they come and after they came, and how soon a checkpoint covers one.

The limits are the same rows by COPY, without anything being chained, and a consumer of the same messages that does no
work. Everything but the timeline and its servers stands still.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from io import BytesIO
from typing import Final

import asyncpg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

from bench.errors import WorkWrong
from bench.figures import Figure, Report, percentile
from bench.limits.timeline import DATABASE, LogAlone
from bench.options import Options
from bench.processes import pss_mb
from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS
from libs.common.database import Database
from libs.common.puller import Puller
from libs.tlog.checkpoint import Checkpoint
from libs.tlog.note import parse_note
from runbook_ranger.chaos.waiting import until
from services.timeline.audit import audit
from services.timeline.tables import SCHEMA

NAME: Final = "log"
GOAL_LIVE: Final = 8_000.0
GOAL_CATCH_UP: Final = 20_000.0
GOAL_CHECKPOINT_S: Final = 2.0
GOAL_GROWTH_MB: Final = 5.0
BATCH: Final = 500
LOOK_SECONDS: Final = 0.005
PATIENCE_SECONDS: Final = 300.0
TABLES: Final = ("leaf", "payload", "entry")
IDLE: Final = "idle"


def run(options: Options) -> Report:
    """The bench."""
    with LogAlone() as log:
        return asyncio.run(_Bench(options, log).measure())


class _Bench:
    def __init__(self, options: Options, log: LogAlone) -> None:
        self._options = options
        self._log = log
        self._each = options.pick(100_000, 20_000, 60)
        self._rounds = options.pick(5, 3, 1)
        self._told = 0
        self._live: list[float] = []
        self._behind: list[float] = []
        self._copied: list[float] = []
        self._pulled: list[float] = []
        self._memory: list[float] = []
        self._pid = 0

    async def measure(self) -> Report:
        await self._log.prepare()
        self._admin = await asyncpg.connect(self._log.servers.database(DATABASE))
        self._bus = Bus(self._log.servers.environment()["LIMIT_NATS"], name="bench")
        await self._bus.connect()
        try:
            await self._start()
            for number in range(self._rounds):
                await self._round()
                words = f"live {self._live[-1]:,.0f}, behind {self._behind[-1]:,.0f} events/s"
                self._options.tell(f"log: round {number + 1} of {self._rounds}, {words}")
            covered = await self._checkpoints(self._options.pick(200, 40, 2))
            return await self._report(covered)
        finally:
            await self._bus.close()
            await self._admin.close()

    async def _start(self) -> None:
        self._pid = self._log.start()
        self._options.measured({"timeline": self._pid})
        await self._until(lambda: self._chained(self._told))

    async def _round(self) -> None:
        """Events as they come; then with the timeline away; and the limits on the same rows and messages."""
        began = time.perf_counter()
        await self._tell(self._each)
        await self._until(lambda: self._chained(self._told))
        self._live.append(self._each / (time.perf_counter() - began))
        self._memory.append(pss_mb(self._pid))
        self._log.end()
        before = await self._events()
        await self._tell(self._each)
        self._pid = self._log.start()
        await self._until(lambda: self._chained(before + 1))
        began, first = time.perf_counter(), await self._events()
        await self._until(lambda: self._chained(self._told))
        self._behind.append((self._told - first) / (time.perf_counter() - began))
        self._copied.append(await self._copy(self._each))
        self._pulled.append(await self._pull(self._each))

    async def _tell(self, count: int) -> None:
        await self._log.tell(self._bus, count)
        self._told += count

    async def _events(self) -> int:
        found: int = await self._admin.fetchval("SELECT seq FROM timeline.log_state")
        return found

    async def _chained(self, count: int) -> bool:
        found: int = await self._admin.fetchval("SELECT coalesce(max(seq), -1) FROM timeline.log_state")
        return found >= count

    async def _until(self, done: Callable[[], Awaitable[bool]]) -> None:
        await until(done, PATIENCE_SECONDS, LOOK_SECONDS)

    async def _copy(self, count: int) -> float:
        """Events a second when the last rows are copied into tables like theirs, a transaction a batch."""
        await self._admin.execute("DROP SCHEMA IF EXISTS copied CASCADE; CREATE SCHEMA copied")
        for table in TABLES:
            await self._admin.execute(f"CREATE TABLE copied.{table} (LIKE timeline.{table} INCLUDING ALL)")
        last: int = await self._admin.fetchval("SELECT max(index) FROM timeline.leaf")
        batches = [await self._batch(first) for first in range(last - count + 1, last + 1, BATCH)]
        began = time.perf_counter()
        for batch in batches:
            async with self._admin.transaction():
                for table, rows in batch.items():
                    await self._admin.copy_to_table(table, schema_name="copied", source=BytesIO(rows), format="binary")
        return count / (time.perf_counter() - began)

    async def _batch(self, first: int) -> dict[str, bytes]:
        found = {}
        for table in TABLES:
            rows = BytesIO()
            query = f"SELECT * FROM timeline.{table} WHERE index >= {first} AND index < {first + BATCH}"
            await self._admin.copy_from_query(query, output=rows, format="binary")
            found[table] = rows.getvalue()
        return found

    async def _pull(self, count: int) -> float:
        """Events a second for a consumer that does nothing with the last messages but acknowledge them."""
        manager = self._bus.js
        await manager.add_consumer(
            EVENTS,
            ConsumerConfig(
                durable_name=IDLE,
                ack_policy=AckPolicy.ALL,
                max_ack_pending=10_000,
                deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
                opt_start_seq=self._told - count + 1,
            ),
        )
        puller = Puller(self._bus, stream=EVENTS, durable=IDLE, batch=BATCH, ahead=4 * BATCH)
        began, seen = time.perf_counter(), 0
        await puller.start()
        while seen < count:
            messages = await puller.next()
            await puller.acknowledge(messages, last_only=True)
            seen += len(messages)
        took = time.perf_counter() - began
        await puller.stop()
        await manager.delete_consumer(EVENTS, IDLE)
        return count / took

    async def _checkpoints(self, count: int) -> list[float]:
        """Seconds from before an event is published until a published checkpoint covers it."""
        took = []
        for number in range(count):
            await asyncio.sleep(number * 0.37 % 0.9)  # at any moment of the publisher's round
            began = time.perf_counter()
            await self._tell(1)
            await self._until(lambda: self._chained(self._told))
            size: int = await self._admin.fetchval("SELECT size FROM timeline.log_state")
            await self._until(lambda size=size: self._covered(size))  # type: ignore[misc]
            took.append(time.perf_counter() - began)
        return took

    async def _covered(self, size: int) -> bool:
        if not self._log.checkpoint.exists():
            return False
        return Checkpoint.parse(parse_note(self._log.checkpoint.read_bytes())[0]).size >= size

    async def _report(self, covered: list[float]) -> Report:
        own = Database(self._log.database, schema=SCHEMA, instance="bench", pool_size=1)
        await own.open()
        try:
            found = await audit(own)
        finally:
            await own.close()
        if found is None or found.kinds.get("event") != self._told:
            raise WorkWrong(f"{self._told} events were told; the log has {found and found.kinds}")
        live, behind, pulled = tuple(self._live), tuple(self._behind), tuple(self._pulled)
        nothing, copied = "a consumer without work", "COPY of the same rows"
        figures = (
            Figure("chained as they come", "events/s", live, goal=GOAL_LIVE, limit=pulled, limit_name=nothing),
            Figure("chained after they came", "events/s", behind, goal=GOAL_CATCH_UP, limit=pulled, limit_name=nothing),
            Figure("the same beside COPY", "events/s", behind, limit=tuple(self._copied), limit_name=copied),
            Figure("published to covered by a published checkpoint, p99", "s", (percentile(covered, 0.99),),
                   lower_is_better=True, goal=GOAL_CHECKPOINT_S),
            Figure("growth of the timeline between the first round and the last", "MB",
                   (max(0.0, self._memory[-1] - self._memory[0]),), lower_is_better=True, goal=GOAL_GROWTH_MB),
        )  # fmt: skip
        notes = {"covered_p50_s": round(percentile(covered, 0.5), 3), "pss_mb": [round(mb, 1) for mb in self._memory]}
        return Report(NAME, figures, {"leaves": found.size, "root": found.root.hex()[:16]}, notes=notes)
