"""One fact's turn: the frame as it changes, and the effects asked for so far. Only `advance` uses it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from libs.runbook.effects import (
    CancelAction,
    CancelTimer,
    Effect,
    FactType,
    Finish,
    PublishFact,
    RequestApproval,
    SetTimer,
)
from libs.runbook.facts import StepFact
from libs.runbook.frame import STEP_TERMINAL, ExecutionState, Frame, StepRun, TimerKind
from libs.runbook.known import Known
from libs.runbook.problems import RunbookError
from libs.runbook.spec import Runbook

_WITHDRAWN: Final = frozenset({"ready", "running", "waiting"})


class ImpossibleFact(RunbookError):
    """A fact about a step that the execution never reached: a bug of whoever reported it."""


class Turn:
    """A cursor over one frame. Values go in and come out; nothing of it is kept.

    `onward` holds the step to go on to, or None for the verification: at most one at a time. Whoever ends a step puts
    it there, and `advance` takes it up, so that a long row of steps that need nobody is no deep recursion.
    """

    def __init__(self, spec: Runbook, frame: Frame, known: Known) -> None:
        self.spec = spec
        self.frame = frame
        self.known = known
        self.effects: list[Effect] = []
        self.onward: list[str | None] = []

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
        """Replaces fields of the frame."""
        self.frame = replace(self.frame, **fields)

    def put(self, run: StepRun) -> None:
        """Stores a step run: in the place of the one of its path and visit, or as the next."""
        runs = self.frame.step_runs
        if self.frame.run(run.path, run.visit) is None:
            self.change(step_runs=(*runs, run))
            return
        same = (run.path, run.visit)
        self.change(step_runs=tuple(run if (old.path, old.visit) == same else old for old in runs))

    def publish(self, kind: FactType, **data: Any) -> None:
        """Asks for a fact to be published."""
        self.effects.append(PublishFact(kind, data))

    def publish_step(self, kind: FactType, run: StepRun, **data: Any) -> None:
        """Asks for a fact about a step run to be published."""
        self.publish(kind, path=run.path, visit=run.visit, attempt=run.attempts, **data)

    def set_timer(self, kind: TimerKind, ref: str, after_seconds: float) -> None:
        """Sets a timer; one of the same name is replaced."""
        timers = [timer for timer in self.frame.timers if timer != (kind, ref)]
        self.change(timers=(*timers, (kind, ref)))
        self.effects.append(SetTimer(kind, ref, after_seconds))

    def take_timer(self, kind: TimerKind, ref: str) -> bool:
        """Whether that timer was set; it is not any more."""
        timers = tuple(timer for timer in self.frame.timers if timer != (kind, ref))
        taken = len(timers) < len(self.frame.timers)
        self.change(timers=timers)
        return taken

    def cancel_timer(self, kind: TimerKind, ref: str) -> None:
        """Takes a timer back, if it was set."""
        if self.take_timer(kind, ref):
            self.effects.append(CancelTimer(kind, ref))

    def finish(self, state: ExecutionState, reason: str, kind: FactType, data: Mapping[str, Any]) -> None:
        """Ends the execution: what is under way is withdrawn, timers go, the fact is published."""
        for run in self.frame.step_runs:
            if run.state in _WITHDRAWN and run.attempts:
                self.effects.append(CancelAction(run.path, run.visit, run.attempts))
            if run.state not in STEP_TERMINAL and run.state != "unknown":
                self.put(replace(run, state="cancelled", waiting_for=""))
        self.effects += [CancelTimer(*timer) for timer in self.frame.timers]
        self.change(state=state, reason=reason, timers=())
        self.publish(kind, **data)
        self.effects.append(Finish(state, reason))

    def close(self, before: Frame, start: int) -> None:
        """Brings `state` in line with what the steps wait for, and tells of a block that came or went.

        `start` is where this fact's effects begin: that a block is gone is told before what follows from it.
        """
        was, now = _block(before), _block(self.frame)
        if self.frame.state == ("running" if now else "blocked"):
            self.change(state="blocked" if now else "running")
        if was is not None and was != now and not self.frame.terminal:
            self.effects.insert(start, PublishFact("unblocked", was))
        if now is not None and was != now:
            self.tell_block(start)

    def tell_block(self, start: int, **said: str) -> None:
        """Tells what it waits for, with the approval that was asked for since `start`, if one was."""
        now = _block(self.frame)
        if now is not None:
            self.publish("blocked", **now, **self._asked_for(start), **said)

    def _asked_for(self, start: int) -> dict[str, Any]:
        """The approval that this turn asked for, as everyone is told of it."""
        for effect in self.effects[start:]:
            if isinstance(effect, RequestApproval):
                data = {"of": effect.of, "risk": effect.risk, "expires_seconds": effect.expires_seconds}
                return {**data, "prompt": effect.prompt, "approvers": list(effect.approvers)}
        return {}


def _block(frame: Frame) -> dict[str, str] | None:
    reason, run = frame.blocked_reason, frame.current
    return None if reason is None or run is None else {"reason": reason, "path": run.path}
