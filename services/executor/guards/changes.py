"""What a claim asks before a change, in its own transaction: the breaker, the cool-down, the budget, in this order.

The lock of the resource is taken by then, so that nobody's end comes between the question and the change; whoever is
turned away gives a lock back that it had just taken. What an execution has begun to change it may change again: it may
have to take it back.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import asyncpg

from libs.common.database import Tx, Uuid
from libs.common.outbox import Outbox
from libs.runbook.frame import HoldReason
from services.executor import metrics
from services.executor.guards import breaker, budget, cooldown, turns
from services.executor.guards.hold import Hold
from services.executor.guards.terms import BreakerTerms, Terms
from services.executor.model import Attempt
from services.executor.storage.columns import columns

_BEGUN: Final = """
SELECT DISTINCT c.execution_id, c.resource_id FROM guarded_change c JOIN action_log a ON a.action_id = c.action_id
WHERE c.execution_id = ANY($1::uuid[]) AND a.started_at IS NOT NULL
"""
_RECORD: Final = """
INSERT INTO guarded_change (action_id, tenant_id, execution_id, runbook_id, resource_id, budget_key)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[])
ON CONFLICT (action_id) DO UPDATE SET changed_at = clock_timestamp()
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
    again = [a for a in guarded if (a.execution_id, a.resource_id) in begun]
    await _record(tx, again, terms)
    fresh = [a for a in guarded if (a.execution_id, a.resource_id) not in begun]
    held = await _holds(tx, outbox, fresh, terms, now)
    await _record(tx, [a for a in fresh if a.action_id not in held], terms)
    for hold in held.values():
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
    rows = await tx.fetch(_BEGUN, [Uuid(attempt.execution_id) for attempt in attempts])
    return {(str(row["execution_id"]), row["resource_id"]) for row in rows}


async def _holds(
    tx: Tx, outbox: Outbox, attempts: Sequence[Attempt], terms: Mapping[str, Terms], now: datetime
) -> dict[str, Hold]:
    """What holds the changes, by action; a person's matter is told before what passes by itself."""
    held: dict[str, Hold] = {}
    asked: dict[str, tuple[breaker.Place, BreakerTerms]] = {}
    for attempt in attempts:
        own = terms[attempt.action_id]
        if own.breaker is not None:
            place = breaker.Place(attempt.tenant_id, own.runbook_id, attempt.resource_id or "")
            asked[attempt.action_id] = place, own.breaker
    opened = await breaker.holds(tx, outbox, dict(asked.values()), now=now)
    held |= {action_id: opened[place] for action_id, (place, _) in asked.items() if place in opened}
    resting = [a for a in attempts if a.action_id not in held and terms[a.action_id].cooldown is not None]
    found = await cooldown.holds(tx, [_resting(a, terms[a.action_id]) for a in resting])
    held |= {a.action_id: hold for a, hold in zip(resting, found, strict=True) if hold is not None}
    spending = ((a, terms[a.action_id].budget) for a in attempts if a.action_id not in held)
    return held | await budget.holds(tx, [(a, own_budget) for a, own_budget in spending if own_budget is not None])


def _resting(attempt: Attempt, terms: Terms) -> cooldown.Wanted:
    seconds = terms.cooldown or 0.0
    return cooldown.Wanted(
        attempt.tenant_id, terms.runbook_id, attempt.resource_id or "", seconds, attempt.execution_id
    )


async def _record(tx: Tx, attempts: Sequence[Attempt], terms: Mapping[str, Terms]) -> None:
    rows = [
        (
            Uuid(a.action_id),
            a.tenant_id,
            Uuid(a.execution_id),
            terms[a.action_id].runbook_id,
            a.resource_id,
            own_budget.key if (own_budget := terms[a.action_id].budget) else None,
        )
        for a in attempts
    ]
    if rows:
        await tx.execute(_RECORD, *columns(rows))


async def _turn_away(tx: Tx, turned: Sequence[Attempt], held: Mapping[str, Hold]) -> None:
    """Give back the locks, which were taken for this change alone, and say what it waits for."""
    if not turned:
        return
    locks = [(attempt.tenant_id, attempt.resource_id, Uuid(attempt.execution_id)) for attempt in turned]
    await tx.execute(_GIVE_BACK, *columns(locks))
    notes = [(Uuid(a.action_id), held[a.action_id].until, held[a.action_id].detail) for a in turned]
    await tx.execute(_NOTE, *columns(notes))
