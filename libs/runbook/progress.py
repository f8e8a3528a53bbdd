"""From step to step: how each type of step begins, and what follows from its end. Only `advance` uses it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from libs.runbook import durations, forms
from libs.runbook.effects import AskPerson, CancelAction, RequestApproval, RunAction
from libs.runbook.elements import Approval
from libs.runbook.expressions import ExpressionError, NotText
from libs.runbook.frame import RETRY, WAIT, WHEN_FALSE, Frame, StepRun
from libs.runbook.spec import Runbook
from libs.runbook.steps import MAX_WAIT_SECONDS, ApprovalStep, CheckStep, ManualStep, WaitStep
from libs.runbook.turn import Turn

ASKED: Final = frozenset({"ready", "running"})
UNDER_WAY: Final = frozenset({"running", "unknown"})
CAPTURE_FAILED: Final = "capture_failed"


def needs_firing(spec: Runbook, frame: Frame, path: str) -> bool:
    """Whether the alert must fire for the step to be begun: it says so, or it would be the first to change anything."""
    step = spec.step(path)
    changed = any(_took_effect(run) and spec.step(run.path).mutating for run in frame.step_runs)
    return step.requires_firing or (step.mutating and not changed)


def not_needed(turn: Turn, run: StepRun) -> bool:
    """Whether the alert has ended without a step that needs it to fire."""
    return turn.frame.alert_firing is False and needs_firing(turn.spec, turn.frame, run.path)


def _took_effect(run: StepRun) -> bool:
    return run.state in {"succeeded", "unknown"} or run.error_code == CAPTURE_FAILED


def arrive(turn: Turn, path: str | None) -> None:
    """Comes to a step, or to the verification after the last."""
    if turn.frame.terminal:
        return
    if turn.frame.deadline_passed:
        fail(turn, "deadline_exceeded", "")
    elif path is None:
        verify(turn)
    elif turn.frame.revoked:
        fail(turn, "approval_revoked", path)
    else:
        _enter(turn, StepRun(path, turn.frame.visits(path) + 1))


def begin(turn: Turn, run: StepRun, *, attempt: int | None = None) -> None:
    """Begins a step, or an attempt of it (the next by default), unless the alert has ended and the step needs it.

    A step that needs an approval asks for that first; it is begun again when the approval is granted.
    """
    if not_needed(turn, run):
        skip(turn, run)
    elif turn.spec.needs_approval(run.path) and not run.approval_id:
        _request_approval(turn, run)
    else:
        _start(turn, run, attempt or run.attempts + 1)


def skip(turn: Turn, run: StepRun) -> None:
    """Leaves out what remains: the alert has ended without it."""
    withdraw(turn, run)
    turn.put(replace(run, state="skipped", waiting_for="", error_code="", message="the alert had ended"))
    verify(turn)


def withdraw(turn: Turn, run: StepRun) -> None:
    """Takes back what the step asked for: its action, its timers."""
    if run.state in ASKED or run.held:
        turn.effects.append(CancelAction(run.path, run.visit, run.attempts))
    turn.cancel_timer("retry", run.ref)
    turn.cancel_timer("timeout", run.ref)


def conclude(turn: Turn, run: StepRun, outputs: Mapping[str, Any]) -> None:
    """An action was carried out, or none was needed: what it answered is named, and judged."""
    step = turn.spec.step(run.path)
    try:
        found = {**outputs, **_captured(turn, step.captures, outputs)}
    except ExpressionError as error:
        fail_attempt(turn, run, CAPTURE_FAILED, str(error))
        return
    done = replace(run, outputs=found)
    if not isinstance(step, CheckStep):
        succeed(turn, done)
        return
    try:
        holds = turn.known.holds(step.expect, turn.known.scope(turn.frame, found))
    except ExpressionError as error:
        fail_attempt(turn, done, "condition_error", f"expect: {error}")
        return
    if holds:
        succeed(turn, done)
    else:
        fail_attempt(turn, done, "check_failed", f"expected {step.expect}", retryable=True)


def succeed(turn: Turn, run: StepRun, *, by_person: bool = False, said: Mapping[str, str] | None = None) -> None:
    """The step is done; `said` is what a person told of it."""
    done = replace(run, state="succeeded", waiting_for="", error_code="", message="")
    turn.put(done)
    turn.publish_step("step_completed", done, decided_by_person=by_person, **(said or {}))
    turn.onward.append(turn.spec.successor(run.path))


def fail_attempt(
    turn: Turn,
    run: StepRun,
    code: str,
    message: str,
    *,
    retryable: bool = False,
    said: Mapping[str, str] | None = None,
) -> None:
    """An attempt failed: another follows after the back-off, or the step has failed."""
    failed = replace(run, failures=run.failures + 1, error_code=code, message=message, waiting_for="")
    retry = turn.spec.step(run.path).tries
    again = retryable and failed.failures < retry.attempts and may_repeat(turn, failed)
    turn.publish_step("step_failed", failed, error_code=code, message=message, will_retry=again, **(said or {}))
    if again:
        turn.put(replace(failed, state="waiting", waiting_for=RETRY))
        turn.set_timer("retry", failed.ref, retry.pause_seconds(failed.failures))
    else:
        give_up(turn, failed)


def may_repeat(turn: Turn, run: StepRun) -> bool:
    """Whether another attempt of a step may begin."""
    return not (turn.frame.deadline_passed or turn.frame.revoked or run.denied)


def give_up(turn: Turn, run: StepRun) -> None:
    """The step has failed, and that was published: the execution ends, or goes on as the step says."""
    turn.put(replace(run, state="failed", waiting_for=""))
    stops, following = turn.spec.after_failure(run.path)
    if stops:
        fail(turn, "step_failed", run.path)
    else:
        turn.onward.append(following)


def verify(turn: Turn) -> None:
    """Ends the execution if the alert has ended, or waits for that."""
    within = turn.spec.verify.within if turn.spec.verify else None
    skipped = [run for run in turn.frame.step_runs if run.state == "skipped"]
    paths = [run.path for run in skipped]
    if within is None:
        ended = any(run.error_code != WHEN_FALSE for run in skipped)
        turn.finish("completed", "alert_resolved" if ended else "done", "completed", _done("none", paths))
    elif turn.frame.alert_firing is False:
        turn.change(verify_state="passed")
        turn.finish("completed", "alert_resolved", "completed", _done("alert_resolved", paths))
    else:
        turn.change(verify_state="waiting")
        turn.set_timer("verify_due", turn.frame.path, durations.seconds(within))


def fail(turn: Turn, reason: str, path: str, **said: str) -> None:
    """The execution has failed."""
    turn.finish("failed", reason, "failed", {"reason": reason, "path": path, **said})


def _done(verified: str, skipped: list[str]) -> Mapping[str, Any]:
    return {"verified": verified, "skipped": skipped}


def _enter(turn: Turn, run: StepRun) -> None:
    """Begins the step unless its `when` is false. A condition without a value fails the step: it is not false."""
    step = turn.spec.step(run.path)
    try:
        applies = step.when is None or turn.known.holds(step.when, turn.known.scope(turn.frame))
    except ExpressionError as error:
        fail_attempt(turn, run, "condition_error", f"when: {error}")
        return
    if applies:
        begin(turn, run)
        return
    skipped = replace(run, state="skipped", error_code=WHEN_FALSE, message=f"when: {step.when}")
    turn.put(skipped)
    turn.publish_step("step_skipped", skipped, reason=WHEN_FALSE)
    turn.onward.append(turn.spec.successor(run.path))


def _start(turn: Turn, run: StepRun, attempt: int) -> None:
    step = turn.spec.step(run.path)
    if step.action_name:
        ready = replace(run, state="ready", waiting_for="", attempts=attempt)
        turn.put(ready)
        asks = turn.spec.needs_approval(run.path)
        turn.effects.append(RunAction(ready.path, ready.visit, attempt, step.tries.attempts, needs_approval=asks))
        return
    try:
        match step:
            case WaitStep():
                _wait(turn, run, step)
            case ManualStep():
                _ask_person(turn, run, step)
            case ApprovalStep():
                _request_approval(turn, run)
            case _:
                conclude(turn, run, {})
    except ExpressionError as error:
        fail_attempt(turn, run, "render_refused", str(error))


def _wait(turn: Turn, run: StepRun, step: WaitStep) -> None:
    seconds = _seconds(turn, step)
    turn.put(replace(run, state="waiting", waiting_for=WAIT))
    turn.set_timer("wait", run.ref, seconds)


def _seconds(turn: Turn, step: WaitStep) -> float:
    scope = turn.known.scope(turn.frame)
    if step.duration is not None:
        try:
            return durations.seconds(turn.known.text(step.duration, scope))
        except ValueError as error:
            raise NotText(f"for: {error}") from None
    value = turn.known.value(step.seconds, scope)
    if type(value) is not int or not 1 <= value <= MAX_WAIT_SECONDS:
        raise NotText(f"seconds: must be a whole number from 1 to {MAX_WAIT_SECONDS}")
    return float(value)


def _ask_person(turn: Turn, run: StepRun, step: ManualStep) -> None:
    instructions = turn.known.text(step.instructions, turn.known.scope(turn.frame))
    turn.put(replace(run, state="waiting", waiting_for="person"))
    turn.effects.append(AskPerson(run.path, run.visit, instructions, forms.described(step)))
    if step.timeout is not None:
        turn.set_timer("timeout", run.ref, durations.seconds(step.timeout))


def _request_approval(turn: Turn, run: StepRun) -> None:
    """Asks for an approval: of the plan by an approval step, of its own action by any other."""
    step = turn.spec.step(run.path)
    own = step if isinstance(step, ApprovalStep) else step.own_approval or Approval()
    prompt = own.prompt or f"Carry out {step.name or step.id}?"
    try:
        text = turn.known.text(prompt, turn.known.scope(turn.frame))
    except ExpressionError as error:
        fail_attempt(turn, run, "render_refused", f"prompt: {error}")
        return
    turn.put(replace(run, state="waiting", waiting_for="approval"))
    turn.effects.append(
        RequestApproval(
            path=run.path,
            visit=run.visit,
            attempt=run.attempts + 1,
            of="plan" if own is step else "action",
            risk=turn.spec.risk_of(run.path),
            expires_seconds=durations.seconds(own.expires),
            prompt=text,
            approvers=own.approvers,
        )
    )


def _captured(turn: Turn, captures: Mapping[str, str], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that the step names.

    Raises:
        ExpressionError: one has no value, or null.
    """
    if not captures:
        return {}
    scope = turn.known.scope(turn.frame, outputs)
    found = {}
    for name, source in captures.items():
        try:
            found[name] = turn.known.expression(source, scope)
        except ExpressionError as error:
            raise ExpressionError(f"capture.{name}: {error}") from None
        if found[name] is None:
            raise ExpressionError(f"capture.{name}: is null")
    return found
