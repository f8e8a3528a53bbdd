"""The cool-down: after a runbook has changed a resource with success, its other executions let it rest."""

import uuid
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from services.executor.guards.hold import Hold
from services.executor.guards.terms import spoken
from services.executor.model import Attempt

_LAST: Final = """
SELECT a.finished_at + make_interval(secs => $4) AS until, c.execution_id
FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.tenant_id = $1 AND c.runbook_id = $2 AND c.resource_id = $3 AND c.execution_id <> $5 AND a.state = 'succeeded'
  AND a.finished_at > clock_timestamp() - make_interval(secs => $4)
ORDER BY a.finished_at DESC LIMIT 1
"""


async def hold(tx: Tx, attempt: Attempt, runbook_id: str, seconds: float) -> Hold | None:
    """Why this change must wait; None when it need not. The lock of its resource is held by its execution."""
    row = await tx.fetchrow(
        _LAST, attempt.tenant_id, runbook_id, attempt.resource_id, seconds, uuid.UUID(attempt.execution_id)
    )
    if row is None:
        return None
    detail = (
        f"execution {row['execution_id']} has changed {attempt.resource_id}, which rests for {spoken(seconds)},"
        f" until {rfc3339(row['until'])}"
    )
    return Hold("cooldown", row["until"], detail)
