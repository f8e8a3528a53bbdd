"""Lets queued executions begin, by arrival, and aborts those that are replaced.

Woken when an execution ends that held a place, and every few seconds besides: a notification may be lost, a row is
not. Several executors may do this; a key's lock lets one of them decide, and an execution's row lock keeps one that
was aborted meanwhile from beginning.
"""

import asyncio
import contextlib
import uuid
from collections.abc import Sequence
from typing import Final

import asyncpg
import orjson

from libs.common.clock import Clock
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx
from libs.common.outbox import Outbox, listen
from libs.common.rounds import until_next
from libs.common.telemetry import log
from libs.runbook.facts import AbortRequested, Started
from services.executor import metrics, storage
from services.executor.fold import Because, Change, fold
from services.executor.guards import turns
from services.executor.guards.admission import places_of
from services.executor.guards.endings import CHANNEL
from services.executor.guards.moves import Moves, moves
from services.executor.hints import Hints
from services.executor.model import ACTOR, Execution, Hint
from services.executor.settings import ExecutorSettings
from services.executor.storage.columns import uuids

GROUP: Final = 200

# Only a selection: under the key's lock everything is looked at again.
_MOVABLE: Final = """
WITH queues AS (
  SELECT DISTINCT ON (a.tenant_id, a.slot_key) a.tenant_id, a.slot_key, a.slot_limit,
    count(*) OVER (PARTITION BY a.tenant_id, a.slot_key) AS waiting,
    bool_or(a.policy = 'replace' OR e.ended_at IS NOT NULL) OVER (PARTITION BY a.tenant_id, a.slot_key) AS moves
  FROM admission a JOIN execution e USING (execution_id) WHERE a.state = 'queued'
  ORDER BY a.tenant_id, a.slot_key, a.arrival)
SELECT q.tenant_id, q.slot_key, q.waiting, q.moves OR q.slot_limit > (
  SELECT count(*) FROM admission a JOIN execution e USING (execution_id)
  WHERE a.tenant_id = q.tenant_id AND a.slot_key = q.slot_key AND a.state = 'admitted'
    AND (e.ended_at IS NULL OR EXISTS (
      SELECT 1 FROM action_log r WHERE r.execution_id = a.execution_id AND r.state = 'running'))) AS movable
FROM queues q
"""
_ADMITTED: Final = """
UPDATE admission SET state = 'admitted', admitted_at = clock_timestamp() WHERE execution_id = ANY($1::uuid[])
"""
_FIRING: Final = """
SELECT e.execution_id, s.firing FROM execution e JOIN alert_state s USING (tenant_id, incident_id)
WHERE e.execution_id = ANY($1::uuid[])
"""


class Queue:
    """The queues of one executor's tenants."""

    def __init__(
        self, database: Database, outbox: Outbox, hints: Hints, settings: ExecutorSettings, *, clock: Clock
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._hints = hints
        self._pause = settings.rehint_seconds
        self._clock = clock
        self._wake = asyncio.Event()

    async def run(self) -> None:
        """Move queues on until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, CHANNEL, self._wake.set))
            group.create_task(self._rounds())

    async def _rounds(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_next(self._pause)):
                    await self._wake.wait()
            self._wake.clear()
            try:
                while await self.move_on():
                    pass
            except TRANSIENT as error:
                log.warning("queue_waits", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(min(1.0, self._pause))
                self._wake.set()

    async def move_on(self) -> int:
        """One round over all queues; returns how many executions it let begin or aborted."""
        rows = await self._database.pool.fetch(_MOVABLE)
        metrics.QUEUED.set(sum(row["waiting"] for row in rows))
        return sum([await self._move(row["tenant_id"], row["slot_key"]) for row in rows if row["movable"]])

    async def _move(self, tenant_id: str, key: str) -> int:
        async with self._database.transaction("move queue") as tx:
            await turns.take(tx, [turns.place(tenant_id, key)])
            found = moves(await places_of(tx, tenant_id, key))
            if found == Moves():
                return 0
            admitted, hints = await self._carry_out(tx, found)
            crash_point("queue_before_commit")
        crash_point("queue_after_commit")
        metrics.GUARDS.labels("concurrency", "begun").inc(len(admitted))
        metrics.GUARDS.labels("concurrency", "replaced").inc(len(found.abort))
        await self._hints.send(hints)
        return len(admitted) + len(found.abort)

    async def _carry_out(self, tx: Tx, found: Moves) -> tuple[list[str], list[Hint]]:
        """Whoever has ended meanwhile stays as it is: its row is locked and looked at again."""
        executions = await storage.lock(tx, [*found.admit, *(replaced for replaced, _ in found.abort)])
        changes = [
            Change(executions[replaced], [AbortRequested(ACTOR, f"replaced by execution {by}")], Because(ACTOR))
            for replaced, by in found.abort
            if not executions[replaced].frame.terminal
        ]
        admitted = [key for key in found.admit if executions[key].frame.state == "pending"]
        changes += await _beginnings(tx, [executions[key] for key in admitted])
        await tx.execute(_ADMITTED, uuids(admitted))
        return admitted, await fold(tx, self._outbox, changes, now=self._clock())


async def _beginnings(tx: Tx, executions: Sequence[Execution]) -> list[Change]:
    """How they begin, with the alert as it is now: whoever hears of it later tells an execution that has begun."""
    ids = uuids(execution.execution_id for execution in executions)
    firing: dict[uuid.UUID, bool] = {row["execution_id"]: row["firing"] for row in await tx.fetch(_FIRING, ids)}
    said: list[asyncpg.Record] = await tx.fetch(
        "SELECT execution_id, begins FROM admission WHERE execution_id = ANY($1::uuid[])", ids
    )
    begins = {row["execution_id"]: orjson.loads(row["begins"]) for row in said}
    return [
        Change(
            execution,
            [Started(alert_firing=firing.get(key), **begins[key])],
            Because(ACTOR, traceparent=execution.traceparent),
        )
        for key, execution in zip(ids, executions, strict=True)
    ]
