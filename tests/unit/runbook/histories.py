"""A history over every type of step: what may come next, who helps it on, and what must hold after each fact."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson

from libs.runbook.advance import advance
from libs.runbook.effects import (
    AskPerson,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    FrameEnded,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import (
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    PersonChose,
    Probed,
    ResumeRequested,
    Started,
    StepCompletedByPerson,
    StepDecided,
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
from libs.runbook.frame import STEP_TERMINAL, Frame, StepRun
from libs.runbook.paths import around, name_of
from libs.runbook.spec import TELLING, UNDOING, Runbook
from libs.runbook.steps import DecisionStep, ManualStep
from tests.unit.runbook.generated import KNOWN

Place = tuple[str, int]
_RESULTS = (
    StepSucceeded,
    StepFailed,
    StepLost,
    StepUnknown,
    StepNotNeeded,
    StepHeld,
    StepReleased,
    StepDecided,
    Probed,
)


def facts_about(run: StepRun) -> list[Fact]:
    """What may be told of a step, whether it fits or not."""
    at: dict[str, Any] = {"path": run.path, "visit": run.visit}
    return [
        StepStarted(**at),
        StepSucceeded(**at, outputs={"n": 1}),
        StepSucceeded(**at, outputs={"n": 2}),
        StepFailed(**at, error_code="timeout", message="late", retryable=True),
        StepFailed(**at, error_code="refused"),
        StepLost(**at),
        StepUnknown(**at, reason="connection reset"),
        Probed(**at, outputs={"n": 1}),
        Probed(**at, outputs={"n": 2}),
        Probed(**at, outputs=None),
        StepNotNeeded(**at),
        StepHeld(**at, reason="lock"),
        StepReleased(**at),
        StepDecided(**at, decision="succeeded", actor="ada", rationale="saw it"),
        StepDecided(**at, decision="failed", actor="ada", rationale="saw nothing"),
        ApprovalGranted(**at, approval_id="x"),
        ApprovalDenied(**at, approval_id="x", why="rejected", actor="bob", rationale="no"),
        ApprovalDenied(**at, approval_id="x", why="revoked", actor="bob", rationale="stop"),
        StepCompletedByPerson(**at, outcome="succeeded", actor="ada", values={"n": 1}),
        StepCompletedByPerson(**at, outcome="failed", actor="ada"),
        PersonChose(**at, choice="retry", actor="ada", rationale="again"),
        PersonChose(**at, choice="skip", actor="ada", rationale="not needed"),
    ]


def helping(spec: Runbook, frame: Frame) -> Fact:
    """The next fact when everyone does their part, and nobody aborts."""
    if frame.state == "pending":
        return Started(alert_firing=True)
    if frame.paused:
        return ResumeRequested("ada", "go on")
    if not frame.live:
        return AlertObserved(firing=False)
    run = frame.live[0]
    at: dict[str, Any] = {"path": run.path, "visit": run.visit}
    step = spec.step(run.path)
    values = {"n": 1} if isinstance(step, ManualStep) and step.form else {}
    if run.state == "unknown":
        return StepDecided(**at, decision="succeeded", actor="ada", rationale="saw it")
    if run.held:
        return StepReleased(**at)
    given: dict[str, Fact] = {
        "approval": ApprovalGranted(**at, approval_id="x"),
        "person": StepCompletedByPerson(**at, outcome="succeeded", actor="ada", values=values),
        "wait": TimerFired("wait", run.ref),
        "retry": TimerFired("retry", run.ref),
        "choice": PersonChose(**at, choice="skip", actor="ada", rationale="not needed"),
        "event": TimerFired("timeout", run.ref),
        "verify": AlertObserved(firing=False),
    }
    return given.get(run.waiting_for, StepSucceeded(**at, outputs={"n": 1}))


def timers(frame: Frame) -> set[tuple[str, str]]:
    """The timers of an execution, its branches and iterations."""
    return {timer for part in frame.frames for timer in part.timers}


@dataclass
class History:
    """An execution as it goes on; `check` is asked after each fact."""

    spec: Runbook
    frame: Frame = field(default_factory=Frame)
    facts: list[Fact] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    places: dict[Place, StepRun] = field(default_factory=dict)
    under_way: set[Place] = field(default_factory=set)
    attempts: Counter[Place] = field(default_factory=Counter)
    completed: Counter[Place] = field(default_factory=Counter)
    timers: set[tuple[str, str]] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)

    def take(self, fact: Fact) -> None:
        """One more fact, and everything that must hold after it."""
        before = self.frame
        self.frame, effects = advance(self.spec, before, [fact], KNOWN)
        self.facts.append(fact)
        self.effects += effects
        if before.terminal:
            assert (self.frame, effects) == (before, ()), "what has ended changes"
        if isinstance(fact, TimerFired):
            self.timers.discard((fact.kind, fact.ref))
        if isinstance(fact, _RESULTS):
            self.under_way.discard((fact.path, fact.visit))
        for effect in effects:
            self._note(effect, fact)
        for part in self.frame.frames:
            self.places |= {(run.path, run.visit): run for run in part.step_runs}
        self._hold(effects)

    def reached(self) -> list[StepRun]:
        """Every step run that was ever seen, as it was seen last."""
        return list(self.places.values())

    def _note(self, effect: Effect, fact: Fact) -> None:
        match effect:
            case RunAction(path=path, visit=visit):
                assert (path, visit) not in self.under_way, f"{path} is asked for twice"
                self.under_way.add((path, visit))
                self.attempts[path, visit] += not isinstance(fact, StepReleased | ResumeRequested)
            case CancelAction(path=path, visit=visit):
                self.under_way.discard((path, visit))
            case PublishFact(type="step_completed", data=data):
                self.completed[data["path"], data["visit"]] += 1
            case PublishFact(type="step_decided", data=data) if data["decision"] == "retry":
                self.attempts[data["path"], data["visit"]] = 0
            case SetTimer(kind=kind, ref=ref):
                self.timers.add((kind, ref))
            case CancelTimer(kind=kind, ref=ref):
                self.timers.remove((kind, ref))
            case FrameEnded(frame=frame):
                assert frame.path not in self.ended, f"{frame.path} ends twice"
                self.ended.add(frame.path)
                self.places |= {(run.path, run.visit): run for run in frame.step_runs}
            case _:
                pass

    def _hold(self, effects: tuple[Effect, ...]) -> None:
        frame = self.frame
        assert self.timers == timers(frame), "the books of timers do not balance"
        assert all(count == 1 for count in self.completed.values()), "a visit completes twice"
        ends = [index for index, effect in enumerate(effects) if isinstance(effect, Finish)]
        assert ends in ([], [len(effects) - 1]), "an end is not the last effect"
        doubted = {
            run.path for run in frame.live if run.state == "unknown"
        }  # until a person says: that outlives an end
        left = {run.path for run in frame.live} - doubted
        assert not (frame.terminal and (frame.children or left or self.under_way))
        assert (frame.state == "blocked") == (frame.blocked_reason is not None)
        for part in frame.frames:
            self._in_order(part)
        self._fans()
        self._attempts()
        assert _again(frame) == frame, "a frame does not survive its JSON"

    def _in_order(self, part: Frame) -> None:
        """In a sequence one step follows the other, as the one before it says; only the last one has not ended."""
        own = [run for run in part.step_runs if around(run.path) == part.path]
        runs = [run for run in own if not run.path.startswith((UNDOING, TELLING))]
        assert all(run.state in STEP_TERMINAL for run in runs[:-1]), "a step begins before the one before it has ended"
        for before, after in pairwise(runs):
            again = (after.path, after.visit) == (before.path, before.visit + 1) and self._asks(before)
            follows = again or name_of(after.path) in set(self._onward(before))
            assert follows, f"{after.path} does not follow {before.path}"

    def _asks(self, run: StepRun) -> bool:
        """Whether a person may have chosen to try it once more."""
        return run.state == "failed" and self.spec.step(run.path).on_failure == "ask"

    def _onward(self, run: StepRun) -> Iterator[str | None]:
        step = self.spec.step(run.path)
        if run.state == "failed":
            yield self.spec.after_failure(run.path)[1]
        elif isinstance(step, DecisionStep) and run.state == "succeeded":
            yield str(run.outputs["goto"])
        else:
            yield self.spec.successor(run.path)

    def _fans(self) -> None:
        """What is open has as many frames under way as it has begun and not ended; nothing else has any."""
        opened = {run.path: run for part in self.frame.frames for run in part.step_runs if run.state == "open"}
        below = Counter(around(path) for path in self.frame.children)
        for path, run in opened.items():
            assert run.fan is not None
            assert run.fan.under_way == below[path]
            assert run.fan.begun <= run.fan.total
        assert below.keys() <= opened.keys()

    def _attempts(self) -> None:
        for (path, visit), count in self.attempts.items():
            if self.spec.step(path).effect_name == "unsafe":
                assert count <= 1, f"{path}, visit {visit}, may do harm and is attempted {count} times"

    def asked_in_order(self) -> bool:
        """Whether nothing was asked for that the frame does not hold, or has held."""
        asked = [e for e in self.effects if isinstance(e, RunAction | AskPerson | RequestApproval)]
        return all((effect.path, effect.visit) in self.places for effect in asked)


def _again(frame: Frame) -> Frame:
    """The frame after being stored: each part as JSON of its own, put together again."""

    def stored(part: Frame) -> Frame:
        return Frame.from_json(orjson.loads(orjson.dumps(part.to_json())))

    whole = stored(frame)
    children = {path: stored(child) for path, child in frame.children.items()}
    return Frame(**{**_fields(whole), "children": children, "items": frame.items})


def _fields(frame: Frame) -> dict[str, Any]:
    return {name: getattr(frame, name) for name in frame.__struct_fields__}
