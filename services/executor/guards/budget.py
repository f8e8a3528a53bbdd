"""The blast radius: how many distinct resources are changed within a window, counted from the changes themselves."""

import uuid
from datetime import datetime, timedelta
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from services.executor.guards.hold import Hold
from services.executor.guards.terms import BudgetTerms, spoken

LONGEST: Final = timedelta(days=7).total_seconds()
"""Seconds that a change may take at most: no duration of a runbook is longer."""
NAMED: Final = 5
"""Resources that a person is told of."""

# A change counts while it runs, and from its end for the length of the window. One that is `ready` here was let in by
# this very transaction, or was turned away by a later check and is asked for again.
_CHANGED: Final = """
SELECT c.resource_id,
  max(CASE WHEN a.state IN ('ready', 'running') THEN clock_timestamp() ELSE greatest(a.started_at, a.finished_at) END)
    AS last
FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.tenant_id = $1 AND c.budget_key = $2 AND c.action_id IS DISTINCT FROM $4
  AND c.changed_at > clock_timestamp() - make_interval(secs => $5)
  AND (a.state IN ('ready', 'running') OR (a.started_at IS NOT NULL
    AND greatest(a.started_at, a.finished_at) > clock_timestamp() - make_interval(secs => $3)))
GROUP BY c.resource_id ORDER BY last, c.resource_id
"""


async def hold(tx: Tx, tenant_id: str, resource_id: str, terms: BudgetTerms, action_id: str | None) -> Hold | None:
    """Why a change by this action (or by one to come) must wait; None when it is within the budget.

    Before a change, the lock of the budget's key is held.
    """
    own = uuid.UUID(action_id) if action_id else None
    rows = await tx.fetch(_CHANGED, tenant_id, terms.key, terms.window, own, terms.window + LONGEST)
    if len(rows) < terms.resources or any(row["resource_id"] == resource_id for row in rows):
        return None
    first: datetime = rows[len(rows) - terms.resources]["last"]
    until = first + timedelta(seconds=terms.window)
    names = ", ".join(row["resource_id"] for row in rows[:NAMED]) + (", …" if len(rows) > NAMED else "")
    detail = (
        f"{len(rows)} of {terms.resources} resources were changed within {spoken(terms.window)} ({names});"
        f" room for one more at {rfc3339(until)} at the earliest"
    )
    return Hold("budget", until, detail)
