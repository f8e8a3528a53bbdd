"""One execution in memory: the engine as it is, and what it asked for carried out as the executor carries it out.

Only what is ready is begun, once for each time that it was asked for; what needs an approval only under a grant of the
same bytes; what needs a firing alert is turned away once it has ended. Time stands still until `pass_to`.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import (
    AskPerson,
    AskProbe,
    CancelAction,
    CancelTimer,
    Effect,
    FrameEnded,
    KeepRollback,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import Fact, Probed, StepFailed, TimerFired
from libs.runbook.frame import Frame, StepRun, Timer
from libs.runbook.known import Known
from libs.runbook.rendering import RenderedAction, RenderRefused, render_action, render_probe, render_rollback
from libs.runbook.simulation.world import Job, Place, Question, Task
from libs.runbook.spec import UNDOING, Runbook

BEGINNING: Final = "2026-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of what happened: seconds from the beginning, the published fact's type, its step and its data."""

    at: float
    what: str
    path: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Stage:
    """One execution, and what was asked of the world around it.

    `runs` are all step runs, in the order in which they were reached, also those of branches that have ended.
    `carried_out` is every attempt that was begun.
    """

    spec: Runbook
    known: Known
    beginning: str = BEGINNING
    now: float = 0.0
    frame: Frame = field(default_factory=Frame)
    timers: dict[Timer, float] = field(default_factory=dict)
    jobs: dict[Place, Job] = field(default_factory=dict)
    questions: dict[Place, Question] = field(default_factory=dict)
    tasks: dict[Place, Task] = field(default_factory=dict)
    granted: dict[Place, str] = field(default_factory=dict)
    runs: dict[Place, StepRun] = field(default_factory=dict)
    carried_out: list[Job] = field(default_factory=list)
    log: list[Entry] = field(default_factory=list)
    _kept: dict[int, RenderedAction | str] = field(default_factory=dict)
    _unasked: set[str] = field(default_factory=set)

    def fold(self, *facts: Fact) -> None:
        """Fold facts one by one, and carry out what each asks for."""
        todo = deque(facts)
        while todo:
            self.frame, effects = advance(self.spec, self.frame, [todo.popleft()], self.known)
            for effect in effects:
                todo += self._carry_out(effect)
            self._note(self.frame)

    def due(self) -> float | None:
        """When the next timer is due, if there is one."""
        return min(self.timers.values(), default=None)

    def fire_due(self) -> None:
        """Fire the timer that is due next, at its time."""
        timer, self.now = min(self.timers.items(), key=lambda item: item[1])
        del self.timers[timer]
        self.fold(TimerFired(*timer))

    def needed(self, path: str) -> bool:
        """Whether a claim lets the step begin: its alert still fires, or need not."""
        return self.frame.alert_firing is not False or not needs_firing(self.spec, self.frame, path)

    def allowed(self, job: Job) -> bool:
        """Whether the bytes of an action are those that were granted."""
        return not job.needs_approval or self.granted.get(job.place) == job.action.action_hash

    def _note(self, frame: Frame) -> None:
        for sequence in frame.frames:
            for run in sequence.step_runs:
                self.runs[run.path, run.visit] = run

    def _carry_out(self, effect: Effect) -> list[Fact]:
        """The facts that carrying it out brings: what cannot be filled in has failed."""
        match effect:
            case RunAction():
                return self._ready(effect)
            case RequestApproval():
                return self._request(effect)
            case AskProbe():
                return self._probe(effect)
            case _:
                self._store(effect)
                return []

    def _store(self, effect: Effect) -> None:
        match effect:
            case PublishFact():
                self._tell(effect)
            case AskPerson(path, visit, instructions, form):
                self.tasks[path, visit] = Task(path, visit, instructions, form)
            case CancelAction():
                self.jobs.pop((effect.path, effect.visit), None)
            case KeepRollback():
                self._keep(effect)
            case SetTimer():
                self.timers[effect.kind, effect.ref] = self._moment(effect)
            case CancelTimer():
                self.timers.pop((effect.kind, effect.ref), None)
            case FrameEnded():
                self._note(effect.frame)
            case _:
                pass  # the items of a loop are in the frame; at the end nothing is left to do here

    def _moment(self, timer: SetTimer) -> float:
        if not timer.at:
            return self.now + timer.after_seconds
        apart = datetime.fromisoformat(timer.at) - datetime.fromisoformat(self.beginning)
        return max(self.now, apart.total_seconds())

    def _tell(self, effect: PublishFact) -> None:
        path = str(effect.data.get("path", ""))
        if effect.data.get("reason") != "approval" or path not in self._unasked:
            self.log.append(Entry(self.now, effect.type, path, effect.data))

    def _ready(self, effect: RunAction) -> list[Fact]:
        try:
            action = self._rendered(effect.path)
        except RenderRefused as error:
            return [StepFailed(effect.path, effect.visit, "render_refused", str(error))]
        place = effect.path, effect.visit
        self.jobs[place] = Job(*place, effect.attempt, action, effect.needs_approval)
        return []

    def _probe(self, effect: AskProbe) -> list[Fact]:
        """The probe is an action beside the step's own."""
        scope = self.known.scope(self.frame, path=effect.path)
        try:
            action = render_probe(self.spec, effect.path, scope, evaluate=self.known.evaluate)
        except RenderRefused:
            return [Probed(effect.path, effect.visit, None)]
        self.jobs[action.path, effect.visit] = Job(action.path, effect.visit, effect.number, action)
        return []

    def _request(self, effect: RequestApproval) -> list[Fact]:
        """What cannot be rendered cannot be asked about, and nobody is told of a question."""
        digest = ""
        if effect.of == "action":
            try:
                digest = self._rendered(effect.path).action_hash
            except RenderRefused as error:
                self._unasked.add(effect.path)
                return [StepFailed(effect.path, effect.visit, "render_refused", str(error))]
        self.questions[effect.path, effect.visit] = Question(
            effect.path, effect.visit, effect.of, effect.prompt, effect.approvers, effect.expires_seconds, digest
        )
        return []

    def _rendered(self, path: str) -> RenderedAction:
        if not path.startswith(UNDOING):
            scope = self.known.scope(self.frame, path=path)
            return render_action(self.spec, path, scope, evaluate=self.known.evaluate)
        kept = self._kept[int(path.removeprefix(UNDOING))]
        if isinstance(kept, str):
            raise RenderRefused(kept)
        return kept

    def _keep(self, effect: KeepRollback) -> None:
        """Filled in when the step has taken effect; what cannot be is told when it should be carried out."""
        scope = self.known.scope(self.frame, effect.outputs, path=effect.path)
        try:
            found = render_rollback(self.spec, effect.path, effect.number, scope, evaluate=self.known.evaluate)
        except RenderRefused as error:
            self._kept[effect.number] = str(error)
        else:
            self._kept[effect.number] = found
