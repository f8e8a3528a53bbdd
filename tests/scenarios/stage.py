"""Plays a scenario in memory: the engine and the rendering as they are, with workers, people and time by the script.

A scenario is a YAML file: `runbook` (the name of a file in `runbooks/`, or a runbook), `alert`, `inputs`, `story` and
`expect`. Every line of the story is one thing that happens:

    succeeds: step, outputs: {…}     a worker carried it out      grant | reject | expire | revoke: step
    fails: step, code, retryable     it could not                 decide: step, as: succeeded | failed | abort
    lost: step                       its lease ran out            complete: step, as, evidence, values
    doubts: step                     nobody knows                 abort | fail: rationale
    alert: ends | fires                                           passes: 5m    time; what is due fires in its order
    sees: {state, waits_for, asked}  how it looks now

Whatever the story, the stage holds the executor's own rules: only what is ready is carried out, an action that needs
an approval runs only if its bytes are those that were asked about, and no attempt of a visit has another hash.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from libs.runbook import durations
from libs.runbook.advance import advance
from libs.runbook.effects import (
    AskPerson,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    FailRequested,
    Started,
    StepCompletedByPerson,
    StepDecided,
    StepFailed,
    StepLost,
    StepStarted,
    StepSucceeded,
    StepUnknown,
    TimerFired,
)
from libs.runbook.frame import Frame, Timer
from libs.runbook.known import Known
from libs.runbook.loader import load
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.rendering import RenderedAction, RenderRefused, render_action, scope_of
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts

ROOT: Final = Path(__file__).resolve().parents[2]
INCIDENT: Final = "0190a0de-0000-7000-8000-000000000001"
Line = Mapping[str, Any]


class OffScript(AssertionError):
    """The story asks for something that the executor would not do, or sees something else."""


def spec_of(runbook: str | Mapping[str, Any]) -> Runbook:
    """The runbook of a scenario."""
    if isinstance(runbook, str):
        return load((ROOT / "runbooks" / f"{runbook}.yaml").read_bytes()).spec
    return Runbook.model_validate(runbook)


@dataclass(slots=True)
class Stage:
    """One execution, and what was asked of the world around it."""

    spec: Runbook
    known: Known
    frame: Frame = field(default_factory=Frame)
    now: float = 0.0
    timers: dict[Timer, float] = field(default_factory=dict)
    ready: dict[str, RenderedAction] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    hashes: dict[tuple[str, int], str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    carried_out: list[RenderedAction] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, scenario: Line) -> "Stage":
        """The stage of a scenario, with its execution begun."""
        spec = spec_of(scenario["runbook"])
        alert = AlertFacts(**{"labels": {}, "annotations": {}, **scenario["alert"]}) if "alert" in scenario else None
        facts = PlanFacts(alert, INCIDENT if alert else "")
        plan = make_plan(spec, scenario.get("inputs", {}), facts)
        stage = cls(spec, Known(plan.inputs, facts))
        stage.fold(Started(alert_firing=True if alert else None))
        return stage

    def fold(self, *facts: Fact) -> None:
        """Fold facts one by one, and carry out what each asks for."""
        todo = list(facts)
        while todo:
            self.frame, effects = advance(self.spec, self.frame, [todo.pop(0)], self.known)
            for effect in effects:
                todo += self._carry_out(effect)

    def play(self, line: Line) -> None:
        """Let one line of the story happen."""
        verb = next(iter(line))
        _VERBS[verb](self, line[verb], line)

    def look(self) -> dict[str, Any]:
        """How it looks now."""
        run = self.frame.current
        return {
            "state": self.frame.state,
            "reason": self.frame.reason,
            "waits_for": run.waiting_for if run else "",
            "asked": {path: self.prompts[path] for path in self.asked},
            "steps": {run.path: run.state for run in self.frame.step_runs},
        }

    def visit(self, path: str) -> tuple[str, int]:
        """The latest visit of a step."""
        if not self.frame.visits(path):
            raise OffScript(f"{path} was never reached")
        return path, self.frame.visits(path)

    def take(self, path: str) -> tuple[str, int]:
        """A worker claims the step's action, which must be ready."""
        if path not in self.ready:
            raise OffScript(f"{path} is not ready; {sorted(self.ready) or 'nothing'} is")
        self.carried_out.append(self.ready.pop(path))
        place = self.visit(path)
        self.fold(StepStarted(*place))
        return place

    def settle(self, path: str, line: Line) -> None:
        """What a worker says of the step's action."""
        verb = next(iter(line))
        place = self.take(path)
        ends: dict[str, Fact] = {
            "succeeds": StepSucceeded(*place, line.get("outputs", {})),
            "fails": StepFailed(*place, line.get("code", "status_500"), retryable=line.get("retryable", False)),
            "lost": StepLost(*place),
            "doubts": StepUnknown(*place, line.get("code", "no_answer")),
        }
        self.fold(ends[verb])

    def answer(self, path: str, line: Line) -> None:
        """What a person, or the end of their time, says to the question about a step."""
        verb = next(iter(line))
        place, approval = self.visit(path), f"approval of {path}"
        self.fold(ApprovalGranted(*place, approval) if verb == "grant" else _denied(verb, place, approval))

    def pass_time(self, duration: str, _line: Line) -> None:
        """Let time pass; each timer fires when it is due, also one that another has set."""
        until = self.now + durations.seconds(duration)
        while self.timers and min(self.timers.values()) <= until:
            (kind, ref), due = min(self.timers.items(), key=lambda item: item[1])
            self.now = due
            del self.timers[kind, ref]
            self.fold(TimerFired(kind, ref))
        self.now = until

    def _carry_out(self, effect: Effect) -> list[Fact]:
        match effect:
            case PublishFact():
                self.told.append(" ".join([effect.type, *filter(None, [str(effect.data.get("path", ""))])]))
            case RunAction(path=path, visit=visit):
                return self._render(path, visit, self._make_ready)
            case RequestApproval(path=path, visit=visit):
                self.prompts[path] = effect.prompt
                if effect.of == "action":
                    return self._render(path, visit, self._ask)
                self.asked[path] = ""
            case AskPerson(path=path):
                self.prompts[path], self.asked[path] = effect.instructions, ""
            case CancelAction(path=path):
                self.ready.pop(path, None)
            case SetTimer():
                self.timers[effect.kind, effect.ref] = self.now + effect.after_seconds
            case CancelTimer():
                self.timers.pop((effect.kind, effect.ref), None)
            case Finish():
                self.asked.clear()
        return []

    def _render(self, path: str, visit: int, done: Callable[[RenderedAction, int], None]) -> list[Fact]:
        scope = scope_of(self.known.inputs, self.known.facts, self.frame)
        try:
            done(render_action(self.spec, path, scope), visit)
        except RenderRefused as error:
            return [StepFailed(path, visit, "render_refused", str(error))]
        return []

    def _ask(self, action: RenderedAction, _visit: int) -> None:
        self.asked[action.path] = action.action_hash

    def _make_ready(self, action: RenderedAction, visit: int) -> None:
        expected = self.asked.pop(action.path, None)
        first = self.hashes.setdefault((action.path, visit), action.action_hash)
        if self.spec.needs_approval(action.path) and expected not in {action.action_hash, None}:
            raise OffScript(f"{action.path} is not what was asked about")
        if first != action.action_hash:
            raise OffScript(f"{action.path} is another action in its next attempt")
        self.ready[action.path] = action


def _denied(verb: str, place: tuple[str, int], approval: str) -> ApprovalDenied:
    if verb == "expire":
        return ApprovalDenied(*place, approval, "expired")
    return ApprovalDenied(*place, approval, "rejected" if verb == "reject" else "revoked", "grace", "not now")


def _complete(stage: Stage, path: str, line: Line) -> None:
    told = StepCompletedByPerson(
        *stage.visit(path), line.get("as", "succeeded"), "ada", line.get("evidence", ""), line.get("values", {})
    )
    stage.asked.pop(path, None)
    stage.fold(told)


def _see(stage: Stage, wanted: Line, _line: Line) -> None:
    seen = stage.look()
    for key, value in wanted.items():
        if seen[key] != value:
            raise OffScript(f"{key} is {seen[key]!r}, not {value!r}")


_VERBS: Final[Mapping[str, Callable[[Stage, Any, Line], None]]] = {
    **dict.fromkeys(("succeeds", "fails", "lost", "doubts"), Stage.settle),
    **dict.fromkeys(("grant", "reject", "expire", "revoke"), Stage.answer),
    "decide": lambda stage, path, line: stage.fold(StepDecided(*stage.visit(path), line["as"], "ada", "I looked")),
    "complete": _complete,
    "abort": lambda stage, why, _line: stage.fold(AbortRequested("ada", why)),
    "fail": lambda stage, why, _line: stage.fold(FailRequested("ada", why)),
    "alert": lambda stage, what, _line: stage.fold(AlertObserved(firing=what == "fires")),
    "passes": Stage.pass_time,
    "sees": _see,
}
