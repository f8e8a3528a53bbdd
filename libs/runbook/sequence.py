"""Along the sequences of an execution: to the next step, to the end of a branch, or back. Only `advance` uses it."""

from msgspec.structs import replace

from libs.runbook import fans
from libs.runbook.beginning import begin, enter
from libs.runbook.frame import StepRun
from libs.runbook.paths import around, inside
from libs.runbook.progress import fail, go_on, verify
from libs.runbook.spec import TELLING, UNDOING
from libs.runbook.turn import End, Go, More, Turn


def follow(turn: Turn) -> None:
    """Does what is to be done next, until nothing is."""
    while turn.onward:
        match turn.onward.pop():
            case Go(frame_path, step_id):
                if turn.goes_on(frame_path):
                    _arrive(turn, frame_path, step_id)
            case End(frame_path, how):
                if frame_path and turn.goes_on(frame_path):
                    fans.end(turn, frame_path, how)
            case More(path):
                fans.open_more(turn, path)


def _arrive(turn: Turn, frame_path: str, step_id: str | None) -> None:
    """Comes to a step of a sequence, or to its end; unless nothing more of it begins."""
    if frame_path and (turn.stops or turn.closing(frame_path)):
        fans.end(turn, frame_path, "stopped")
    elif turn.frame.telling is not None:
        _tell(turn, *turn.frame.telling)
    elif turn.frame.undoing is not None:
        _take_back(turn, *turn.frame.undoing)
    elif turn.frame.deadline_passed:
        fail(turn, "deadline_exceeded", "")
    elif step_id is None and not frame_path:
        verify(turn)
    elif turn.frame.revoked:
        fail(turn, "approval_revoked", step_id or "")
    elif step_id is None:
        fans.end(turn, frame_path, "succeeded")
    else:
        path = inside(frame_path, step_id)
        run = StepRun(path, turn.frame.visits(path) + 1)
        if path in turn.frame.carried:
            _carry(turn, run)
        else:
            enter(turn, run)


def _take_back(turn: Turn, reason: str, path: str) -> None:
    """Takes the last change back that still stands; after the first one, the execution has failed."""
    turn.clear_undone()
    if turn.frame.kept == 0:
        fail(turn, reason, path)
    else:
        begin(turn, StepRun(f"{UNDOING}{turn.frame.kept}", 1))


def _tell(turn: Turn, reason: str, path: str) -> None:
    """Tells the next who is to be told; after the last one, the execution has failed."""
    told = sum(run.path.startswith(TELLING) for run in turn.frame.step_runs)
    if told == len(turn.spec.told):
        fail(turn, reason, path)
    else:
        begin(turn, StepRun(f"{TELLING}{told}", 1))


def _carry(turn: Turn, run: StepRun) -> None:
    """Passes a step by that the execution before this one has been through, and goes on as that one did.

    What its branches answered stays known to the steps after it.
    """
    then = turn.frame.carried
    within = [StepRun(path, 1, **then[path]) for path in then if path.startswith(f"{run.path}/")]
    holder = turn.holder(run.path)
    turn.put_frame(replace(holder, step_runs=(*holder.step_runs, *within)))
    done = replace(run, **then[run.path])
    turn.put(done)
    stops, following = turn.spec.after_failure(run.path)
    if done.state == "failed" and not stops:
        turn.go_on(around(run.path), following)
    else:
        go_on(turn, done)
