"""What follows a settled step is claimed in the same transaction, wherever nothing can stand against it.

A worker that has room for one more spares the hint, the look at it and a commit (docs/decisions/0027). All that a claim
asks is asked here, too; whatever takes more than a yes (tags to be read, an alert that must fire, an approval, a guard,
a lock that the execution does not hold yet, an effect that nobody may repeat) stays ready, and is hinted and claimed as
any other. So does what is turned away: the claim says why.
"""

from collections.abc import Collection, Sequence
from typing import Final

import asyncpg

from libs.actions import Effect
from libs.common.database import Tx, Uuid
from services.executor import kill_switch, permits, storage
from services.executor.claims import LOCK_READY, run, verdict
from services.executor.model import Attempt
from services.executor.settings import ExecutorSettings

_KEEP_LOCKS: Final = """
UPDATE resource_lock l SET fence = nextval('fence'), lease_until = clock_timestamp() + make_interval(secs => $4)
FROM (SELECT tenant_id, resource_id FROM resource_lock
  JOIN unnest($1::text[], $2::text[], $3::uuid[]) AS t(tenant_id, resource_id, execution_id)
    USING (tenant_id, resource_id, execution_id)
  WHERE state = 'held' ORDER BY tenant_id, resource_id FOR UPDATE OF resource_lock) AS own
WHERE (l.tenant_id, l.resource_id) = (own.tenant_id, own.resource_id)
RETURNING l.tenant_id, l.resource_id, l.execution_id
"""


class Succession:
    """Claims for one worker what its settlements have made ready."""

    def __init__(self, settings: ExecutorSettings, *, worker_id: str) -> None:
        self._settings = settings
        self._worker_id = worker_id

    async def claim(self, tx: Tx, ready: Sequence[str], executions: Collection[str]) -> dict[str, Attempt]:
        """Those of the `ready` actions that run now, by execution, one each. `executions` are locked by the caller."""
        rows = await tx.fetch(LOCK_READY, [Uuid(action_id) for action_id in sorted(ready)]) if executions else []
        found: dict[str, tuple[Attempt, asyncpg.Record]] = {}
        for row in rows:
            attempt = storage.to_attempt(row)
            if attempt.execution_id in executions and _asks_nothing_more(attempt, row):
                found.setdefault(attempt.execution_id, (attempt, row))
        if not found:
            return {}
        switches = kill_switch.seen(rows, forced=self._settings.kill_switch)
        refused = await permits.refusals(list(found.values()))
        passed = [a for a, _ in found.values() if verdict(a, refused.get(a.action_id), switches) is None]
        own = await self._with_locks(tx, passed)
        running = await run(tx, own, switches, worker_id=self._worker_id, lease_seconds=self._settings.lease_seconds)
        return {attempt.execution_id: attempt for attempt in running.values()}

    async def _with_locks(self, tx: Tx, attempts: Sequence[Attempt]) -> list[Attempt]:
        """Those that need no lock, and those whose execution holds it already."""
        wanted = [a for a in attempts if a.mutating and a.resource_id is not None]
        if not wanted:
            return list(attempts)
        rows = await tx.fetch(
            _KEEP_LOCKS,
            [a.tenant_id for a in wanted],
            [a.resource_id for a in wanted],
            [Uuid(a.execution_id) for a in wanted],
            self._settings.lock_seconds,
        )
        kept = {(row["tenant_id"], row["resource_id"], str(row["execution_id"])) for row in rows}
        lacking = {a.action_id for a in wanted if (a.tenant_id, a.resource_id, a.execution_id) not in kept}
        return [a for a in attempts if a.action_id not in lacking]


def _asks_nothing_more(attempt: Attempt, row: asyncpg.Record) -> bool:
    """Whether a claim of it would ask no more than is asked here."""
    open_questions = (
        attempt.held_reason or attempt.tags_url or attempt.requires_firing or attempt.needs_approval or row["paused"]
    )
    guarded = row["guards"] is not None or row["plan_stands"] is False
    return not (open_questions or guarded or attempt.effect == Effect.UNSAFE)
