"""What people tell an execution: decisions, grants, completed steps, an end. Only `advance` uses it."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from libs.runbook import forms
from libs.runbook.beginning import begin
from libs.runbook.facts import (
    AbortRequested,
    ApprovalDenied,
    ApprovalGranted,
    FailRequested,
    GrantRefused,
    PauseRequested,
    PersonChose,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
    StepCompletedByPerson,
    StepDecided,
)
from libs.runbook.frame import CHOICE, EVENT, PAUSED, RETRY, SKIPPED_BY_PERSON, VERIFY, StepRun
from libs.runbook.progress import (
    UNDER_WAY,
    fail,
    fail_attempt,
    finish_step,
    give_up,
    hold_back,
    leave_out,
    not_needed,
    skip,
    succeed,
    take_back,
    withdraw,
)
from libs.runbook.spec import Runbook
from libs.runbook.steps import ALERT_RESOLVED, ApprovalStep, CompositeStep, ManualStep, WaitStep
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
    step = turn.spec.step(run.path)
    if isinstance(step, ApprovalStep):
        _answered(turn, granted, step, fact)
    else:
        begin(turn, granted, attempt=run.attempts or None)


def _answered(turn: Turn, run: StepRun, step: ApprovalStep, fact: ApprovalGranted) -> None:
    """The answer becomes the step's outputs; one that does not fit the form was given to another question."""
    faults = forms.filled_faults(step.form, fact.values)
    if faults:
        fail_attempt(turn, run, "approval_form", "; ".join(str(fault) for fault in faults))
    else:
        outputs = {**fact.values, "approval_id": fact.approval_id}
        succeed(turn, replace(run, outputs=outputs), by_person=True)


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
            {"reason": "approval", "path": run.path},
            start,
            detail=fact.message,
            refused_code=fact.code,
            refused_approval_id=fact.approval_id,
            refused_plan_hash=fact.plan_hash,
            refused_action_hash=fact.action_hash,
        )


def _revoke_plan(turn: Turn) -> None:
    """Nothing more begins. After the last step there is nothing left to hold back."""
    if turn.frame.verify_state != "none" or turn.frame.undoing is not None or turn.frame.telling is not None:
        return
    turn.change(revoked=True)
    hold_back(turn, lambda path: fail(turn, "approval_revoked", path))


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


def on_choice(turn: Turn, fact: PersonChose) -> None:
    """Somebody said how it goes on."""
    run = turn.run(fact)
    asked = run.waits_for(CHOICE)
    if not (asked or (fact.choice == "skip" and may_skip(turn.spec, run))):
        return
    said = {"decision": fact.choice, "actor": fact.actor, "rationale": fact.rationale}
    turn.publish_step("step_decided", run, **said)
    if fact.choice == "abort":
        _abort(turn, fact.actor, fact.rationale)
    elif fact.choice == "retry":
        _try_again(turn, run)
    else:
        withdraw(turn, run)
        leave_out(turn, run, SKIPPED_BY_PERSON, f"{fact.actor}: {fact.rationale}")


def _try_again(turn: Turn, run: StepRun) -> None:
    """Another attempt of the same visit, so under the same key and the same grant; where no grant stands, a new visit.

    A question is asked once for each visit: one that was answered, or never asked, would not be asked again. Branches
    and loops are begun anew as a whole, so all that is in them is another visit, too.
    """
    step = turn.spec.step(run.path)
    asks = turn.spec.needs_approval(run.path) or isinstance(step, ApprovalStep)
    if isinstance(step, CompositeStep) or (asks and (run.denied or not run.approval_id)):
        turn.put(replace(run, state="failed", waiting_for=""))
        turn.change(rounds=turn.frame.rounds + 1)
        begin(turn, StepRun(run.path, run.visit + 1))
    else:
        begin(turn, replace(run, failures=0, losses=0))


def may_skip(spec: Runbook, run: StepRun) -> bool:
    """Whether a person may leave the step out: nothing of it is under way, and it is no approval."""
    return run.state in {"ready", "waiting", "pending"} and not isinstance(spec.step(run.path), ApprovalStep)


def on_signal(turn: Turn, fact: SignalReceived) -> None:
    """What waits for that event goes on; the alert's end is not for people to say."""
    if fact.name != ALERT_RESOLVED:
        signalled(turn, fact.name, fact.data)


def signalled(turn: Turn, name: str, data: Mapping[str, Any]) -> None:
    """An event has come."""
    for run in turn.frame.live:
        step = turn.spec.step(run.path)
        if run.waits_for(EVENT) and isinstance(step, WaitStep) and step.event == name:
            turn.cancel_timer("timeout", run.ref)
            succeed(turn, replace(run, outputs=dict(data)))
        elif run.waits_for(VERIFY) and name == ALERT_RESOLVED:
            turn.cancel_timer("timeout", run.ref)
            finish_step(turn, run)


def on_pause(turn: Turn, fact: PauseRequested) -> None:
    """Nothing more begins."""
    if not turn.frame.paused:
        turn.change(paused=True)
        turn.publish("paused", actor=fact.actor, rationale=fact.rationale)


def on_resume(turn: Turn, fact: ResumeRequested) -> None:
    """What was held back by the pause begins."""
    if not turn.frame.paused:
        return
    turn.change(paused=False)
    turn.publish("resumed", actor=fact.actor, rationale=fact.rationale)
    for run in turn.frame.live:
        if run.waits_for(PAUSED):
            begin(turn, run, attempt=run.attempts or None)
        elif run.waits_for(RETRY) and not turn.has_timer("retry", run.ref):
            begin(turn, run)


def on_rollback(turn: Turn, fact: RollbackRequested) -> None:
    """What was changed is taken back, even if the runbook does not say so by itself."""
    if turn.frame.undoing is None and turn.frame.telling is None:
        run = turn.frame.current
        path = run.path if run else ""
        take_back(turn, "rolled_back_by_person", path, actor=fact.actor, rationale=fact.rationale)


def _abort(turn: Turn, actor: str, rationale: str) -> None:
    turn.finish("aborted", "aborted", "aborted", {"actor": actor, "rationale": rationale})
