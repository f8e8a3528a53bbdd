"""One fact's turn: the frame as it changes, and the effects asked for so far. Only `advance` uses it."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from libs.runbook.effects import (
    CancelAction,
    CancelTimer,
    Effect,
    FactType,
    Finish,
    FrameEnded,
    PublishFact,
    RequestApproval,
    SetTimer,
)
from libs.runbook.facts import StepFact
from libs.runbook.frame import STEP_TERMINAL, ExecutionState, Frame, StepRun, TimerKind
from libs.runbook.known import Known
from libs.runbook.paths import around
from libs.runbook.problems import RunbookError
from libs.runbook.spec import UNDOING, Runbook

_WITHDRAWN: Final = frozenset({"ready", "running", "waiting"})
Ending: TypeAlias = Literal["succeeded", "failed", "stopped"]


class Go(Struct, frozen=True):
    """To the step of that id in a frame; None is its end."""

    frame_path: str
    step_id: str | None


class End(Struct, frozen=True):
    """A branch or an iteration has ended."""

    frame_path: str
    how: Ending


class More(Struct, frozen=True):
    """The composite step of that path may begin more, or end."""

    path: str


Onward: TypeAlias = Go | End | More


class ImpossibleFact(RunbookError):
    """A fact about a step that the execution never reached: a bug of whoever reported it."""


class Turn:
    """A cursor over one execution: its outermost frame, with the children. Values go in and come out.

    `onward` holds what is to be done next, the last first. Whoever ends a step puts it there, and `sequence` takes it
    up, so that a long row of steps that need nobody is no deep recursion.
    """

    def __init__(self, spec: Runbook, frame: Frame, known: Known) -> None:
        self.spec = spec
        self.frame = frame
        self.known = known
        self.effects: list[Effect] = []
        self.onward: list[Onward] = []
        self._touched: dict[tuple[str, int], StepRun | None] = {}

    # ── where to go on ───────────────────────────────────────────────────────────────────────────────────────────

    def go_on(self, frame_path: str, step_id: str | None) -> None:
        """To a step of a sequence, or to its end."""
        self.onward.append(Go(frame_path, step_id))

    def lead_elsewhere(self, step_id: str | None) -> None:
        """To this step, instead of the one that follows in the list."""
        last = self.onward[-1]
        assert isinstance(last, Go)
        self.onward[-1] = replace(last, step_id=step_id)

    def end_frame(self, frame_path: str, how: Ending) -> None:
        """A branch or an iteration ends; the outermost sequence does not end by this."""
        if frame_path:
            self.onward.append(End(frame_path, how))

    def open_more(self, path: str) -> None:
        """More of a composite step may begin, or it may end."""
        self.onward.append(More(path))

    def goes_on(self, frame_path: str) -> bool:
        """Whether that frame has not ended, nor the execution."""
        return not self.frame.terminal and (frame_path == "" or frame_path in self.frame.children)

    # ── the state ────────────────────────────────────────────────────────────────────────────────────────────────

    def concerns(self, path: str) -> bool:
        """Whether the frame of that step goes on: what comes too late for it changes nothing."""
        return self.frame.holding(path) is not None

    def run(self, fact: StepFact) -> StepRun:
        """The step run that a fact is about.

        Raises:
            ImpossibleFact: it was never reached.
        """
        run = self.frame.run(fact.path, fact.visit)
        if run is None:
            raise ImpossibleFact(f"{type(fact).__name__}: step {fact.path}, visit {fact.visit}, was never reached")
        return run

    def change(self, **fields: Any) -> None:
        """Replaces fields of the outermost frame."""
        self.frame = replace(self.frame, **fields)

    def put_frame(self, frame: Frame) -> None:
        """Stores a frame: the outermost one, or a child."""
        if frame.path == "":
            self.frame = frame
        else:
            self.change(children={**self.frame.children, frame.path: frame})

    def drop_frame(self, path: str) -> Frame:
        """Ends a child; what comes for it from now on is too late."""
        children = dict(self.frame.children)
        dropped = children.pop(path)
        self.change(children=children)
        self.effects.append(FrameEnded(dropped))
        return dropped

    def holder(self, path: str) -> Frame:
        """The frame that a step stands in, which goes on."""
        frame = self.frame.holding(path)
        assert frame is not None
        return frame

    def composite(self, frame_path: str) -> StepRun:
        """The open step around a child."""
        path = around(frame_path)
        run = next(run for run in reversed(self.holder(path).step_runs) if run.path == path)
        assert run.fan is not None
        return run

    def children_of(self, path: str) -> list[Frame]:
        """The frames under way inside a composite step, however deep."""
        return [frame for frame in self.frame.children.values() if frame.path.startswith(f"{path}/")]

    def closing(self, frame_path: str) -> bool:
        """Whether nothing more begins in that frame, as a step around it is about to end."""
        while frame_path:
            run = self.composite(frame_path)
            if run.fan is not None and run.fan.closing:
                return True
            frame_path = around(around(frame_path))
        return False

    @property
    def stops(self) -> bool:
        """Whether nothing more of what the runbook says begins."""
        frame = self.frame
        return frame.deadline_passed or frame.revoked or frame.undoing is not None or frame.telling is not None

    def clear_undone(self) -> None:
        """Forgets what was taken back, up to the last: of many changes only the ones at hand are kept here."""
        ended = [run for run in self.frame.step_runs if run.path.startswith(UNDOING) and not run.live]
        self.change(step_runs=tuple(run for run in self.frame.step_runs if run not in ended[:-1]))

    def put(self, run: StepRun) -> None:
        """Stores a step run: in the place of the one of its path and visit, or as the next."""
        old = self.frame.run(run.path, run.visit)
        self._touched.setdefault((run.path, run.visit), old)
        frame = self.holder(run.path)
        if old is None:
            self.put_frame(replace(frame, step_runs=(*frame.step_runs, run)))
            return
        same = (run.path, run.visit)
        self.put_frame(
            replace(frame, step_runs=tuple(run if (r.path, r.visit) == same else r for r in frame.step_runs))
        )

    def scope(self, path: str, outputs: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """What expressions of a step can name now; `outputs` are what its own action answered."""
        return self.known.scope(self.frame, outputs, path=path)

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────────────────

    def publish(self, kind: FactType, **data: Any) -> None:
        """Asks for a fact to be published."""
        self.effects.append(PublishFact(kind, data))

    def publish_step(self, kind: FactType, run: StepRun, **data: Any) -> None:
        """Asks for a fact about a step run to be published."""
        self.publish(kind, path=run.path, visit=run.visit, attempt=run.attempts, **data)

    def set_timer(
        self, kind: TimerKind, ref: str, after_seconds: float, *, jitter_seconds: float = 0.0, at: str = ""
    ) -> None:
        """Sets a timer; one of the same name is replaced."""
        frame = self._timing(ref)
        timers = [timer for timer in frame.timers if timer != (kind, ref)]
        self.put_frame(replace(frame, timers=(*timers, (kind, ref))))
        self.effects.append(SetTimer(kind, ref, after_seconds, jitter_seconds, at))

    def has_timer(self, kind: TimerKind, ref: str) -> bool:
        """Whether that timer is set."""
        return (kind, ref) in self._timing(ref).timers

    def take_timer(self, kind: TimerKind, ref: str) -> bool:
        """Whether that timer was set; it is not any more."""
        if not self.concerns(ref):
            return False
        frame = self._timing(ref)
        timers = tuple(timer for timer in frame.timers if timer != (kind, ref))
        self.put_frame(replace(frame, timers=timers))
        return len(timers) < len(frame.timers)

    def cancel_timer(self, kind: TimerKind, ref: str) -> None:
        """Takes a timer back, if it was set."""
        if self.take_timer(kind, ref):
            self.effects.append(CancelTimer(kind, ref))

    def _timing(self, ref: str) -> Frame:
        return self.holder(ref) if ref else self.frame

    def finish(self, state: ExecutionState, reason: str, kind: FactType, data: Mapping[str, Any]) -> None:
        """Ends the execution: what is under way is withdrawn, timers go, the fact is published."""
        for frame in reversed(self.frame.frames):
            for run in frame.step_runs:
                if run.state in _WITHDRAWN and run.attempts:
                    self.effects.append(CancelAction(run.path, run.visit, run.attempts))
                if run.state not in STEP_TERMINAL and run.state != "unknown":
                    self.put(replace(run, state="cancelled", waiting_for=""))
        self.effects += [CancelTimer(*timer) for frame in self.frame.frames for timer in frame.timers]
        self.effects += [FrameEnded(child) for child in self.frame.children.values()]
        self.change(state=state, reason=reason, timers=(), children={}, items={})
        self.publish(kind, **data)
        self.effects.append(Finish(state, reason))

    # ── what everyone is told of waiting ─────────────────────────────────────────────────────────────────────────

    def close(self, start: int) -> None:
        """Brings `state` in line with what the steps wait for, and tells of blocks that came or went.

        `start` is where this fact's effects begin: that a block is gone is told before what follows from it.
        """
        touched, self._touched = self._touched, {}
        if not self.frame.terminal and self.frame.state != "pending":
            self.change(state="running" if self.frame.blocked_reason is None else "blocked")
        for (path, visit), before in touched.items():
            was, now = _block(before), _block(self.frame.run(path, visit))
            if was is not None and was != now and not self.frame.terminal:
                self.effects.insert(start, PublishFact("unblocked", was))
            if now is not None and was != now and not self.frame.terminal:
                self.tell_block(now, start)

    def tell_block(self, block: Mapping[str, str], start: int, **said: str) -> None:
        """Tells what a step waits for, with the approval that was asked for since `start`, if one was."""
        self.publish("blocked", **block, **self._asked_for(block["path"], start), **said)

    def _asked_for(self, path: str, start: int) -> dict[str, Any]:
        """The approval of a step that this turn asked for, as everyone is told of it."""
        for effect in self.effects[start:]:
            if isinstance(effect, RequestApproval) and effect.path == path:
                data = {"of": effect.of, "risk": effect.risk, "expires_seconds": effect.expires_seconds}
                return {**data, "prompt": effect.prompt, "approvers": list(effect.approvers), **effect.terms}
        return {}


def _block(run: StepRun | None) -> dict[str, str] | None:
    reason = run.blocked_reason if run is not None and run.live else None
    return None if reason is None or run is None else {"reason": reason, "path": run.path}
