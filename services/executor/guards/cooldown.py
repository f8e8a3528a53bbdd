"""The cool-down: after a runbook has changed a resource with success, its other executions let it rest."""

import uuid
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from services.executor.guards.hold import Hold
from services.executor.guards.terms import spoken

_LAST: Final = """
SELECT a.finished_at + make_interval(secs => $4) AS until, c.execution_id
FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.tenant_id = $1 AND c.runbook_id = $2 AND c.resource_id = $3 AND c.execution_id IS DISTINCT FROM $5
  AND a.state = 'succeeded' AND a.finished_at > clock_timestamp() - make_interval(secs => $4)
ORDER BY a.finished_at DESC LIMIT 1
"""


async def hold(
    tx: Tx, tenant_id: str, runbook_id: str, resource_id: str, seconds: float, execution_id: str | None
) -> Hold | None:
    """Why a change by this execution (or by one to come) must wait; None when it need not.

    Before a change, the lock of the resource is held by its execution.
    """
    own = uuid.UUID(execution_id) if execution_id else None
    row = await tx.fetchrow(_LAST, tenant_id, runbook_id, resource_id, seconds, own)
    if row is None:
        return None
    detail = (
        f"execution {row['execution_id']} has changed {resource_id}, which rests for {spoken(seconds)},"
        f" until {rfc3339(row['until'])}"
    )
    return Hold("cooldown", row["until"], detail)
