"""Policy at a claim: whether a worker may carry this out, and whoever began the execution may have it done.

The second question is what keeps a runbook from lending its author's rights to whoever starts it: each step is asked
about as its initiator, with the rights that they had then. Which of the batch are alike is asked once.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson

from libs.common.contracts.marking import Marking
from libs.common.database import Tx
from libs.common.policy import Context, Principal, decide
from services.executor import about, approvals
from services.executor.grants import Wanted
from services.executor.model import SERVICE, Attempt

WORKER: Final = Principal.system(SERVICE)
PLAIN: Final = Context(rationale_present=True)
"""Whoever began it said why, where that was asked for."""
Refusals = Mapping[str, tuple[str, str]]
"""(code, text) by action id, of those that may not be carried out."""


async def refusals(rows: Sequence[tuple[Attempt, asyncpg.Record]]) -> Refusals:
    """What policy says of those that need no approval. Changes nothing and asks no server."""
    asked: dict[tuple[Any, ...], tuple[str, str] | None] = {}
    found: dict[str, tuple[str, str]] = {}
    for attempt, row in rows:
        if attempt.needs_approval:
            continue
        key = (row["rights"], attempt.tenant_id, attempt.action, attempt.risk, attempt.mutating, *_marks(row))
        if key not in asked:
            asked[key] = await _refusal(attempt, row, PLAIN)
        refusal = asked[key]
        if refusal is not None:
            found[attempt.action_id] = refusal
    return found


async def refusals_of_approved(tx: Tx, rows: Sequence[tuple[Attempt, asyncpg.Record]]) -> Refusals:
    """What policy says of those whose approvals were just used, on the evidence of these; each by itself."""
    found: dict[str, tuple[str, str]] = {}
    known = await approvals.used(tx, [attempt for attempt, _ in rows])
    for attempt, row in rows:
        wanted = Wanted(
            attempt.execution_id, attempt.step_run_id, attempt.plan_hash, attempt.action_hash, attempt.requester
        )
        own = [grant for grant in known if str(grant["step_run_id"]) == attempt.step_run_id]
        refusal = await _refusal(attempt, row, about.evidence(attempt.incident_id, wanted, own))
        if refusal is not None:
            found[attempt.action_id] = refusal
    return found


async def _refusal(attempt: Attempt, row: asyncpg.Record, context: Context) -> tuple[str, str] | None:
    initiator = WORKER if row["rights"] is None else Principal.from_wire(orjson.loads(row["rights"]))
    marking = Marking(*_marks(row))
    resource = about.action(attempt.action, attempt.tenant_id, attempt.risk, marking, mutating=attempt.mutating)
    for who, asked in ((WORKER, "step.claim"), (initiator, "step.run")):
        decision = await decide(who, asked, resource, context)
        if not decision.allow:
            return f"policy.{decision.reason}", f"Policy does not allow {who.actor} to {asked} {attempt.action}."
    return None


def _marks(row: asyncpg.Record) -> tuple[str, int]:
    return row["environment"], row["clearance"]
