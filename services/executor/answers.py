"""What an execution learns from a decision about an approval: that it may go on, that it may not, or to ask once more.

A grant of what the step would do lets it begin. One that is void, or that nothing new could be asked instead of, fails
the step. One of something else (another plan, another action, another step) begins nothing: the step stays blocked, and
`runbook.blocked` says which grant was refused, why, with both hashes, and asks about what would be done now.
"""

from collections.abc import Collection, Sequence
from typing import Final, TypeAlias

from libs.common.contracts.approval import ApprovalFact, ApprovalGranted, ApprovalRejected, approval_id
from libs.common.database import Tx, Uuid
from libs.common.telemetry import log
from libs.runbook.facts import ApprovalDenied, Fact, GrantRefused
from libs.runbook.facts import ApprovalGranted as Granted
from libs.runbook.frame import StepRun
from libs.runbook.rendering import RenderRefused, render_action, scope_of
from libs.runbook.steps import ApprovalStep
from services.executor.evaluator import evaluator_for
from services.executor.grants import ASKED_AGAIN, BEGIN_AGAIN, Fault, Grant, Wanted, fault
from services.executor.model import Execution

_RELY_ON: Final = """
UPDATE approval SET used_at = clock_timestamp() WHERE approval_id = ANY($1::uuid[]) AND state = 'granted'
"""
_PLACES: Final = """
SELECT execution_id, path, visit FROM step_run
JOIN unnest($1::uuid[], $2::uuid[]) AS t(step_run_id, execution_id) USING (step_run_id, execution_id)
"""
Place: TypeAlias = tuple[str, int]
"""Path and visit of a step run."""


def short(execution: Execution, fact: ApprovalFact, place: Place | None) -> str:
    """Why a grant is not by as many people as the step asks for, in words; empty when it is.

    A message is no authority: one from a service that has not heard of quorums yet grants nothing that needs one.
    """
    if place is None or not isinstance(fact, ApprovalGranted):
        return ""
    step = execution.spec.step(place[0])
    asked = step if isinstance(step, ApprovalStep) else step.own_approval
    wanted = asked.quorum if asked is not None else 1
    people = len({*(fact.approvers or ()), fact.approver} - {execution.initiator})
    return "" if wanted == 1 or people >= wanted else f"{people} of {wanted} people agreed. {BEGIN_AGAIN}"


async def told(
    tx: Tx,
    execution: Execution,
    fact: ApprovalFact,
    grant: Grant,
    place: Place | None,
    *,
    relied: set[str],
    short_of: str = "",
) -> Fact | None:
    """What the execution learns from a decision; None when it concerns no step that waits for one.

    A grant that it goes on by, without an action to use it, joins those `relied` upon.
    """
    if isinstance(fact, ApprovalGranted) and grant.state in {"granted", "used"}:
        return await _on_grant(tx, execution, place, grant, fact, relied)
    if place is None:
        return None
    if isinstance(fact, ApprovalRejected):
        return ApprovalDenied(*place, fact.approval_id, "rejected", fact.approver, fact.rationale)
    if isinstance(fact, ApprovalGranted):
        return ApprovalDenied(*place, fact.approval_id, "revoked", rationale=short_of)
    silence = f"Nobody decided approval {fact.approval_id} in time. {BEGIN_AGAIN}"
    return ApprovalDenied(*place, fact.approval_id, "expired", rationale=silence)


async def _on_grant(
    tx: Tx, execution: Execution, place: Place | None, grant: Grant, fact: ApprovalGranted, relied: set[str]
) -> Fact | None:
    """A grant is good, or refused with its reason, by the step that waits for it (or by whatever waits instead)."""
    run = execution.frame.run(*place) if place is not None else execution.frame.current
    if run is None or not run.waits_for("approval"):
        return Granted(*place, grant.approval_id) if place is not None else None
    try:
        wanted = wanted_at(execution, run)
    except RenderRefused:
        return Granted(run.path, run.visit, grant.approval_id)  # what cannot be rendered fails when it is begun
    found = fault(grant, wanted)
    if found is None:
        if isinstance(execution.spec.step(run.path), ApprovalStep):
            relied.add(grant.approval_id)
        return Granted(run.path, run.visit, grant.approval_id, fact.values or {})
    log.warning("grant_refused", approval_id=grant.approval_id, execution_id=execution.execution_id, code=found.code)
    return await _refusal(tx, execution.tenant_id, run, found, grant, wanted)


async def _refusal(tx: Tx, tenant_id: str, run: StepRun, found: Fault, grant: Grant, wanted: Wanted) -> Fact:
    """The step asks once more if it can ask anything new, or what it asks is open still; otherwise it has failed."""
    about = {"execution_id": wanted.execution_id, "step_run_id": wanted.step_run_id}
    hashes = {"plan_hash": wanted.plan_hash, "action_hash": wanted.action_hash}
    question = approval_id(tenant=tenant_id, **about, **hashes)
    decided = await tx.fetchval("SELECT 1 FROM approval WHERE approval_id = $1", Uuid(question))
    if decided is not None and found.code != "approval_other_step":
        return ApprovalDenied(run.path, run.visit, grant.approval_id, found.why, rationale=found.text)
    message = f"{found.sentence} {ASKED_AGAIN}"
    return GrantRefused(run.path, run.visit, grant.approval_id, found.code, message, grant.plan_hash, grant.action_hash)


def wanted_at(execution: Execution, run: StepRun) -> Wanted:
    """What a grant of a step must be for: the plan as it is, and the action as it would be carried out now.

    Raises:
        RenderRefused: the action has no bytes.
    """
    action_hash = ""
    if not isinstance(execution.spec.step(run.path), ApprovalStep):
        scope = scope_of(execution.inputs, execution.facts, execution.frame)
        rendered = render_action(execution.spec, run.path, scope, evaluate=evaluator_for(execution.spec))
        action_hash = rendered.action_hash
    step_run_id = execution.step_run_id(run.path, run.visit)
    return Wanted(execution.execution_id, step_run_id, execution.plan_hash, action_hash, execution.initiator)


async def rely_on(tx: Tx, approvals: Collection[str]) -> None:
    """Remember that these grants let plans go on."""
    if approvals:
        await tx.execute(_RELY_ON, [Uuid(key) for key in sorted(approvals)])


async def places(tx: Tx, facts: Sequence[ApprovalFact]) -> dict[str, Place]:
    """Where the step runs that these facts name stand, by execution; each fact is about another one."""
    if not facts:
        return {}
    names = [Uuid(fact.step_run_id) for fact in facts], [Uuid(fact.execution_id) for fact in facts]
    found = {row["execution_id"]: (row["path"], row["visit"]) for row in await tx.fetch(_PLACES, *names)}
    return {fact.execution_id: found[key] for fact, key in zip(facts, names[1], strict=True) if key in found}


async def place_of(tx: Tx, execution: Execution, step_run_id: str) -> Place | None:
    """Path and visit of a step run of this execution."""
    row = await tx.fetchrow(
        "SELECT path, visit FROM step_run WHERE step_run_id = $1 AND execution_id = $2",
        Uuid(step_run_id),
        Uuid(execution.execution_id),
    )
    return (row["path"], row["visit"]) if row is not None else None
