"""Finds what died: leases that ran out, ready actions without a hint, hints without a reader, locks without an owner.

Recovery is driven by leases and never by an orderly shutdown. A sweep only selects; under the execution's lock each
find is looked at again.
"""

import asyncio
import contextlib
import time
from typing import Final

from redis.exceptions import RedisError

from libs.common.clock import Clock
from libs.common.crash import crash_point
from libs.common.database import TRANSIENT, Database, Tx, Uuid
from libs.common.outbox import Outbox
from libs.common.pulse import Pulse
from libs.common.rounds import until_next
from libs.common.telemetry import log
from libs.runbook.facts import StepLost
from services.executor import metrics, storage
from services.executor.fold import Because, Change, fold, merged
from services.executor.hints import Hints
from services.executor.lifecycle import after
from services.executor.model import Execution, Hint
from services.executor.settings import ExecutorSettings

GROUP: Final = 200
LOCK_RENEWALS: Final = 10
"""Times a lock's lease is renewed within its length."""

_OVER: Final = "state = 'running' AND lease_until < clock_timestamp()"
_EXPIRED: Final = f"""
SELECT execution_id FROM action_log WHERE {_OVER} ORDER BY lease_until LIMIT $1
"""
_LOSE: Final = f"""
UPDATE action_log SET error_code = 'lease_lost', message = 'the worker''s lease ran out',
  state = CASE WHEN effect = 'unsafe' THEN '{after("running", "doubt")}' ELSE '{after("running", "lose")}' END,
  finished_at = CASE WHEN effect = 'unsafe' THEN NULL ELSE clock_timestamp() END
WHERE execution_id = ANY($1::uuid[]) AND {_OVER}
RETURNING *
"""
_LATE: Final = """
state = 'ready' AND hinted_at < clock_timestamp() - make_interval(secs => {seconds})
    AND held_reason IS DISTINCT FROM 'paused'
    AND (held_until IS NULL OR held_until <= clock_timestamp()
      OR coalesce(held_reason, '') NOT IN ('budget', 'cooldown', 'breaker'))
    AND (held_reason IS DISTINCT FROM 'kill_switch' OR NOT EXISTS (
      SELECT 1 FROM kill_switch k WHERE k.engaged AND k.scope IN ('global', 'tenant:' || action_log.tenant_id)))
"""
_REHINT: Final = f"""
UPDATE action_log SET hinted_at = clock_timestamp() WHERE action_id IN (
  SELECT action_id FROM action_log WHERE {_LATE.format(seconds="$1")}
  ORDER BY hinted_at LIMIT $2 FOR UPDATE SKIP LOCKED)
RETURNING action_id, stream, traceparent
"""
_ANY: Final = f"""
EXISTS (SELECT FROM action_log WHERE {_OVER}) OR EXISTS (SELECT FROM action_log WHERE {_LATE})
"""
_SUSPECT: Final = """
UPDATE resource_lock SET state = 'suspect' WHERE state = 'held' AND lease_until < clock_timestamp()
RETURNING tenant_id, resource_id, execution_id
"""
_RENEW_LOCKS: Final = """
UPDATE resource_lock l SET lease_until = clock_timestamp() + make_interval(secs => $1)
FROM execution e WHERE e.execution_id = l.execution_id AND e.ended_at IS NULL AND l.state = 'held'
"""


class Sweeper:
    """Looks every `sweep_seconds`; sweeps when that finds something, and in any case as often as hints are repeated and
    locks renewed. Several executors may.
    """

    def __init__(
        self,
        database: Database,
        outbox: Outbox,
        hints: Hints,
        settings: ExecutorSettings,
        pulse: Pulse,
        *,
        clock: Clock,
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._hints = hints
        self._settings = settings
        self._renew_seconds = settings.lock_seconds / LOCK_RENEWALS
        self._clock = clock
        self._pulse = pulse
        self._found = asyncio.Event()
        self._locks_renewed = float("-inf")

    async def run(self) -> None:
        """Sweep until cancelled."""
        asked = _ANY.format(seconds=self._settings.rehint_seconds)
        self._pulse.ask(asked, self._hear, within=self._settings.sweep_seconds)
        pause = min(self._settings.rehint_seconds, self._renew_seconds)
        while True:
            try:
                await self.sweep()
            except TRANSIENT as error:
                log.warning("sweep_waits", error=f"{type(error).__name__}: {error}")
            except RedisError as error:
                log.warning("sweep_without_redis", error=f"{type(error).__name__}: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_next(pause)):
                    await self._found.wait()
            self._found.clear()

    def _hear(self, found: bool) -> None:
        if found:
            self._found.set()

    async def sweep(self) -> None:
        """One round: what Postgres knows first, then Redis."""
        while await self.lose_expired() == GROUP:
            pass
        await self._keep_locks()
        await self._hints.send(await self.rehint())
        await self._hints.take_over(idle_seconds=self._settings.rehint_seconds)

    async def lose_expired(self) -> int:
        """Attempts whose lease ran out: may-repeat ones become ready again, unsafe ones unknown."""
        expired = await self._database.pool.fetch(_EXPIRED, GROUP)
        if not expired:
            return 0
        async with self._database.transaction("lose expired") as tx:
            executions = await storage.lock(tx, {str(row["execution_id"]) for row in expired})
            changes = await self._lose(tx, executions)
            hints = await fold(tx, self._outbox, merged(changes), now=self._clock())
            crash_point("sweeper_before_commit")
        crash_point("sweeper_after_commit")
        await self._hints.send(hints)
        return len(expired)

    async def _lose(self, tx: Tx, executions: dict[str, Execution]) -> list[Change]:
        changes = []
        for row in await tx.fetch(_LOSE, [Uuid(key) for key in executions]):
            attempt = storage.to_attempt(row)
            metrics.LEASES_LOST.labels(attempt.effect).inc()
            log.warning("lease_lost", action_id=attempt.action_id, effect=attempt.effect, worker=attempt.worker_id)
            fact = StepLost(attempt.path, attempt.visit)
            because = Because(traceparent=attempt.traceparent)
            changes.append(Change.of_attempt(executions[attempt.execution_id], fact, because, attempt))
        return changes

    async def rehint(self) -> list[Hint]:
        """Ready actions that have waited so long that their hint may be lost."""
        rows = await self._database.pool.fetch(_REHINT, self._settings.rehint_seconds, GROUP)
        metrics.REHINTS.inc(len(rows))
        return [storage.to_hint(row) for row in rows]

    async def _keep_locks(self) -> None:
        """Say which locks nobody renewed, then renew those of executions that live."""
        if time.monotonic() - self._locks_renewed < self._renew_seconds:
            return
        for row in await self._database.pool.fetch(_SUSPECT):
            log.warning("lock_suspect", resource=row["resource_id"], execution_id=str(row["execution_id"]))
        await self._database.pool.execute(_RENEW_LOCKS, self._settings.lock_seconds)
        self._locks_renewed = time.monotonic()
