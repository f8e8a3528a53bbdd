"""The executor's own copy of approvals: what a claim believes, whatever the bus has or has not delivered.

A grant covers one visit of one step, for one plan and one action, once: attempts of that visit carry the same
idempotency key and are one use. A claim takes it in the transaction that says *running*; a revocation is confirmed
only when this copy has it, so it either comes before the claim, or is told that the grant was used.
"""

import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import asyncpg

from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.approval import ApprovalExpired, ApprovalFact, ApprovalGranted, ApprovalRejected
from libs.common.database import Tx
from libs.common.outbox import Outbox
from libs.common.telemetry import log
from libs.runbook.facts import ApprovalDenied, Fact, StepStarted
from libs.runbook.facts import ApprovalGranted as Granted
from services.executor import storage
from services.executor.fold import Because, Change, fold, merged
from services.executor.model import ACTOR, SERVICE, Attempt, Execution, Hint

_KEEP: Final = """
INSERT INTO approval
  (approval_id, tenant_id, execution_id, step_run_id, plan_hash, action_hash, state, actor, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (approval_id) DO UPDATE SET execution_id = EXCLUDED.execution_id, step_run_id = EXCLUDED.step_run_id,
  plan_hash = EXCLUDED.plan_hash, action_hash = EXCLUDED.action_hash
RETURNING state
"""

_USE: Final = """
UPDATE approval p SET state = 'used', used_at = coalesce(p.used_at, clock_timestamp())
FROM unnest($1::uuid[], $2::text[], $3::text[]) AS t(step_run_id, plan_hash, action_hash)
WHERE p.step_run_id = t.step_run_id AND p.plan_hash = t.plan_hash AND p.action_hash = t.action_hash
  AND (p.state = 'used' OR (p.state = 'granted' AND p.expires_at > clock_timestamp()))
RETURNING p.step_run_id
"""

_REVOKE: Final = """
INSERT INTO approval (approval_id, tenant_id, plan_hash, action_hash, state, actor)
VALUES ($1, $2, '', '', 'revoked', $3)
ON CONFLICT (approval_id) DO UPDATE SET state = 'revoked', actor = EXCLUDED.actor
  WHERE approval.state IN ('granted', 'revoked') AND approval.tenant_id = EXCLUDED.tenant_id
RETURNING execution_id, step_run_id
"""

_LOCK_READY: Final = """
SELECT 1 FROM action_log WHERE execution_id = ANY($1::uuid[]) AND state = 'ready' ORDER BY action_id FOR UPDATE
"""


async def use(tx: Tx, attempts: Sequence[tuple[Attempt, str]]) -> set[str]:
    """Take the grants of (attempt, plan hash) pairs; the action ids whose grant stands and is theirs now."""
    if not attempts:
        return set()
    rows = await tx.fetch(
        _USE,
        [uuid.UUID(attempt.step_run_id) for attempt, _ in attempts],
        [plan_hash for _, plan_hash in attempts],
        [attempt.action_hash for attempt, _ in attempts],
    )
    granted = {str(row["step_run_id"]) for row in rows}
    return {attempt.action_id for attempt, _ in attempts if attempt.step_run_id in granted}


async def use_by_person(
    tx: Tx, approval_ids: Sequence[str], step_run_id: str, plan_hash: str, action_hash: str
) -> bool:
    """Take the grant of a step that a person carried out; False when none of those named stands for it."""
    done = await tx.execute(
        "UPDATE approval SET state = 'used', used_at = coalesce(used_at, clock_timestamp())"
        " WHERE approval_id = ANY($1::uuid[]) AND step_run_id = $2 AND plan_hash = $3 AND action_hash = $4"
        " AND state = 'granted' AND expires_at > clock_timestamp()",
        [uuid.UUID(i) for i in approval_ids],
        uuid.UUID(step_run_id),
        plan_hash,
        action_hash,
    )
    return done != "UPDATE 0"


@dataclass(frozen=True, slots=True)
class Approvals:
    """Applies what the approvals service says."""

    outbox: Outbox
    clock: Clock

    async def apply(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> list[Hint]:
        """Keep decisions and tell them to the executions that wait for them."""
        facts = [(message, message.value.fact) for message in messages]
        decided = [(message, fact) for message, fact in facts if isinstance(fact, ApprovalFact)]
        executions = await storage.lock(tx, (fact.execution_id for _, fact in decided))
        changes = []
        for message, fact in decided:
            state = await _keep(tx, message.tenant, fact)
            execution = executions.get(fact.execution_id)
            if execution is None or execution.tenant_id != message.tenant:
                continue
            change = await _change(tx, execution, message, fact, state)
            if change is not None:
                changes.append(change)
        return await fold(tx, self.outbox, merged(changes), now=self.clock())

    async def revoke(
        self, tx: Tx, *, tenant_id: str, approval_id: str, actor: str, rationale: str, traceparent: str
    ) -> tuple[bool, list[Hint]]:
        """Take a grant back; False when it was used. One that has not arrived yet will find itself revoked."""
        executions, row = await _take_back(tx, tenant_id, approval_id, actor)
        if row is None:
            return False, []
        changes = []
        for execution in executions.values():
            place = await _place(tx, execution, str(row["step_run_id"]))
            if place is not None:
                fact = ApprovalDenied(*place, approval_id, "revoked", actor, rationale)
                facts = [*await _running(tx, execution), fact]
                changes.append(Change(execution, facts, Because(actor, traceparent=traceparent)))
        return True, await fold(tx, self.outbox, changes, now=self.clock())


class _GrantArrived(Exception):
    """A grant came between looking for its execution and taking it back."""


async def _take_back(
    tx: Tx, tenant_id: str, approval_id: str, actor: str
) -> tuple[dict[str, Execution], asyncpg.Record | None]:
    """Mark the grant as revoked, under the lock of its execution if it has come; no row when it was used.

    Locks are taken as claims and folds take them: execution, actions, approval. So a claim of the step is either over
    when its grant is looked at, or passes by the locked action.
    """
    while True:
        known = await tx.fetchval(
            "SELECT execution_id FROM approval WHERE approval_id = $1 AND tenant_id = $2",
            uuid.UUID(approval_id),
            tenant_id,
        )
        executions = await storage.lock(tx, [str(known)] if known else [])
        await tx.execute(_LOCK_READY, [uuid.UUID(key) for key in executions])
        try:
            async with tx.transaction():
                return executions, await _mark_revoked(tx, tenant_id, approval_id, actor, unheard=not executions)
        except _GrantArrived:
            continue


async def _mark_revoked(
    tx: Tx, tenant_id: str, approval_id: str, actor: str, *, unheard: bool
) -> asyncpg.Record | None:
    row = await tx.fetchrow(_REVOKE, uuid.UUID(approval_id), tenant_id, actor)
    if unheard and row is not None and row["execution_id"] is not None:
        raise _GrantArrived
    return row


async def _keep(tx: Tx, tenant: str, fact: ApprovalFact) -> str:
    """Store a decision; returns the state that stands (a grant may have been revoked before it came)."""
    state, actor, expires = "expired", "", None
    if isinstance(fact, ApprovalGranted):
        state, actor, expires = "granted", fact.approver, datetime.fromisoformat(fact.expires_at)
    elif isinstance(fact, ApprovalRejected):
        state, actor = "rejected", fact.approver
    stands: str = await tx.fetchval(
        _KEEP,
        uuid.UUID(fact.approval_id),
        tenant,
        uuid.UUID(fact.execution_id),
        uuid.UUID(fact.step_run_id),
        fact.plan_hash,
        fact.action_hash,
        state,
        actor,
        expires,
    )
    return stands


async def _change(
    tx: Tx, execution: Execution, message: Received[FactReceived], fact: ApprovalFact, state: str
) -> Change | None:
    place = await _place(tx, execution, fact.step_run_id)
    if place is None:
        return None
    span = handled_span(message, SERVICE, **{"ranger.execution_id": execution.execution_id})
    if state == "granted" and fact.plan_hash != execution.plan_hash:
        log.warning("approval_of_another_plan", approval_id=fact.approval_id, execution_id=execution.execution_id)
        return None
    told: Fact
    if state in {"granted", "used"}:
        told = Granted(*place, fact.approval_id)
    elif isinstance(fact, ApprovalRejected):
        told = ApprovalDenied(*place, fact.approval_id, "rejected", fact.approver, fact.rationale)
    elif isinstance(fact, ApprovalExpired):
        told = ApprovalDenied(*place, fact.approval_id, "expired")
    else:
        told = ApprovalDenied(*place, fact.approval_id, "revoked")
    return Change(execution, [told], Because(message.value.envelope.actor or ACTOR, message.event_id, span))


async def _place(tx: Tx, execution: Execution, step_run_id: str) -> tuple[str, int] | None:
    """Path and visit of a step run of this execution."""
    row = await tx.fetchrow(
        "SELECT path, visit FROM step_run WHERE step_run_id = $1 AND execution_id = $2",
        uuid.UUID(step_run_id),
        uuid.UUID(execution.execution_id),
    )
    return (row["path"], row["visit"]) if row is not None else None


async def _running(tx: Tx, execution: Execution) -> list[Fact]:
    """`StepStarted` of whatever runs: a claim does not write the frame."""
    rows = await tx.fetch(
        "SELECT path, visit FROM action_log WHERE execution_id = $1 AND state = 'running'",
        uuid.UUID(execution.execution_id),
    )
    return [StepStarted(row["path"], row["visit"]) for row in rows]


async def of_execution(tx: "Tx | asyncpg.Pool[asyncpg.Record]", execution_id: uuid.UUID) -> Iterable[asyncpg.Record]:
    """The approvals that this executor knows of an execution."""
    return await tx.fetch(
        "SELECT approval_id, step_run_id, state, actor, expires_at, used_at, plan_hash, action_hash FROM approval"
        " WHERE execution_id = $1",
        execution_id,
    )
