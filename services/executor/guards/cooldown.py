"""The cool-down: after a runbook has changed a resource with success, its other executions let it rest."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg

from libs.common.clock import rfc3339
from libs.common.database import Tx, Uuid
from services.executor.guards.hold import Hold
from services.executor.guards.terms import spoken
from services.executor.storage.columns import columns

_LAST: Final = """
SELECT DISTINCT ON (t.n) t.n, c.execution_id, a.finished_at + make_interval(secs => t.secs) AS until
FROM unnest($1::text[], $2::text[], $3::text[], $4::float8[], $5::uuid[]) WITH ORDINALITY
    AS t(tenant, runbook, resource, secs, own, n)
  JOIN guarded_change c ON (c.tenant_id, c.runbook_id, c.resource_id) = (t.tenant, t.runbook, t.resource)
    AND c.execution_id IS DISTINCT FROM t.own
  JOIN action_log a ON a.action_id = c.action_id AND a.state = 'succeeded'
    AND a.finished_at > clock_timestamp() - make_interval(secs => t.secs)
ORDER BY t.n, a.finished_at DESC
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that would be made by an execution, or by one to come (None), and how long the resource rests."""

    tenant_id: str
    runbook_id: str
    resource_id: str
    seconds: float
    execution_id: str | None = None


async def holds(tx: Tx, asked: Sequence[Wanted]) -> list[Hold | None]:
    """Why each change must wait; None for those that need not.

    Before a change, the lock of the resource is held by its execution.
    """
    if not asked:
        return []
    wanted = [
        (w.tenant_id, w.runbook_id, w.resource_id, w.seconds, Uuid(w.execution_id) if w.execution_id else None)
        for w in asked
    ]
    found = {row["n"]: row for row in await tx.fetch(_LAST, *columns(wanted))}
    return [_hold(each, found.get(number)) for number, each in enumerate(asked, 1)]


def _hold(wanted: Wanted, row: asyncpg.Record | None) -> Hold | None:
    if row is None:
        return None
    detail = (
        f"execution {row['execution_id']} has changed {wanted.resource_id}, which rests for {spoken(wanted.seconds)},"
        f" until {rfc3339(row['until'])}"
    )
    return Hold("cooldown", row["until"], detail)
