"""The engine: (spec, frame, facts) → (frame, effects). Pure and total: equal arguments, equal answers.

Rules, in the order of their weight:

1. A terminal frame never changes, whatever comes. An abort ends every frame that has not ended.
2. A step is asked for only after the one before it has succeeded; a visit of a step succeeds at most once.
3. Unknown stays unknown until a late result or a person says what happened; nothing repeats it meanwhile.
4. No step that needs a firing alert is asked for once the alert was seen to have ended: what remains is skipped, and
   the execution ends by its verification. The alert must also fire before the first change of an execution.
5. A failure that may pass is tried again after its back-off, within the step's limit; any other ends the execution.
6. After the last step the alert must end within the verification's time; a runbook without verification is done.
7. The deadline stops what has not begun. A step under way, or unknown, is waited for, and then the execution fails.
   What is under way is what `StepStarted` told of: fold it first.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from libs.runbook import durations
from libs.runbook.effects import CancelAction, Effect, RunAction
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    Fact,
    Started,
    StepDecided,
    StepFact,
    StepFailed,
    StepHeld,
    StepLost,
    StepNotNeeded,
    StepReleased,
    StepStarted,
    StepSucceeded,
    StepUnknown,
    TimerFired,
)
from libs.runbook.frame import RETRY, Frame, StepRun
from libs.runbook.problems import RunbookError
from libs.runbook.spec import Runbook
from libs.runbook.turn import Turn

MAX_LOSSES: Final = 5
_ASKED: Final = frozenset({"ready", "running"})


class ImpossibleFact(RunbookError):
    """A fact about a step that the execution never reached: a bug of whoever reported it."""


def advance(spec: Runbook, frame: Frame, facts: Iterable[Fact]) -> tuple[Frame, tuple[Effect, ...]]:
    """Folds facts, in order, into the frame; the effects are to be carried out in order, in one transaction.

    Raises:
        ImpossibleFact: a fact names a step, or a visit of it, that was never reached.
    """
    turn = Turn(spec, frame)
    for fact in facts:
        if turn.frame.terminal:
            break
        before, start = turn.frame, len(turn.effects)
        _ON[type(fact)](turn, fact)
        turn.close(before, start)
    return turn.frame, tuple(turn.effects)


def needs_firing(spec: Runbook, frame: Frame, path: str) -> bool:
    """Whether the alert must fire for the step to be begun: it says so, or it would be the first to change anything."""
    step = spec.step(path)
    changed = any(run.state in {"succeeded", "unknown"} and spec.step(run.path).mutating for run in frame.step_runs)
    return step.requires_firing or (step.mutating and not changed)


def _on_started(turn: Turn, fact: Started) -> None:
    if turn.frame.state != "pending":
        return
    known = turn.frame.alert_firing if fact.alert_firing is None else fact.alert_firing
    turn.change(state="running", alert_firing=known)
    turn.publish("started")
    turn.set_timer("deadline", turn.frame.path, durations.seconds(turn.spec.deadline))
    _reach(turn, turn.spec.steps[0].id)


def _on_step_started(turn: Turn, fact: StepStarted) -> None:
    run = _run(turn, fact)
    if run.state == "ready" or run.held:
        turn.put(replace(run, state="running", waiting_for=""))


def _on_succeeded(turn: Turn, fact: StepSucceeded) -> None:
    run = _run(turn, fact)
    if _awaits_result(run):
        _succeed(turn, replace(run, outputs=dict(fact.outputs)), decided_by_person=False)


def _on_failed(turn: Turn, fact: StepFailed) -> None:
    run = _run(turn, fact)
    if not _awaits_result(run):
        return
    failed = replace(run, failures=run.failures + 1, error_code=fact.error_code, message=fact.message, waiting_for="")
    retry = turn.spec.step(run.path).retry
    again = fact.retryable and failed.failures < retry.attempts and not turn.frame.deadline_passed
    turn.publish_step("step_failed", failed, error_code=fact.error_code, message=fact.message, will_retry=again)
    if again:
        turn.put(replace(failed, state="waiting", waiting_for=RETRY))
        turn.set_timer("retry", failed.ref, retry.pause_seconds(failed.failures))
    else:
        turn.put(replace(failed, state="failed"))
        _fail(turn, "step_failed", run.path)


def _on_lost(turn: Turn, fact: StepLost) -> None:
    run = _run(turn, fact)
    if run.state not in _ASKED and not run.held:  # held: whoever let it go has died before it could tell
        return
    if turn.spec.step(run.path).effect == "unsafe":
        _become_unknown(turn, run, "lease_lost")
        return
    lost = replace(
        run, losses=run.losses + 1, waiting_for="", error_code="lease_lost", message="the worker's lease ran out"
    )
    again = lost.losses <= MAX_LOSSES and not turn.frame.deadline_passed
    turn.publish_step("step_failed", lost, error_code=lost.error_code, message=lost.message, will_retry=again)
    if again:
        _ask(turn, replace(lost, state="pending"))
    else:
        turn.put(replace(lost, state="failed"))
        _fail(turn, "step_failed", run.path)


def _on_unknown(turn: Turn, fact: StepUnknown) -> None:
    run = _run(turn, fact)
    if run.state in _ASKED or run.held:
        _become_unknown(turn, run, fact.reason)


def _on_not_needed(turn: Turn, fact: StepNotNeeded) -> None:
    run = _run(turn, fact)
    if run.state in _ASKED or run.held:
        turn.change(alert_firing=False)
        _skip(turn, run)


def _on_held(turn: Turn, fact: StepHeld) -> None:
    run = _run(turn, fact)
    if run.state == "ready" or run.held:
        turn.put(replace(run, state="waiting", waiting_for=fact.reason))


def _on_released(turn: Turn, fact: StepReleased) -> None:
    run = _run(turn, fact)
    if run.held:
        _ask(turn, run, attempt=run.attempts)


def _on_decided(turn: Turn, fact: StepDecided) -> None:
    run = _run(turn, fact)
    if run.state != "unknown":
        return
    said = {"decision": fact.decision, "actor": fact.actor, "rationale": fact.rationale}
    turn.publish_step("step_decided", run, **said)
    if fact.decision == "abort":
        _abort(turn, fact.actor, fact.rationale)
    elif fact.decision == "failed":
        turn.put(replace(run, state="failed"))
        _fail(turn, "step_failed", run.path)
    else:
        _succeed(turn, run, decided_by_person=True)


def _on_alert(turn: Turn, fact: AlertObserved) -> None:
    turn.change(alert_firing=fact.firing)
    if turn.frame.verify_state == "waiting" and not fact.firing:
        _verify(turn)


def _on_timer(turn: Turn, fact: TimerFired) -> None:
    if not turn.take_timer(fact.kind, fact.ref):
        return
    if fact.kind == "deadline":
        _on_deadline(turn)
    elif fact.kind == "verify_due":
        turn.change(verify_state="failed")
        _fail(turn, "verification_failed", "")
    elif (run := turn.frame.current) is not None and run.waiting_for == RETRY and run.ref == fact.ref:
        _ask(turn, run)


def _on_deadline(turn: Turn) -> None:
    turn.change(deadline_passed=True)
    if turn.frame.verify_state == "waiting":
        turn.change(verify_state="failed")
    run = turn.frame.current
    if run is None or run.state not in {"running", "unknown"}:
        _fail(turn, "deadline_exceeded", run.path if run else "")


def _on_abort(turn: Turn, fact: AbortRequested) -> None:
    _abort(turn, fact.actor, fact.rationale)


def _reach(turn: Turn, path: str | None) -> None:
    """Goes on to a step, or to the verification after the last."""
    if turn.frame.deadline_passed:
        _fail(turn, "deadline_exceeded", "")
    elif path is None:
        _verify(turn)
    else:
        _ask(turn, StepRun(path, turn.frame.visits(path) + 1))


def _ask(turn: Turn, run: StepRun, *, attempt: int | None = None) -> None:
    """Asks for an attempt of a step, the next one by default, unless the alert has ended and the step needs it."""
    if turn.frame.alert_firing is False and needs_firing(turn.spec, turn.frame, run.path):
        _skip(turn, run)
        return
    ready = replace(run, state="ready", waiting_for="", attempts=attempt or run.attempts + 1)
    turn.put(ready)
    limit = turn.spec.step(run.path).retry.attempts
    turn.effects.append(RunAction(ready.path, ready.visit, ready.attempts, limit))


def _skip(turn: Turn, run: StepRun) -> None:
    """Leaves out what remains: the alert has ended without it."""
    if run.state in _ASKED or run.held:
        turn.effects.append(CancelAction(run.path, run.visit, run.attempts))
    turn.put(replace(run, state="skipped", waiting_for="", message="the alert had ended"))
    _verify(turn)


def _succeed(turn: Turn, run: StepRun, *, decided_by_person: bool) -> None:
    done = replace(run, state="succeeded", waiting_for="", error_code="", message="")
    turn.put(done)
    turn.publish_step("step_completed", done, decided_by_person=decided_by_person)
    _reach(turn, turn.spec.successor(run.path))


def _become_unknown(turn: Turn, run: StepRun, reason: str) -> None:
    unknown = replace(run, state="unknown", waiting_for="", error_code="unknown", message=reason)
    turn.put(unknown)
    turn.publish_step("step_unknown", unknown, reason=reason)


def _verify(turn: Turn) -> None:
    """Ends the execution if the alert has ended, or waits for that."""
    verify = turn.spec.verify
    skipped = [run.path for run in turn.frame.step_runs if run.state == "skipped"]
    if verify is None:
        turn.finish("completed", "alert_resolved" if skipped else "done", "completed", _done("none", skipped))
    elif turn.frame.alert_firing is False:
        turn.change(verify_state="passed")
        turn.finish("completed", "alert_resolved", "completed", _done("alert_resolved", skipped))
    else:
        turn.change(verify_state="waiting")
        turn.set_timer("verify_due", turn.frame.path, durations.seconds(verify.within))


def _done(verified: str, skipped: list[str]) -> Mapping[str, Any]:
    return {"verified": verified, "skipped": skipped}


def _fail(turn: Turn, reason: str, path: str) -> None:
    turn.finish("failed", reason, "failed", {"reason": reason, "path": path})


def _abort(turn: Turn, actor: str, rationale: str) -> None:
    turn.finish("aborted", "aborted", "aborted", {"actor": actor, "rationale": rationale})


def _run(turn: Turn, fact: StepFact) -> StepRun:
    run = turn.frame.run(fact.path, fact.visit)
    if run is None:
        raise ImpossibleFact(f"{type(fact).__name__}: step {fact.path}, visit {fact.visit}, was never reached")
    return run


def _awaits_result(run: StepRun) -> bool:
    """Results count while the action is asked for, held or unknown; not while a retry waits, nor afterwards."""
    return run.state in _ASKED or run.held or run.state == "unknown"


_ON: Final[Mapping[type, Callable[[Turn, Any], None]]] = {
    Started: _on_started,
    StepStarted: _on_step_started,
    StepSucceeded: _on_succeeded,
    StepFailed: _on_failed,
    StepLost: _on_lost,
    StepUnknown: _on_unknown,
    StepNotNeeded: _on_not_needed,
    StepHeld: _on_held,
    StepReleased: _on_released,
    StepDecided: _on_decided,
    AlertObserved: _on_alert,
    TimerFired: _on_timer,
    AbortRequested: _on_abort,
}
