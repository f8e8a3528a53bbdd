"""Composite steps: branches and iterations begin, end, and decide how the step ends. Only the engine uses it."""

from collections.abc import Mapping
from typing import Any, Final

from msgspec.structs import replace

from libs.runbook.frame import Closing, Fan, Frame, StepRun
from libs.runbook.paths import around, inside, name_of
from libs.runbook.progress import UNDER_WAY, cancel, fail_attempt, succeed
from libs.runbook.steps import LoopStep, ParallelStep
from libs.runbook.turn import Ending, Turn

NAMED_FAILURES: Final = 20
_COUNTED: Final[Mapping[Ending, str]] = {"succeeded": "succeeded", "failed": "failed", "stopped": "stopped"}


def open_more(turn: Turn, path: str) -> None:
    """Begins as many branches or iterations as may go on side by side; ends the step if there is nothing to do."""
    run, step = _open(turn, path)
    fan = run.fan or Fan(0)
    if turn.stops or fan.closing or turn.closing(around(path)):
        _conclude_if_done(turn, run)
        return
    room = step.concurrency - fan.under_way if isinstance(step, LoopStep) else fan.total
    opened = range(fan.begun, min(fan.total, fan.begun + room))
    turn.put(replace(run, fan=replace(fan, begun=opened.stop)) if opened else run)
    for index in opened:
        turn.put_frame(_child(turn, run, step, index))
    for index in reversed(opened):  # what is put last comes first
        frame_path = inside(path, _name(step, index))
        turn.go_on(frame_path, turn.spec.graph.first(frame_path))
    if not opened:
        _conclude_if_done(turn, run)


def end(turn: Turn, frame_path: str, how: Ending) -> None:
    """A branch or iteration has ended: the step is counted up, and begins more, or ends."""
    frame = turn.drop_frame(frame_path)
    path = around(frame_path)
    run, step = _open(turn, path)
    fan = run.fan or Fan(0)
    counted = {_COUNTED[how]: getattr(fan, _COUNTED[how]) + 1}
    if how == "failed" and len(fan.failures) < NAMED_FAILURES:
        counted["failures"] = (*fan.failures, name_of(frame_path))
    fan = replace(fan, **counted)
    if isinstance(step, ParallelStep):
        _take_over(turn, path, frame)
    closing = fan.closing or _decided(step, fan)
    turn.put(replace(run, fan=replace(fan, closing=closing)))
    if closing and not fan.closing:
        _stop_others(turn, path)
    turn.open_more(path)


def _open(turn: Turn, path: str) -> tuple[StepRun, ParallelStep | LoopStep]:
    run = next(run for run in reversed(turn.holder(path).step_runs) if run.path == path)
    step = turn.spec.step(path)
    assert isinstance(step, ParallelStep | LoopStep)
    return run, step


def _child(turn: Turn, run: StepRun, step: ParallelStep | LoopStep, index: int) -> Frame:
    names: dict[str, Any] = {}
    if isinstance(step, LoopStep):
        names = {"item": turn.frame.items[run.path][index], "index": index}
    base = turn.frame.rounds if run.visit > 1 else 0
    return Frame(path=inside(run.path, _name(step, index)), state="running", base=base, names=names)


def _name(step: ParallelStep | LoopStep, index: int) -> str:
    return str(index) if isinstance(step, LoopStep) else list(step.branches)[index]


def _take_over(turn: Turn, path: str, frame: Frame) -> None:
    """What the steps of a branch answered stays known to the steps after it; each is reached once."""
    holder = turn.holder(path)
    before = tuple(run for run in holder.step_runs if run.path != path)
    after = tuple(run for run in holder.step_runs if run.path == path)
    turn.put_frame(replace(holder, step_runs=(*before, *frame.step_runs, *after)))


def _decided(step: ParallelStep | LoopStep, fan: Fan) -> Closing:
    """How the step ends, as soon as that is certain, or nothing is left to wait for."""
    needed = step.needed if isinstance(step, ParallelStep) else fan.total
    if fan.succeeded >= needed:
        return "enough"
    if step.failures == "stop" and fan.failed > fan.total - needed:
        return "failed"
    return "failed" if fan.begun == fan.total and not fan.under_way else ""


def _stop_others(turn: Turn, path: str) -> None:
    """What of it has not begun does not begin; what is under way is let finish."""
    for frame in turn.children_of(path):
        run = frame.current
        if run is not None and run.live and run.state not in UNDER_WAY:
            cancel(turn, run)
            turn.end_frame(frame.path, "stopped")


def _conclude_if_done(turn: Turn, run: StepRun) -> None:
    fan = run.fan or Fan(0)
    if fan.under_way:
        return
    items = {path: items for path, items in turn.frame.items.items() if path != run.path}
    turn.change(items=items)
    outputs: dict[str, Any] = {"total": fan.total, "succeeded": fan.succeeded, "failed": fan.failed}
    done = replace(run, outputs={**outputs, "failures": list(fan.failures)})
    if fan.closing == "enough" or fan.total == 0:
        succeed(turn, done)
    elif turn.stops or turn.closing(around(run.path)):
        turn.put(replace(done, state="cancelled"))
        turn.go_on(around(run.path), name_of(run.path))  # nothing begins there any more, this step least of all
    else:
        named = ", ".join(fan.failures[:5])
        fail_attempt(turn, done, "parts_failed", f"{fan.failed} of {fan.total} failed: {named}")
