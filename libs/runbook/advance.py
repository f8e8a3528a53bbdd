"""The engine: (spec, frame, facts) → (frame, effects). Pure and total: equal arguments, equal answers.

Rules, in the order of their weight:

1. A terminal frame never changes, whatever comes. An abort ends every frame that has not ended.
2. A step is asked for only after the one before it in its sequence has ended; a visit of a step succeeds at most
   once. Steps lead forward only. A composite step ends when it is certain how, and nothing of it is under way.
3. A step that needs an approval is not asked for before it was granted. Rejected, expired or revoked, it fails; what
   is under way by then is let finish, and is not tried again. Once the approval of the plan is revoked, nothing begins.
   A step that rule 5 leaves out does not fail by that: nobody needed the answer any more.
   A grant of something else begins nothing: the step waits on, says why, and asks once more about what it would do.
4. Unknown stays unknown until a late result, its probe or a person says what happened; nothing repeats it meanwhile.
5. No step that needs a firing alert is asked for once the alert was seen to have ended: what remains of its sequence
   is skipped, and the execution ends by its verification. The alert must also fire before the first change of all.
6. A condition that is false skips its step. One that has no value, or no boolean one, fails it.
7. A failure that may pass is tried again after its back-off, within the step's limit; after any other the sequence
   ends, and with the outermost one the execution, unless the step says how it goes on, or that a person is asked.
8. After the last step the alert must end within the verification's time; a runbook without verification is done.
9. The deadline stops what has not begun, and whatever waits for a time, a grant or a person. A step under way, or
   unknown, is waited for, and then the execution fails. What is under way is what `StepStarted` told of: fold it first.
10. Paused, nothing begins; what is under way is let finish, and times go on.
11. Taken back is what took effect and says how, the last change first, one after the other, once nothing else is under
   way. That goes on past the deadline, and where it fails a person is asked. Only an abort ends it early.
12. Who is to be told of a failure is told last, before the execution ends; whether that succeeds changes nothing.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from msgspec.structs import replace

from libs.runbook import doubts, durations, people
from libs.runbook.beginning import begin
from libs.runbook.declared import evaluator_of
from libs.runbook.effects import Effect
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    FailRequested,
    GrantRefused,
    PauseRequested,
    PersonChose,
    Probed,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
    Started,
    StepCompletedByPerson,
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
from libs.runbook.frame import EVENT, RETRY, VERIFY, WAIT, Frame, StepRun
from libs.runbook.known import Known
from libs.runbook.progress import (
    ASKED,
    conclude,
    fail,
    fail_attempt,
    give_up,
    hold_back,
    may_repeat,
    needs_firing,
    skip,
    succeed,
    verify,
)
from libs.runbook.sequence import follow
from libs.runbook.spec import BEGIN, Runbook
from libs.runbook.steps import ALERT_RESOLVED
from libs.runbook.turn import ImpossibleFact, Turn

__all__ = ["MAX_LOSSES", "ImpossibleFact", "advance", "needs_firing"]

MAX_LOSSES: Final = 5
_TOO_LATE: Final[Mapping[str, tuple[str, str]]] = {
    "person": ("timeout", "nobody completed it in time"),
    EVENT: ("timeout", "the event did not come in time"),
    VERIFY: ("verification_failed", "the alert did not end in time"),
}


def advance(
    spec: Runbook, frame: Frame, facts: Iterable[Fact], known: Known | None = None
) -> tuple[Frame, tuple[Effect, ...]]:
    """Folds facts, in order, into the frame; the effects are to be carried out in order, in one transaction.

    `known` is what conditions and templates refer to; the same for every call about one execution.

    Raises:
        ImpossibleFact: a fact names a step, or a visit of it, that was never reached.
    """
    found = known or Known()
    turn = Turn(spec, frame, found if found.evaluate else replace(found, evaluate=evaluator_of(spec)))
    for fact in facts:
        if turn.frame.terminal:
            break
        if isinstance(fact, StepFact) and not turn.concerns(fact.path):
            continue
        start = len(turn.effects)
        _ON[type(fact)](turn, fact)
        follow(turn)
        turn.close(start)
    return turn.frame, tuple(turn.effects)


def _on_started(turn: Turn, fact: Started) -> None:
    if turn.frame.state != "pending":
        return
    known = turn.frame.alert_firing if fact.alert_firing is None else fact.alert_firing
    turn.change(state="running", alert_firing=known)
    turn.publish("started")
    turn.set_timer("deadline", turn.frame.path, durations.seconds(turn.spec.deadline))
    first = turn.spec.graph.first("")
    if first == BEGIN and turn.spec.mode == "suggest" and fact.by_person:
        first = turn.spec.steps[0].id
    turn.go_on("", first)


def _on_step_started(turn: Turn, fact: StepStarted) -> None:
    run = turn.run(fact)
    if run.state == "ready" or run.held:
        turn.put(replace(run, state="running", waiting_for=""))


def _on_succeeded(turn: Turn, fact: StepSucceeded) -> None:
    run = turn.run(fact)
    if _awaits_result(run):
        conclude(turn, run, dict(fact.outputs))


def _on_failed(turn: Turn, fact: StepFailed) -> None:
    run = turn.run(fact)
    if _awaits_result(run) or run.waits_for("approval"):  # what cannot be rendered cannot be asked about either
        fail_attempt(turn, run, fact.error_code, fact.message, retryable=fact.retryable)


def _on_lost(turn: Turn, fact: StepLost) -> None:
    run = turn.run(fact)
    if run.state not in ASKED and not run.held:  # held: whoever let it go has died before it could tell
        return
    if turn.spec.step(run.path).effect_name == "unsafe":
        doubts.arise(turn, run, "lease_lost")
        return
    lost = replace(
        run, losses=run.losses + 1, waiting_for="", error_code="lease_lost", message="the worker's lease ran out"
    )
    again = lost.losses <= MAX_LOSSES and may_repeat(turn, lost)
    turn.publish_step("step_failed", lost, error_code=lost.error_code, message=lost.message, will_retry=again)
    if again:
        begin(turn, replace(lost, state="pending"))
    else:
        give_up(turn, lost)


def _on_unknown(turn: Turn, fact: StepUnknown) -> None:
    run = turn.run(fact)
    if run.state in ASKED or run.held:
        doubts.arise(turn, run, fact.reason)


def _on_not_needed(turn: Turn, fact: StepNotNeeded) -> None:
    run = turn.run(fact)
    if run.state in ASKED or run.held:
        turn.change(alert_firing=False)
        skip(turn, run)


def _on_held(turn: Turn, fact: StepHeld) -> None:
    run = turn.run(fact)
    if run.state == "ready" or run.held:
        turn.put(replace(run, state="waiting", waiting_for=fact.reason))


def _on_released(turn: Turn, fact: StepReleased) -> None:
    run = turn.run(fact)
    if run.held:
        begin(turn, run, attempt=run.attempts)


def _on_alert(turn: Turn, fact: AlertObserved) -> None:
    turn.change(alert_firing=fact.firing)
    if fact.firing:
        return
    if turn.frame.verify_state == "waiting":
        verify(turn)
    people.signalled(turn, ALERT_RESOLVED, {})


def _on_timer(turn: Turn, fact: TimerFired) -> None:
    if not turn.take_timer(fact.kind, fact.ref):
        return
    if fact.kind == "deadline":
        _on_deadline(turn)
    elif fact.kind == "verify_due":
        _on_verification_due(turn)
    else:
        run = next((run for run in turn.frame.live if run.ref == fact.ref), None)
        if run is not None:
            _on_step_timer(turn, run)


def _on_step_timer(turn: Turn, run: StepRun) -> None:
    if run.state == "unknown":
        doubts.ask(turn, run)
    elif run.waits_for(WAIT):
        succeed(turn, run)
    elif run.waits_for(RETRY) and not turn.frame.paused:  # otherwise it begins when the execution is resumed
        begin(turn, run)
    elif run.waiting_for in _TOO_LATE:
        fail_attempt(turn, run, *_TOO_LATE[run.waiting_for])


def _on_verification_due(turn: Turn) -> None:
    if turn.frame.verify_state == "waiting":
        turn.change(verify_state="failed")
        fail(turn, "verification_failed", "")


def _on_deadline(turn: Turn) -> None:
    turn.change(deadline_passed=True)
    if turn.frame.undoing is not None or turn.frame.telling is not None:
        return  # taking back goes on: half of it is worse than too late
    if turn.frame.verify_state == "waiting":
        turn.change(verify_state="failed")
    hold_back(turn, lambda path: fail(turn, "deadline_exceeded", path))


def _awaits_result(run: StepRun) -> bool:
    """Results count while the action is asked for, held or unknown; not while a retry waits, nor afterwards."""
    return run.state in ASKED or run.held or run.state == "unknown"


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
    Probed: doubts.on_probed,
    StepDecided: people.on_decided,
    ApprovalGranted: people.on_granted,
    ApprovalDenied: people.on_denied,
    GrantRefused: people.on_refused,
    StepCompletedByPerson: people.on_person,
    AlertObserved: _on_alert,
    TimerFired: _on_timer,
    AbortRequested: people.on_abort,
    FailRequested: people.on_fail,
    PersonChose: people.on_choice,
    SignalReceived: people.on_signal,
    PauseRequested: people.on_pause,
    ResumeRequested: people.on_resume,
    RollbackRequested: people.on_rollback,
}
