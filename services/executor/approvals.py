"""The executor's own copy of approvals: what a claim believes, whatever the bus has or has not delivered.

A grant covers one visit of one step, for one plan and one action, once: attempts of that visit carry the same
idempotency key and are one use. A claim takes it in the transaction that says *running*; a revocation is confirmed
only when this copy has it, so it either comes before the claim, or is told that the grant was used. What may not be
used is refused with its reason (`grants`), and a grant of something else than is asked brings the question once more.
"""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

import asyncpg

from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.approval import ApprovalExpired, ApprovalGranted, ApprovalRejected
from libs.common.database import Tx, Uuid
from libs.common.outbox import Outbox
from libs.runbook.facts import ApprovalDenied, Fact, StepStarted
from services.executor import answers, storage
from services.executor.fold import Because, Change, fold, merged
from services.executor.grants import Fault, Grant, Wanted, closest_fault
from services.executor.model import ACTOR, SERVICE, Attempt, Execution, Hint
from services.executor.storage.columns import columns

_KEEP: Final = """
INSERT INTO approval
  (approval_id, tenant_id, execution_id, step_run_id, plan_hash, action_hash, state, actor, expires_at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::timestamptz[])
ON CONFLICT (approval_id) DO UPDATE SET
  execution_id = coalesce(approval.execution_id, EXCLUDED.execution_id),
  step_run_id = coalesce(approval.step_run_id, EXCLUDED.step_run_id),
  plan_hash = CASE WHEN approval.execution_id IS NULL THEN EXCLUDED.plan_hash ELSE approval.plan_hash END,
  action_hash = CASE WHEN approval.execution_id IS NULL THEN EXCLUDED.action_hash ELSE approval.action_hash END
RETURNING *, coalesce(expires_at <= clock_timestamp(), false) AS over
"""

_KNOWN: Final = """
SELECT *, coalesce(expires_at <= clock_timestamp(), false) AS over FROM approval
WHERE tenant_id = $1 AND (step_run_id = ANY($2::uuid[]) OR approval_id = ANY($3::uuid[]))
"""

_USE: Final = """
UPDATE approval p SET state = 'used', used_at = coalesce(p.used_at, clock_timestamp())
FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[])
  AS t(tenant_id, execution_id, step_run_id, plan_hash, action_hash, requester)
WHERE p.step_run_id = t.step_run_id AND p.execution_id = t.execution_id AND p.tenant_id = t.tenant_id
  AND p.plan_hash = t.plan_hash AND p.action_hash = t.action_hash AND p.actor <> t.requester
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

DECISIONS: Final = (ApprovalGranted, ApprovalRejected, ApprovalExpired)
"""What ends a question; the other facts of approvals change nothing here."""
Decision: TypeAlias = ApprovalGranted | ApprovalRejected | ApprovalExpired
Decided: TypeAlias = tuple[Received[FactReceived], Decision]
_LOCK_READY: Final = """
SELECT 1 FROM action_log WHERE execution_id = ANY($1::uuid[]) AND state = 'ready' ORDER BY action_id FOR UPDATE
"""


_USE_BY_PERSON: Final = """
UPDATE approval SET state = 'used', used_at = clock_timestamp()
WHERE approval_id = ANY($1::uuid[]) AND tenant_id = $2 AND execution_id = $3 AND step_run_id = $4 AND plan_hash = $5
  AND action_hash = $6 AND actor <> $7 AND state = 'granted' AND expires_at > clock_timestamp()
"""


async def use(tx: Tx, attempts: Sequence[Attempt]) -> dict[str, Fault]:
    """Take the grants of attempts that need one; says of each that may not run why, by action id."""
    if not attempts:
        return {}
    rows = await tx.fetch(
        _USE,
        [attempt.tenant_id for attempt in attempts],
        [Uuid(attempt.execution_id) for attempt in attempts],
        [Uuid(attempt.step_run_id) for attempt in attempts],
        [attempt.plan_hash for attempt in attempts],
        [attempt.action_hash for attempt in attempts],
        [attempt.requester for attempt in attempts],
    )
    granted = {str(row["step_run_id"]) for row in rows}
    refused = [attempt for attempt in attempts if attempt.step_run_id not in granted]
    return {attempt.action_id: await _fault_of(tx, attempt) for attempt in refused}


async def _fault_of(tx: Tx, attempt: Attempt) -> Fault:
    wanted = Wanted(
        attempt.execution_id, attempt.step_run_id, attempt.plan_hash, attempt.action_hash, attempt.requester
    )
    rows = await tx.fetch(_KNOWN, attempt.tenant_id, [Uuid(attempt.step_run_id)], [])
    return closest_fault([Grant.of(row) for row in rows], wanted)


async def used(tx: Tx, attempts: Sequence[Attempt]) -> Sequence[asyncpg.Record]:
    """The grants that these attempts are carried out under."""
    if not attempts:
        return []
    steps = [Uuid(attempt.step_run_id) for attempt in attempts]
    return await tx.fetch("SELECT * FROM approval WHERE step_run_id = ANY($1::uuid[]) AND state = 'used'", steps)


async def named(tx: Tx, tenant_id: str, approval_ids: Sequence[str]) -> Sequence[asyncpg.Record]:
    """The copies that are known here of approvals that somebody names."""
    return await tx.fetch(_KNOWN, tenant_id, [], [Uuid(i) for i in approval_ids])


async def use_by_person(tx: Tx, tenant_id: str, approval_ids: Sequence[str], wanted: Wanted) -> Fault | None:
    """Take the grant of a step that a person carried out; why none of those named stands for it, if none does."""
    named = [Uuid(i) for i in approval_ids]
    done = await tx.execute(
        _USE_BY_PERSON,
        named,
        tenant_id,
        Uuid(wanted.execution_id),
        Uuid(wanted.step_run_id),
        wanted.plan_hash,
        wanted.action_hash,
        wanted.requester,
    )
    if done != "UPDATE 0":
        return None
    return closest_fault([Grant.of(row) for row in await tx.fetch(_KNOWN, tenant_id, [], named)], wanted)


@dataclass(frozen=True, slots=True)
class Approvals:
    """Applies what the approvals service says."""

    outbox: Outbox
    clock: Clock

    async def apply(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> list[Hint]:
        """Keep decisions and tell them to the executions that wait for them."""
        facts = [(message, message.value.fact) for message in messages]
        decided = [(message, fact) for message, fact in facts if isinstance(fact, DECISIONS)]
        executions = await storage.lock(tx, (fact.execution_id for _, fact in decided))
        changes: list[Change] = []
        for wave in _waves(decided):
            changes += await self._learn(tx, wave, executions)
        return await fold(tx, self.outbox, merged(changes), now=self.clock())

    async def _learn(self, tx: Tx, wave: Sequence[Decided], executions: Mapping[str, Execution]) -> list[Change]:
        """Keep decisions, each of another execution, and find what these learn from them: a statement a kind."""
        known = {fact.execution_id: executions.get(fact.execution_id) for _, fact in wave}
        places = await answers.places(tx, [fact for _, fact in wave if known[fact.execution_id] is not None])
        asked = [(m, fact, known[fact.execution_id], places.get(fact.execution_id)) for m, fact in wave]
        shorts = [answers.short(e, fact, place) if e is not None else "" for _, fact, e, place in asked]
        rows = [
            _row(m.tenant, fact, e.initiator if e is not None else "", void=bool(short))
            for (m, fact, e, _), short in zip(asked, shorts, strict=True)
        ]
        grants = {str(row["approval_id"]): Grant.of(row) for row in await tx.fetch(_KEEP, *columns(rows))}
        changes: list[Change] = []
        relied: set[str] = set()
        for (message, fact, execution, place), short in zip(asked, shorts, strict=True):
            if execution is None or execution.tenant_id != message.tenant:
                continue
            grant = grants[str(Uuid(fact.approval_id))]
            told = await answers.told(tx, execution, fact, grant, place, short_of=short, relied=relied)
            if told is not None:
                span = handled_span(message, SERVICE, **{"ranger.execution_id": execution.execution_id})
                because = Because(message.value.envelope.actor or ACTOR, message.event_id, span)
                changes.append(Change(execution, [told], because))
        await answers.rely_on(tx, relied)
        return changes

    async def revoke(
        self, tx: Tx, *, tenant_id: str, approval_id: str, actor: str, rationale: str, traceparent: str
    ) -> tuple[bool, list[Hint]]:
        """Take a grant back; False when it was used. One that has not arrived yet will find itself revoked."""
        executions, row = await _take_back(tx, tenant_id, approval_id, actor)
        if row is None:
            return False, []
        changes = []
        for execution in executions.values():
            place = await answers.place_of(tx, execution, str(row["step_run_id"]))
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
            Uuid(approval_id),
            tenant_id,
        )
        executions = await storage.lock(tx, [str(known)] if known else [])
        await tx.execute(_LOCK_READY, [Uuid(key) for key in executions])
        try:
            async with tx.transaction():
                return executions, await _mark_revoked(tx, tenant_id, approval_id, actor, unheard=not executions)
        except _GrantArrived:
            continue


async def _mark_revoked(
    tx: Tx, tenant_id: str, approval_id: str, actor: str, *, unheard: bool
) -> asyncpg.Record | None:
    row = await tx.fetchrow(_REVOKE, Uuid(approval_id), tenant_id, actor)
    if unheard and row is not None and row["execution_id"] is not None:
        raise _GrantArrived
    return row


def _waves(decided: Sequence[Decided]) -> list[list[Decided]]:
    """The decisions in groups of which no two are about one execution or one approval; what comes later stays later.

    What an execution learns may depend on what was kept of it before.
    """
    waves: list[list[Decided]] = []
    ahead: Counter[str] = Counter()
    for message, fact in decided:
        place = max(ahead[fact.execution_id], ahead[fact.approval_id])
        ahead[fact.execution_id] = ahead[fact.approval_id] = place + 1
        if place == len(waves):
            waves.append([])
        waves[place].append((message, fact))
    return waves


def _row(tenant: str, fact: Decision, initiator: str, *, void: bool) -> tuple[Any, ...]:
    """A decision as it is kept; what stands afterwards may be another (a grant may have been revoked before it came).

    One that whoever asked has agreed to, among others, is kept as theirs, and one that too few have, as revoked
    (`void`): neither is ever used.
    """
    state, actor, expires = "expired", "", None
    if isinstance(fact, ApprovalGranted):
        own = initiator in (fact.approvers or ())
        state, actor = "revoked" if void else "granted", initiator if own else fact.approver
        expires = datetime.fromisoformat(fact.expires_at)
    elif isinstance(fact, ApprovalRejected):
        state, actor = "rejected", fact.approver
    ids = Uuid(fact.approval_id), tenant, Uuid(fact.execution_id), Uuid(fact.step_run_id)
    return (*ids, fact.plan_hash, fact.action_hash, state, actor, expires)


async def _running(tx: Tx, execution: Execution) -> list[Fact]:
    """`StepStarted` of whatever runs: a claim does not write the frame."""
    rows = await tx.fetch(
        "SELECT path, visit FROM action_log WHERE execution_id = $1 AND state = 'running'",
        Uuid(execution.execution_id),
    )
    return [StepStarted(row["path"], row["visit"]) for row in rows]


async def of_execution(tx: "Tx | asyncpg.Pool[asyncpg.Record]", execution_id: uuid.UUID) -> Iterable[asyncpg.Record]:
    """The approvals that this executor knows of an execution."""
    return await tx.fetch(
        "SELECT approval_id, step_run_id, state, actor, expires_at, used_at, plan_hash, action_hash FROM approval"
        " WHERE execution_id = $1",
        execution_id,
    )
