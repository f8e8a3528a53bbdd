"""From step to step: how an attempt, a step and an execution end, and what follows. Only the engine uses it."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from libs.runbook import durations
from libs.runbook.effects import CancelAction, KeepRollback
from libs.runbook.expressions import ExpressionError
from libs.runbook.frame import CHOICE, RETRY, STEP_TERMINAL, VERIFY, Frame, StepRun, TimerKind
from libs.runbook.paths import around
from libs.runbook.spec import TELLING, UNDOING, Runbook
from libs.runbook.steps import ActionStep, AnyStep, CheckStep
from libs.runbook.turn import Turn

ASKED: Final = frozenset({"ready", "running"})
UNDER_WAY: Final = frozenset({"running", "unknown"})
CAPTURE_FAILED: Final = "capture_failed"
STEP_TIMERS: Final[tuple[TimerKind, ...]] = ("retry", "wait", "timeout", "probe")


def needs_firing(spec: Runbook, frame: Frame, path: str) -> bool:
    """Whether the alert must fire for the step to be begun: it says so, or it would be the first to change anything."""
    step = spec.step(path)
    own = (run for run in frame.step_runs if run.path not in frame.carried)
    changed = frame.changed or any(_took_effect(run) and spec.step(run.path).mutating for run in own)
    return step.requires_firing or (step.mutating and not changed)


def not_needed(turn: Turn, run: StepRun) -> bool:
    """Whether the alert has ended without a step that needs it to fire."""
    return turn.frame.alert_firing is False and needs_firing(turn.spec, turn.frame, run.path)


def _took_effect(run: StepRun) -> bool:
    return run.state in {"succeeded", "unknown"} or run.error_code == CAPTURE_FAILED


def skip(turn: Turn, run: StepRun) -> None:
    """Leaves out what remains of a sequence: the alert has ended without it."""
    withdraw(turn, run)
    turn.put(replace(run, state="skipped", waiting_for="", error_code="", message="the alert had ended"))
    if frame_path := around(run.path):
        turn.end_frame(frame_path, "succeeded")
    else:
        verify(turn)


def leave_out(turn: Turn, run: StepRun, code: str, message: str) -> None:
    """Leaves out one step, and goes on as after its success."""
    skipped = replace(run, state="skipped", waiting_for="", error_code=code, message=message)
    turn.put(skipped)
    turn.publish_step("step_skipped", skipped, reason=code)
    go_on(turn, skipped)


def go_on(turn: Turn, run: StepRun) -> None:
    """From a step that has ended to the one that follows its success."""
    if run.path.startswith(TELLING):
        turn.go_on("", None)
    elif run.path.startswith(UNDOING):
        turn.change(kept=turn.frame.kept - 1, undone=turn.frame.undone + (run.state == "succeeded"))
        turn.go_on("", None)
    else:
        turn.go_on(around(run.path), turn.spec.successor(run.path))


def withdraw(turn: Turn, run: StepRun) -> None:
    """Takes back what the step asked for: its action, its timers."""
    if run.state in ASKED or run.held:
        turn.effects.append(CancelAction(run.path, run.visit, run.attempts))
    for kind in STEP_TIMERS:
        turn.cancel_timer(kind, run.ref)


def cancel(turn: Turn, run: StepRun) -> None:
    """Takes a step back that is not under way, for good."""
    withdraw(turn, run)
    turn.put(replace(run, state="cancelled", waiting_for=""))


def hold_back(turn: Turn, then: Callable[[str], None]) -> None:
    """Nothing more begins: what is not under way is taken back. If nothing is under way, `then` follows.

    It is called with the step where the execution stands. Otherwise that follows when what is under way has ended.
    """
    runs = turn.frame.live
    if any(run.state in UNDER_WAY for run in runs):
        for run in runs:
            if run.state not in UNDER_WAY:
                cancel(turn, run)
                turn.end_frame(around(run.path), "stopped")
    else:
        current = turn.frame.current
        then(current.path if current else "")


def conclude(turn: Turn, run: StepRun, outputs: Mapping[str, Any]) -> None:
    """An action was carried out, or none was needed: what it answered is named, and judged."""
    step = turn.spec.step(run.path)
    try:
        found = {**outputs, **_captured(turn, run, step.captures, outputs)}
    except ExpressionError as error:
        took_effect(turn, replace(run, outputs=outputs))
        fail_attempt(turn, run, CAPTURE_FAILED, str(error))
        return
    done = replace(run, outputs=found)
    if not isinstance(step, CheckStep):
        _await_verification(turn, done, step)
        return
    try:
        holds = turn.known.holds(step.expect, turn.scope(run.path, found))
    except ExpressionError as error:
        fail_attempt(turn, done, "condition_error", f"expect: {error}")
        return
    if holds:
        succeed(turn, done)
    else:
        fail_attempt(turn, done, "check_failed", f"expected {step.expect}", retryable=True)


def _await_verification(turn: Turn, run: StepRun, step: AnyStep) -> None:
    """It took effect; one that says how that is seen has not succeeded before that was."""
    took_effect(turn, run)
    within = step.verify.within if isinstance(step, ActionStep) and step.verify else None
    if within is None or turn.frame.alert_firing is False:
        finish_step(turn, run)
        return
    turn.put(replace(run, state="waiting", waiting_for=VERIFY, error_code="", message=""))
    turn.set_timer("timeout", run.ref, durations.seconds(within))


def succeed(turn: Turn, run: StepRun, *, by_person: bool = False, said: Mapping[str, str] | None = None) -> None:
    """The step took effect, and is done; `said` is what a person told of it."""
    took_effect(turn, run)
    finish_step(turn, run, by_person=by_person, said=said)


def finish_step(turn: Turn, run: StepRun, *, by_person: bool = False, said: Mapping[str, str] | None = None) -> None:
    """The step is done."""
    done = replace(run, state="succeeded", waiting_for="", error_code="", message="")
    turn.put(done)
    turn.publish_step("step_completed", done, decided_by_person=by_person, **(said or {}))
    go_on(turn, done)


def took_effect(turn: Turn, run: StepRun) -> None:
    """What changed something is known to have, and can be taken back if it says how."""
    step = turn.spec.step(run.path)
    if step.mutating and not turn.frame.changed:
        turn.change(changed=True)
    if isinstance(step, ActionStep) and step.rollback is not None:
        turn.change(kept=turn.frame.kept + 1)
        turn.effects.append(KeepRollback(run.path, run.visit, turn.frame.kept, run.outputs))


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
    again = retryable and retry.covers(code) and failed.failures < retry.attempts and may_repeat(turn, failed)
    turn.publish_step("step_failed", failed, error_code=code, message=message, will_retry=again, **(said or {}))
    if again:
        turn.put(replace(failed, state="waiting", waiting_for=RETRY))
        pause, jitter = retry.pause_seconds(failed.failures), retry.jitter_seconds
        turn.set_timer("retry", failed.ref, pause, jitter_seconds=jitter)
    else:
        give_up(turn, failed)


def may_repeat(turn: Turn, run: StepRun) -> bool:
    """Whether another attempt of a step may begin."""
    return not (_stops(turn, run) or run.denied)


def _stops(turn: Turn, run: StepRun) -> bool:
    """Whether nothing more begins where the step stands; taking back, and telling people, goes on."""
    if run.path.startswith((UNDOING, TELLING)):
        return False
    return turn.stops or turn.closing(around(run.path))


def give_up(turn: Turn, run: StepRun) -> None:
    """The step has failed, and that was published: a person is asked, or the sequence ends, or it goes on elsewhere."""
    frame_path, asks = around(run.path), turn.spec.step(run.path).on_failure == "ask"
    if asks and not _stops(turn, run):
        turn.put(replace(run, state="waiting", waiting_for=CHOICE))
        return
    turn.put(replace(run, state="failed", waiting_for=""))
    if run.path.startswith(TELLING):
        turn.go_on("", None)
        return
    stops, following = turn.spec.after_failure(run.path)
    if not stops:
        turn.go_on(frame_path, following)
    elif frame_path:
        turn.end_frame(frame_path, "failed")
    else:
        fail(turn, "verification_failed" if run.path in turn.spec.verifying else "step_failed", run.path)


def verify(turn: Turn) -> None:
    """Ends the execution if the alert has ended, or waits for that. Steps that verify have been carried out by now."""
    wanted = turn.spec.verify
    skipped = [run for run in turn.frame.step_runs if run.state == "skipped"]
    paths = [run.path for run in skipped]
    checked = wanted is not None and wanted.checks is not None
    if wanted is None or wanted.within is None:
        ended = any(not run.error_code for run in skipped)
        reason = "alert_resolved" if ended else "done"
        turn.finish("completed", reason, "completed", {"verified": "checks" if checked else "none", "skipped": paths})
    elif turn.frame.alert_firing is False:
        turn.change(verify_state="passed")
        turn.finish("completed", "alert_resolved", "completed", {"verified": "alert_resolved", "skipped": paths})
    else:
        turn.change(verify_state="waiting")
        turn.set_timer("verify_due", turn.frame.path, durations.seconds(wanted.within))


def fail(turn: Turn, reason: str, path: str, **said: str) -> None:
    """The execution has failed. If the runbook or a person wants it, what was changed is taken back first.

    Then those are told who are to be told, unless a person says that it failed.
    """
    if turn.frame.kept and not said and (turn.frame.undoing or turn.spec.on_failed == "rollback"):
        if turn.frame.undoing is None:
            take_back(turn, reason, path)
        else:
            turn.go_on("", None)
        return
    if turn.spec.escalation is not None and turn.frame.telling is None and not said:
        turn.change(telling=(reason, path))
        _clear(turn)
        return
    undone = {"rolled_back": turn.frame.undone} if turn.frame.undoing else {}
    turn.finish("failed", reason, "failed", {"reason": reason, "path": path, **undone, **said})


def take_back(turn: Turn, reason: str, path: str, **said: str) -> None:
    """What was changed is taken back, the last change first, once nothing is under way any more."""
    turn.change(undoing=(reason, path))
    if turn.frame.verify_state == "waiting":  # the alert's end proves nothing of what is being taken back
        turn.change(verify_state="failed")
    turn.cancel_timer("verify_due", turn.frame.path)
    turn.publish("rolling_back", reason=reason, path=path, changes=turn.frame.kept, **said)
    hold_back(turn, lambda _path: _clear(turn))


def _clear(turn: Turn) -> None:
    """Everything that waits, or is made of what waits, is taken back at once."""
    for frame in reversed(turn.frame.frames):
        for run in frame.step_runs:
            if run.state not in STEP_TERMINAL:
                cancel(turn, run)
        if frame.path:
            turn.drop_frame(frame.path)
    turn.change(items={})
    turn.go_on("", None)


def _captured(turn: Turn, run: StepRun, captures: Mapping[str, str], outputs: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that the step names.

    Raises:
        ExpressionError: one has no value, or null.
    """
    if not captures:
        return {}
    scope = turn.scope(run.path, outputs)
    found = {}
    for name, source in captures.items():
        try:
            found[name] = turn.known.expression(source, scope)
        except ExpressionError as error:
            raise ExpressionError(f"capture.{name}: {error}") from None
        if found[name] is None:
            raise ExpressionError(f"capture.{name}: is null")
    return found
