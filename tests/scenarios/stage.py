"""One execution in memory: the engine and the rendering as they are, and around them the rules of the executor.

Only what is ready is carried out, once for each time it was asked for. What needs an approval runs only if its bytes
are those that were granted, and no attempt of a visit has another hash. What nobody answers in time has expired. A
step that needs a firing alert is turned away at its claim once the alert has ended. Time passes when the script says.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from libs.runbook import durations
from libs.runbook.advance import advance, needs_firing
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
from libs.runbook.facts import ApprovalDenied, ApprovalGranted, Fact, Started, StepFailed, StepStarted, TimerFired
from libs.runbook.frame import Frame, StepRun
from libs.runbook.known import Known
from libs.runbook.loader import load
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.rendering import RenderedAction, RenderRefused, render_action, scope_of
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts

ROOT: Final = Path(__file__).resolve().parents[2]
INCIDENT: Final = "0190a0de-0000-7000-8000-000000000001"
HEAD: Final = {"apiVersion": "ranger/v1", "id": "sample", "name": "Sample", "risk": "low", "mode": "auto"}
_YAML: Final = re.compile(r"```yaml\n(.*?)```", re.DOTALL)
Line = Mapping[str, Any]
Place = tuple[str, int]


class OffScript(AssertionError):
    """The story asks for something that the executor would not do, or sees something else."""


def spec_of(runbook: str | Mapping[str, Any]) -> Runbook:
    """The runbook of a scenario, as it would be published: a file's name, an example of the language's page, or one.

    What a runbook in a scenario leaves out of its head is filled in.
    """
    if isinstance(runbook, str):
        return load((ROOT / "runbooks" / f"{runbook}.yaml").read_bytes()).spec
    if "documented" in runbook:
        page = (ROOT / "docs" / "runbook-language.md").read_text()
        [text] = [found for found in _YAML.findall(page) if f"\nid: {runbook['documented']}\n" in found]
        return load(text).spec
    return load(yaml.safe_dump({**HEAD, **runbook}, sort_keys=False, width=1 << 20)).spec


@dataclass(slots=True)
class Stage:
    """One execution, and what was asked of the world around it.

    `due` are the moments of timers, and of questions as `("approval", path)`. `asked` is what people are asked, by
    path, with the hash of what they would allow; `granted` what they allowed.
    """

    spec: Runbook
    known: Known
    frame: Frame = field(default_factory=Frame)
    now: float = 0.0
    due: dict[tuple[str, str], float] = field(default_factory=dict)
    ready: dict[str, RenderedAction] = field(default_factory=dict)
    asked: dict[str, str] = field(default_factory=dict)
    granted: dict[Place, str] = field(default_factory=dict)
    hashes: dict[Place, str] = field(default_factory=dict)
    prompts: dict[str, str] = field(default_factory=dict)
    carried_out: list[RenderedAction] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unasked: set[str] = field(default_factory=set)

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

    def look(self) -> dict[str, Any]:
        """How it looks now."""
        runs, current = self.frame.step_runs, self.frame.current
        return {
            "state": self.frame.state,
            "reason": self.frame.reason,
            "waits_for": current.waiting_for if current else "",
            "blocked_by": self.frame.blocked_reason,
            "asked": {path: self.prompts[path] for path in self.asked},
            "steps": {run.path: run.state for run in runs},
            "errors": {run.path: run.error_code for run in runs if run.error_code},
            "outputs": {run.path: dict(run.outputs) for run in runs},
            "messages": {run.path: run.message for run in runs},
        }

    def run(self, path: str) -> StepRun:
        """The latest visit of a step, which must have been reached."""
        found = self.frame.run(path, self.frame.visits(path))
        if found is None:
            raise OffScript(f"{path} was never reached")
        return found

    def place(self, path: str) -> Place:
        """Names the latest visit of a step."""
        return path, self.run(path).visit

    def claim(self, path: str) -> Place:
        """A worker claims the step's action, which must be ready, needed and allowed; once claimed, it runs."""
        if self.frame.visits(path) and self.run(path).state == "running":
            return self.place(path)
        if path not in self.ready:
            raise OffScript(f"{path} is not ready; {sorted(self.ready) or 'nothing'} is")
        if not self.needed(path):
            raise OffScript(f"{path} is turned away: the alert has ended")
        place = self.place(path)
        action = self.ready.pop(path)
        if self.spec.needs_approval(path) and self.granted.get(place) != action.action_hash:
            raise OffScript(f"{path} is not what was granted")
        self.carried_out.append(action)
        self.fold(StepStarted(*place))
        return place

    def needed(self, path: str) -> bool:
        """Whether the claim would let the step begin: its alert still fires, or need not."""
        return self.frame.alert_firing is not False or not needs_firing(self.spec, self.frame, path)

    def grant(self, path: str) -> None:
        """Somebody who may allows what was asked; it stays allowed for the attempts of this visit."""
        place = self.place(path)
        self.granted[place] = self._answered(path)
        self.fold(ApprovalGranted(*place, f"approval of {path}"))

    def reject(self, path: str) -> None:
        """Somebody who may does not allow it."""
        self._answered(path)
        self.fold(ApprovalDenied(*self.place(path), f"approval of {path}", "rejected", "grace", "not now"))

    def revoke(self, path: str) -> None:
        """Somebody who may takes a grant back."""
        if self.granted.pop(self.place(path), None) is None:
            raise OffScript(f"{path} was not granted")
        self.fold(ApprovalDenied(*self.place(path), f"approval of {path}", "revoked", "grace", "not now"))

    def pass_time(self, duration: str) -> None:
        """Let time pass; what is due happens in its order, also what another has set."""
        until = self.now + durations.seconds(duration)
        while self.due and min(self.due.values()) <= until:
            (kind, ref), self.now = min(self.due.items(), key=lambda item: item[1])
            del self.due[kind, ref]
            if kind == "approval":
                self.asked.pop(ref)
                self.fold(ApprovalDenied(*self.place(ref), f"approval of {ref}", "expired"))
            else:
                self.fold(TimerFired(kind, ref))  # type: ignore[arg-type]  # the keys are the engine's own
        self.now = until

    def _answered(self, path: str) -> str:
        """What was asked about a step; the question is answered and does not expire any more."""
        if ("approval", path) not in self.due:
            raise OffScript(f"nobody asked about {path}")
        del self.due["approval", path]
        return self.asked.pop(path)

    def _carry_out(self, effect: Effect) -> list[Fact]:
        match effect:
            case PublishFact():
                self._tell(effect)
            case RunAction(path=path, visit=visit):
                return self._render(path, visit, self._make_ready)
            case RequestApproval():
                return self._request(effect)
            case AskPerson(path=path):
                self.prompts[path], self.asked[path] = effect.instructions, ""
            case CancelAction(path=path):
                self.ready.pop(path, None)
            case SetTimer():
                self.due[effect.kind, effect.ref] = self.now + effect.after_seconds
            case CancelTimer():
                self.due.pop((effect.kind, effect.ref), None)
            case Finish():
                self.asked.clear()  # questions are withdrawn, instructions are not shown any more
                self.due = {key: due for key, due in self.due.items() if key[0] != "approval"}
        return []

    def _tell(self, effect: PublishFact) -> None:
        path = str(effect.data.get("path", ""))
        if effect.data.get("reason") != "approval" or path not in self.unasked:
            self.told.append(" ".join(filter(None, [effect.type, path])))

    def _request(self, effect: RequestApproval) -> list[Fact]:
        """What cannot be rendered cannot be asked about, and nobody is told of a question."""
        path = effect.path
        failed: list[Fact] = []
        asked = ""
        if effect.of == "action":
            found: list[str] = []
            failed = self._render(path, effect.visit, lambda action, _visit: found.append(action.action_hash))
            asked = "".join(found)
        if failed:
            self.unasked.add(path)
            return failed
        self.prompts[path], self.asked[path] = effect.prompt, asked
        self.due["approval", path] = self.now + effect.expires_seconds
        return []

    def _render(self, path: str, visit: int, done: Callable[[RenderedAction, int], None]) -> list[Fact]:
        scope = scope_of(self.known.inputs, self.known.facts, self.frame)
        try:
            done(render_action(self.spec, path, scope), visit)
        except RenderRefused as error:
            return [StepFailed(path, visit, "render_refused", str(error))]
        return []

    def _make_ready(self, action: RenderedAction, visit: int) -> None:
        if self.hashes.setdefault((action.path, visit), action.action_hash) != action.action_hash:
            raise OffScript(f"{action.path} is another action in its next attempt")
        self.ready[action.path] = action
