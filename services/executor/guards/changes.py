"""What a claim asks before a change, in its own transaction: the breaker, the cool-down, the budget, in this order.

The lock of the resource is taken by then, so that nobody's end comes between the question and the change; whoever is
turned away gives a lock back that it had just taken. What an execution has begun to change it may change again: it may
have to take it back.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from libs.common.database import Tx
from libs.common.outbox import Outbox
from libs.runbook.frame import HoldReason
from services.executor import metrics
from services.executor.guards import breaker, budget, cooldown, turns
from services.executor.guards.hold import Hold
from services.executor.guards.terms import Terms
from services.executor.model import Attempt
from services.executor.storage.columns import columns

_BEGUN: Final = """
SELECT DISTINCT c.execution_id, c.resource_id FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.execution_id = ANY($1::uuid[]) AND a.started_at IS NOT NULL
"""
_RECORD: Final = """
INSERT INTO guarded_change (action_id, tenant_id, execution_id, runbook_id, resource_id, budget_key)
VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (action_id) DO UPDATE SET changed_at = clock_timestamp()
"""
_GIVE_BACK: Final = """
DELETE FROM resource_lock l USING unnest($1::text[], $2::text[], $3::uuid[]) AS t(tenant, resource, execution)
WHERE (l.tenant_id, l.resource_id, l.execution_id) = (t.tenant, t.resource, t.execution)
"""
_NOTE: Final = """
UPDATE action_log SET held_until = t.until, held_detail = t.detail
FROM unnest($1::uuid[], $2::timestamptz[], $3::text[]) AS t(id, until, detail) WHERE action_id = t.id
"""


async def check(
    tx: Tx, outbox: Outbox, attempts: Sequence[Attempt], rows: Sequence[asyncpg.Record], *, now: datetime
) -> tuple[list[Attempt], list[tuple[Attempt, HoldReason]]]:
    """Those that may begin, and those that must wait, with what holds them. Costs nothing without such guards.

    `rows` are those of the attempts, with the `guards` of their executions.
    """
    terms = {str(row["action_id"]): Terms.from_json(row["guards"]) for row in rows if row["guards"] is not None}
    guarded = [a for a in attempts if a.action_id in terms and a.mutating and a.resource_id is not None]
    if not guarded:
        return list(attempts), []
    await turns.take(tx, _budgets(guarded, terms))
    begun = await _begun(tx, guarded)
    held: dict[str, Hold] = {}
    for attempt in guarded:
        hold = None
        if (attempt.execution_id, attempt.resource_id) not in begun:
            hold = await _hold(tx, outbox, attempt, terms[attempt.action_id], now)
        if hold is None:
            await _record(tx, attempt, terms[attempt.action_id])
        else:
            held[attempt.action_id] = hold
            metrics.GUARDS.labels(hold.reason, "held").inc()
    turned = [attempt for attempt in guarded if attempt.action_id in held]
    await _turn_away(tx, turned, held)
    return (
        [attempt for attempt in attempts if attempt.action_id not in held],
        [(attempt, held[attempt.action_id].reason) for attempt in turned],
    )


def _budgets(attempts: Sequence[Attempt], terms: Mapping[str, Terms]) -> list[str]:
    found = ((attempt, terms[attempt.action_id].budget) for attempt in attempts)
    return [turns.budget(attempt.tenant_id, budget.key) for attempt, budget in found if budget is not None]


async def _begun(tx: Tx, attempts: Sequence[Attempt]) -> set[tuple[str, str | None]]:
    """What these executions have begun to change before."""
    rows = await tx.fetch(_BEGUN, [uuid.UUID(attempt.execution_id) for attempt in attempts])
    return {(str(row["execution_id"]), row["resource_id"]) for row in rows}


async def _hold(tx: Tx, outbox: Outbox, attempt: Attempt, terms: Terms, now: datetime) -> Hold | None:
    """What holds the change; a person's matter is told before what passes by itself."""
    hold, tenant, resource = None, attempt.tenant_id, attempt.resource_id or ""
    if terms.breaker is not None:
        hold = await breaker.hold(tx, outbox, breaker.Place(tenant, terms.runbook_id, resource), terms.breaker, now)
    if hold is None and terms.cooldown is not None:
        hold = await cooldown.hold(tx, tenant, terms.runbook_id, resource, terms.cooldown, attempt.execution_id)
    if hold is None and terms.budget is not None:
        hold = await budget.hold(tx, tenant, resource, terms.budget, attempt.action_id)
    return hold


async def _record(tx: Tx, attempt: Attempt, terms: Terms) -> None:
    await tx.execute(
        _RECORD,
        uuid.UUID(attempt.action_id),
        attempt.tenant_id,
        uuid.UUID(attempt.execution_id),
        terms.runbook_id,
        attempt.resource_id,
        terms.budget.key if terms.budget else None,
    )


async def _turn_away(tx: Tx, turned: Sequence[Attempt], held: Mapping[str, Hold]) -> None:
    """Give back the locks, which were taken for this change alone, and say what it waits for."""
    if not turned:
        return
    locks = [(attempt.tenant_id, attempt.resource_id, uuid.UUID(attempt.execution_id)) for attempt in turned]
    await tx.execute(_GIVE_BACK, *columns(locks))
    notes = [(uuid.UUID(a.action_id), held[a.action_id].until, held[a.action_id].detail) for a in turned]
    await tx.execute(_NOTE, *columns(notes))
