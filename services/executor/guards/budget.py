"""The blast radius: how many distinct resources are changed within a window, counted from the changes themselves."""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import Tx
from services.executor.guards.hold import Hold
from services.executor.guards.terms import BudgetTerms, spoken
from services.executor.model import Attempt
from services.executor.storage.columns import uuids

LONGEST: Final = timedelta(days=7).total_seconds()
"""Seconds that a change may take at most: no duration of a runbook is longer."""
NAMED: Final = 5
"""Resources that a person is told of."""

# A change counts while it runs, and from its end for the length of the window. One that is `ready` here was let in by
# this very transaction, or was turned away by a later check and is asked for again.
_CHANGED: Final = """
SELECT c.resource_id, clock_timestamp() AS now,
  max(CASE WHEN a.state IN ('ready', 'running') THEN clock_timestamp() ELSE greatest(a.started_at, a.finished_at) END)
    AS last
FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.tenant_id = $1 AND c.budget_key = $2 AND c.action_id <> ALL($4::uuid[])
  AND c.changed_at > clock_timestamp() - make_interval(secs => $5)
  AND (a.state IN ('ready', 'running') OR (a.started_at IS NOT NULL
    AND greatest(a.started_at, a.finished_at) > clock_timestamp() - make_interval(secs => $3)))
GROUP BY c.resource_id
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A change that would be made, and within which budget."""

    action_id: str
    resource_id: str
    terms: BudgetTerms


async def holds(tx: Tx, asked: Sequence[tuple[Attempt, BudgetTerms]]) -> dict[str, Hold]:
    """Why changes must wait, by action; those that are within their budget are left out, and count for the next ones.

    The locks of the budgets' keys are held.
    """
    groups: dict[tuple[str, str], list[Wanted]] = {}
    for attempt, terms in asked:
        wanted = Wanted(attempt.action_id, attempt.resource_id or "", terms)
        groups.setdefault((attempt.tenant_id, terms.key), []).append(wanted)
    held: dict[str, Hold] = {}
    for (tenant_id, key), wanted_here in groups.items():
        ledger = await _ledger(tx, tenant_id, key, wanted_here)
        for wanted in wanted_here:
            hold = ledger.change(wanted)
            if hold is not None:
                held[wanted.action_id] = hold
    return held


async def would_hold(tx: Tx, tenant_id: str, resource_id: str, terms: BudgetTerms) -> Hold | None:
    """Why a change to come would have to wait; None when it is within the budget now."""
    wanted = Wanted("", resource_id, terms)
    return (await _ledger(tx, tenant_id, terms.key, [wanted])).change(wanted)


async def _ledger(tx: Tx, tenant_id: str, key: str, wanted: Iterable[Wanted]) -> "_Ledger":
    window = max(each.terms.window for each in wanted)
    own: list[uuid.UUID] = uuids(each.action_id for each in wanted if each.action_id)
    rows = await tx.fetch(_CHANGED, tenant_id, key, window, own, window + LONGEST)
    now = rows[0]["now"] if rows else await tx.fetchval("SELECT clock_timestamp()")
    return _Ledger(now, {row["resource_id"]: row["last"] for row in rows})


@dataclass(slots=True)
class _Ledger:
    """When each resource was last changed under a key; one that is being changed, now."""

    now: datetime
    last: dict[str, datetime]

    def change(self, wanted: Wanted) -> Hold | None:
        """Why it must wait; otherwise it is put down as begun."""
        terms = wanted.terms
        window = timedelta(seconds=terms.window)
        counted = sorted((last, name) for name, last in self.last.items() if last > self.now - window)
        if len(counted) < terms.resources or any(name == wanted.resource_id for _, name in counted):
            self.last[wanted.resource_id] = self.now
            return None
        until = counted[len(counted) - terms.resources][0] + window
        names = ", ".join(name for _, name in counted[:NAMED]) + (", …" if len(counted) > NAMED else "")
        detail = (
            f"{len(counted)} of {terms.resources} resources were changed within {spoken(terms.window)} ({names});"
            f" room for one more at {rfc3339(until)} at the earliest"
        )
        return Hold("budget", until, detail)
