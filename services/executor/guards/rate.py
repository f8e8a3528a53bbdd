"""How often a runbook, or whatever has the same key, may begin: counted from those that were let in, not kept."""

from datetime import datetime
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from libs.runbook import durations
from libs.runbook.limits import RateLimit
from services.executor.guards.terms import given, own

_AGAIN: Final = """
SELECT asked_at + make_interval(secs => $3) FROM admission
WHERE tenant_id = $1 AND rate_key = $2 AND state <> 'rejected'
  AND asked_at > clock_timestamp() - make_interval(secs => $3)
ORDER BY asked_at DESC OFFSET $4 LIMIT 1
"""


def key_of(runbook_id: str, key: str | None) -> str:
    """The key that is counted under: what the author's yielded, or the runbook's own."""
    return own(runbook_id) if key is None else given(key)


async def refusal(tx: Tx, tenant_id: str, key: str, limit: RateLimit) -> str:
    """Why one more may not begin now, and when it may; empty when it may. The key's lock is held."""
    again: datetime | None = await tx.fetchval(
        _AGAIN, tenant_id, key, durations.seconds(limit.per), limit.executions - 1
    )
    if again is None:
        return ""
    times = "1 execution has" if limit.executions == 1 else f"{limit.executions} executions have"
    return f"{times} begun within {limit.per}; it may run again at {rfc3339(again)}"
