"""What people tell an execution: decisions, grants, completed steps, an end. Only `advance` uses it."""

from dataclasses import replace

from libs.runbook import forms
from libs.runbook.facts import (
    AbortRequested,
    ApprovalDenied,
    ApprovalGranted,
    FailRequested,
    GrantRefused,
    StepCompletedByPerson,
    StepDecided,
)
from libs.runbook.progress import UNDER_WAY, begin, fail, fail_attempt, give_up, not_needed, skip, succeed, withdraw
from libs.runbook.steps import ApprovalStep, ManualStep
from libs.runbook.turn import Turn


def on_decided(turn: Turn, fact: StepDecided) -> None:
    """Somebody said what became of an unknown step."""
    run = turn.run(fact)
    if run.state != "unknown":
        return
    said = {"decision": fact.decision, "actor": fact.actor, "rationale": fact.rationale}
    turn.publish_step("step_decided", run, **said)
    if fact.decision == "abort":
        _abort(turn, fact.actor, fact.rationale)
    elif fact.decision == "failed":
        give_up(turn, run)
    else:
        succeed(turn, run, by_person=True)


def on_granted(turn: Turn, fact: ApprovalGranted) -> None:
    """The step may begin, or was only there to ask."""
    run = turn.run(fact)
    if not run.waits_for("approval"):
        return
    granted = replace(run, approval_id=fact.approval_id, error_code="", message="")
    if isinstance(turn.spec.step(run.path), ApprovalStep):
        succeed(turn, replace(granted, outputs={"approval_id": fact.approval_id}), by_person=True)
    else:
        begin(turn, granted, attempt=run.attempts or None)


def on_denied(turn: Turn, fact: ApprovalDenied) -> None:
    """What has not begun fails, or is left out if its alert has ended; what is under way is not tried again; a plan
    that is not approved stops.
    """
    run = turn.run(fact)
    asked = run.waits_for("approval") and not run.approval_id and run.refused != fact.approval_id
    if run.approval_id != fact.approval_id and not asked:
        return
    if run.state in UNDER_WAY:
        turn.put(replace(run, denied=fact.why))
    elif run.state == "succeeded":
        if fact.why == "revoked" and isinstance(turn.spec.step(run.path), ApprovalStep):
            _revoke_plan(turn)
    elif run.state in {"ready", "waiting"} and not_needed(turn, run):
        skip(turn, run)
    elif run.state in {"ready", "waiting"}:
        withdraw(turn, run)
        message = f"{fact.why} by {fact.actor}: {fact.rationale}" if fact.actor else fact.rationale or fact.why
        fail_attempt(turn, replace(run, denied=fact.why), f"approval_{fact.why}", message)


def on_refused(turn: Turn, fact: GrantRefused) -> None:
    """What was granted is not what the step would do: it waits on, says why, and asks about what it would do."""
    run = turn.run(fact)
    if not run.waits_for("approval") or run.approval_id or run.refused == fact.approval_id:
        return
    start = len(turn.effects)
    begin(turn, replace(run, refused=fact.approval_id, error_code=fact.code, message=fact.message))
    if turn.run(fact).waits_for("approval"):
        turn.tell_block(
            start,
            detail=fact.message,
            refused_code=fact.code,
            refused_approval_id=fact.approval_id,
            refused_plan_hash=fact.plan_hash,
            refused_action_hash=fact.action_hash,
        )


def _revoke_plan(turn: Turn) -> None:
    """Nothing more begins. After the last step there is nothing left to hold back."""
    if turn.frame.verify_state != "none":
        return
    turn.change(revoked=True)
    run = turn.frame.current
    if run is None or run.state not in UNDER_WAY:
        fail(turn, "approval_revoked", run.path if run else "")


def on_person(turn: Turn, fact: StepCompletedByPerson) -> None:
    """A manual step was done, or could not be."""
    run, step = turn.run(fact), turn.spec.step(fact.path)
    if not run.waits_for("person") or not isinstance(step, ManualStep):
        return
    if forms.faults(step, fact.outcome, fact.evidence_ref, fact.values):
        return
    turn.cancel_timer("timeout", run.ref)
    said = {"actor": fact.actor, "evidence_ref": fact.evidence_ref}
    filled = replace(run, outputs=dict(fact.values))
    if fact.outcome == "succeeded":
        succeed(turn, filled, by_person=True, said=said)
    else:
        fail_attempt(turn, filled, "failed_by_person", f"{fact.actor} says that it failed", said=said)


def on_abort(turn: Turn, fact: AbortRequested) -> None:
    """It ends here."""
    _abort(turn, fact.actor, fact.rationale)


def on_fail(turn: Turn, fact: FailRequested) -> None:
    """It ends here, as failed."""
    run = turn.frame.current
    fail(turn, "failed_by_person", run.path if run else "", actor=fact.actor, rationale=fact.rationale)


def _abort(turn: Turn, actor: str, rationale: str) -> None:
    turn.finish("aborted", "aborted", "aborted", {"actor": actor, "rationale": rationale})
