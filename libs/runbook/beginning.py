"""How each type of step begins. Only the engine uses it."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from libs.runbook import durations, forms, moments
from libs.runbook.canonical import OutsideProfile, canonical
from libs.runbook.effects import AskPerson, KeepItems, RequestApproval, RunAction
from libs.runbook.elements import Approval
from libs.runbook.expressions import ExpressionError, NotText
from libs.runbook.frame import EVENT, PAUSED, WAIT, WHEN_FALSE, Fan, StepRun
from libs.runbook.graph import END
from libs.runbook.progress import conclude, fail_attempt, leave_out, not_needed, skip, succeed
from libs.runbook.steps import (
    ALERT_RESOLVED,
    FAIL,
    MAX_WAIT_SECONDS,
    ApprovalStep,
    CompositeStep,
    DecisionStep,
    LoopStep,
    ManualStep,
    WaitStep,
)
from libs.runbook.turn import Turn

MAX_ITEMS_BYTES: Final = 512 * 1024


def begin(turn: Turn, run: StepRun, *, attempt: int | None = None) -> None:
    """Begins a step, or an attempt of it (the next by default), unless the alert has ended and the step needs it.

    A step that needs an approval asks for that first; it is begun again when the approval is granted.
    """
    if not_needed(turn, run):
        skip(turn, run)
    elif turn.frame.paused:
        turn.put(replace(run, state="waiting", waiting_for=PAUSED))
    elif turn.spec.needs_approval(run.path) and not run.approval_id:
        _request_approval(turn, run)
    else:
        _start(turn, run, attempt or run.attempts + 1)


def enter(turn: Turn, run: StepRun) -> None:
    """Begins the step unless its `when` is false. A condition without a value fails the step: it is not false."""
    step = turn.spec.step(run.path)
    try:
        applies = step.when is None or turn.known.holds(step.when, turn.scope(run.path))
    except ExpressionError as error:
        fail_attempt(turn, run, "condition_error", f"when: {error}")
        return
    if applies:
        begin(turn, run)
    else:
        leave_out(turn, run, WHEN_FALSE, f"when: {step.when}")


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
            case DecisionStep():
                _choose(turn, run, step)
            case CompositeStep():
                _open(turn, run, step)
            case _:
                conclude(turn, run, {})
    except ExpressionError as error:
        fail_attempt(turn, run, "render_refused", str(error))


def _open(turn: Turn, run: StepRun, step: CompositeStep) -> None:
    """Opens a composite step: what is in it begins in this turn, as far as it may."""
    total = len(_items(turn, run, step)) if isinstance(step, LoopStep) else len(step.bodies)
    turn.put(replace(run, state="open", waiting_for="", fan=Fan(total)))
    turn.open_more(run.path)


def _items(turn: Turn, run: StepRun, step: LoopStep) -> Sequence[Any]:
    """The items of a loop, kept for as long as it is open.

    Raises:
        ExpressionError: they are no list, too many or too large.
    """
    found = turn.known.value(step.over, turn.scope(run.path)) if isinstance(step.over, str) else step.over
    if not isinstance(found, list | tuple):
        raise NotText("over: must be a list")
    if len(found) > step.limit:
        raise NotText(f"over: holds {len(found)} items; the limit is {step.limit}")
    try:
        size = len(canonical({"over": list(found)}))
    except OutsideProfile as error:
        raise NotText(str(error)) from None
    if size > MAX_ITEMS_BYTES:
        raise NotText(f"over: is {size} bytes long; the limit is {MAX_ITEMS_BYTES}")
    turn.change(items={**turn.frame.items, run.path: found})
    turn.effects.append(KeepItems(run.path, run.visit, found))
    return found


def _choose(turn: Turn, run: StepRun, step: DecisionStep) -> None:
    """Goes to where the first condition that holds leads."""
    scope = turn.scope(run.path)
    chosen = next((branch.goto for branch in step.branches if turn.known.holds(branch.when, scope)), step.otherwise)
    if chosen == FAIL:
        fail_attempt(turn, run, "no_branch", "no branch's condition holds")
        return
    succeed(turn, replace(run, outputs={"goto": chosen}))
    turn.lead_elsewhere(None if chosen == END else chosen)


def _wait(turn: Turn, run: StepRun, step: WaitStep) -> None:
    if step.event is not None:
        _await_event(turn, run, step)
        return
    seconds, at = (0.0, _moment(turn, run, step.until)) if step.until is not None else (_seconds(turn, run, step), "")
    turn.put(replace(run, state="waiting", waiting_for=WAIT))
    turn.set_timer("wait", run.ref, seconds, at=at)


def _await_event(turn: Turn, run: StepRun, step: WaitStep) -> None:
    if step.event == ALERT_RESOLVED and turn.frame.alert_firing is False:
        succeed(turn, run)
        return
    turn.put(replace(run, state="waiting", waiting_for=EVENT))
    turn.set_timer("timeout", run.ref, durations.seconds(step.timeout or ""))


def _moment(turn: Turn, run: StepRun, until: str) -> str:
    try:
        return moments.moment(turn.known.text(until, turn.scope(run.path)))
    except ValueError as error:
        raise NotText(f"until: {error}") from None


def _seconds(turn: Turn, run: StepRun, step: WaitStep) -> float:
    scope = turn.scope(run.path)
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
    instructions = turn.known.text(step.instructions, turn.scope(run.path))
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
        text = turn.known.text(prompt, turn.scope(run.path))
    except ExpressionError as error:
        fail_attempt(turn, run, "render_refused", f"prompt: {error}")
        return
    form = {"form": forms.described(step)} if isinstance(step, ApprovalStep) and step.form else {}
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
            terms={**own.conditions, **form},
        )
    )
