"""An execution carried out against a world, on a clock of its own: from its beginning to its end, or to where it hangs.

The same runbook, inputs and world give the same story. Of what happens at the same moment, what was asked for first
comes first.
"""

import heapq
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from libs.runbook import forms
from libs.runbook.facts import (
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    PersonChose,
    Probed,
    SignalReceived,
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
)
from libs.runbook.frame import CHOICE, EVENT, VERIFY, StepRun
from libs.runbook.paths import probed
from libs.runbook.simulation.stage import Stage
from libs.runbook.simulation.world import Attempted, Job, Place, Question, Said, Task, World
from libs.runbook.steps import ALERT_RESOLVED, ApprovalStep, ManualStep, WaitStep

LEASE_SECONDS: Final = 30.0
MAX_TURNS: Final = 100_000
PERSON: Final = "somebody"


@dataclass(slots=True)
class Played:
    """A story that was played: the stage as it was left. `hangs` if nothing would ever happen any more.

    `effects` counts how often each visit of a step took effect without a person's word; `violations` are promises that
    were broken, of which there must be none.
    """

    stage: Stage
    hangs: bool = False
    effects: dict[Place, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


def play(stage: Stage, world: World, *, firing: bool | None, by_person: bool = False) -> Played:
    """Play an execution to its end; `firing` is whether its alert fires at first, None without an alert."""
    return _Playing(stage, world).play(Started(alert_firing=firing, by_person=by_person))


class _Playing:
    """`agenda`: what is to come, by time and order; `attended`: what the world was asked about; `read`: of the log."""

    def __init__(self, stage: Stage, world: World) -> None:
        self._stage = stage
        self._world = world
        self._played = Played(stage)
        self._agenda: list[tuple[float, int, Fact, Job | None]] = []
        self._order = count()
        self._attended: set[tuple[str, str, str, int]] = set()
        self._read = 0
        self._verifying = False
        self._taken: dict[Place, bool] = {}
        self._running: dict[Place, Job] = {}

    def play(self, started: Started) -> Played:
        for at, fact in self._world.happenings():
            self._later(at, fact)
        self._stage.fold(started)
        for _ in range(MAX_TURNS):
            self._attend()
            if self._stage.frame.terminal:
                return self._played
            if not self._next():
                break
        self._played.hangs = True
        return self._played

    def _later(self, after: float, fact: Fact, job: Job | None = None) -> None:
        heapq.heappush(self._agenda, (self._stage.now + after, next(self._order), fact, job))

    def _next(self) -> bool:
        """Let the next thing happen; a timer comes before whatever is due at the same moment."""
        due = self._stage.due()
        if due is not None and (not self._agenda or due <= self._agenda[0][0]):
            self._stage.fire_due()
            return True
        if not self._agenda:
            return False
        self._stage.now, _, fact, job = heapq.heappop(self._agenda)
        if job is None or self._running.get(job.place) is job:
            self._happen(fact, job)
        return True

    def _happen(self, fact: Fact, job: Job | None) -> None:
        if job is not None:
            del self._running[job.place]
        if isinstance(fact, ApprovalGranted | ApprovalDenied):
            question = self._stage.questions.get((fact.path, fact.visit))
            if isinstance(fact, ApprovalGranted) and question is not None:
                self._stage.granted[fact.path, fact.visit] = question.action_hash
        self._stage.fold(fact)

    # ---- asking the world

    def _attend(self) -> None:
        """Ask the world about everything that was asked for, until nothing new is."""
        stage, again = self._stage, True
        while again and not stage.frame.terminal:
            jobs = list(stage.jobs.values())
            for job in jobs:
                self._claim(job)
            asked = [self._once(run) for run in stage.frame.live]
            again = bool(jobs) or any(asked)
        for entry in stage.log[self._read :]:
            if entry.what == "step_completed":
                self._bring_about(stage.runs[entry.path, entry.data["visit"]])
        self._read = len(stage.log)
        if stage.frame.verify_state == "waiting" and not self._verifying:
            self._verifying = True
            self._await_the_alert()

    def _once(self, run: StepRun) -> bool:
        """Look after a step that stands still, unless that was done."""
        key = (run.ref, run.state, run.waiting_for, run.failures)
        if key in self._attended or self._stage.frame.terminal:
            return False
        self._attended.add(key)
        self._look_after(run)
        return True

    def _bring_about(self, run: StepRun) -> None:
        for after, fact in self._world.ended(run):
            self._later(after, fact)

    def _await_the_alert(self) -> None:
        after = self._world.alert_ends()
        if after is not None:
            self._later(after, AlertObserved(firing=False))

    def _look_after(self, run: StepRun) -> None:
        place = (run.path, run.visit)
        if run.waits_for("approval") and place in self._stage.questions:
            self._ask(self._stage.questions[place])
        elif run.waits_for("person") and place in self._stage.tasks:
            self._give(self._stage.tasks[place])
        elif run.waits_for(CHOICE):
            chosen = self._world.choice(run)
            if chosen is not None:
                if chosen.choice == "retry":  # once more at a person's word is no repetition
                    self._played.effects[place] = 0
                self._later(chosen.after, PersonChose(*place, chosen.choice, PERSON, "as the scenario says"))
        elif run.waits_for(EVENT):
            self._await_event(run)
        elif run.waits_for(VERIFY):
            after = self._world.verified(run)
            if after is not None:
                self._later(after, AlertObserved(firing=False))
        elif run.state == "unknown":
            self._find_out(run, place)

    def _find_out(self, run: StepRun, place: Place) -> None:
        """A person looks what became of a step: what they find is what was."""
        decided = self._world.unknown(run, took_effect=self._taken.get(place, False))
        if decided is None:
            return
        if decided.decision == "failed":
            self._played.effects[place] = 0
        self._later(decided.after, StepDecided(*place, decided.decision, PERSON, "as the scenario says"))

    def _ask(self, question: Question) -> None:
        place, approval = (question.path, question.visit), f"approval of {question.path}"
        said = self._world.approval(question)
        if said is None or said.after >= question.expires_seconds:
            self._later(question.expires_seconds, ApprovalDenied(*place, approval, "expired"))
        elif said.how == "rejected":
            self._later(said.after, ApprovalDenied(*place, approval, "rejected", PERSON, "as the scenario says"))
        else:
            self._check_form(question, said)
            self._later(said.after, ApprovalGranted(*place, approval, said.values))
            if said.how == "revoked":
                self._later(said.after, ApprovalDenied(*place, approval, "revoked", PERSON, "as the scenario says"))

    def _check_form(self, question: Question, said: Said) -> None:
        """As the approvals service does: what does not fit the form is no answer."""
        step = self._stage.spec.step(question.path)
        if isinstance(step, ApprovalStep) and (faults := forms.filled_faults(step.form, said.values)):
            raise AnswerRefused(question.path, "; ".join(str(fault) for fault in faults))

    def _give(self, task: Task) -> None:
        done = self._world.manual(task)
        step = self._stage.spec.step(task.path)
        if done is None or not isinstance(step, ManualStep):
            return
        faults = forms.faults(step, done.outcome, done.evidence, done.values)
        if faults:
            told = "; ".join(str(fault) for fault in faults)
            raise AnswerRefused(task.path, told)
        fact = StepCompletedByPerson(task.path, task.visit, done.outcome, PERSON, done.evidence, done.values)
        self._later(done.after, fact)

    def _await_event(self, run: StepRun) -> None:
        step = self._stage.spec.step(run.path)
        assert isinstance(step, WaitStep)
        signalled = self._world.event(run, step)
        if signalled is None:
            return
        if step.event == ALERT_RESOLVED:
            self._later(signalled.after, AlertObserved(firing=False))
        else:
            self._later(signalled.after, SignalReceived(str(step.event), signalled.data, PERSON))

    # ---- carrying out

    def _claim(self, job: Job) -> None:
        """A worker claims an action, or is turned away."""
        stage = self._stage
        if stage.jobs.pop(job.place, None) is None:
            return  # withdrawn by what was folded for another
        if path := probed(job.path):
            self._look(job, path)
            return
        if not stage.needed(job.path):
            stage.fold(StepNotNeeded(*job.place))
            return
        if not stage.allowed(job):
            self._played.violations.append(f"{job.path} would begin without a grant of what it does")
        attempted = self._world.attempt(job)
        if attempted.how == "held":
            self._hold(job, attempted)
            return
        stage.carried_out.append(job)
        self._running[job.place] = job
        stage.fold(StepStarted(*job.place))
        self._count(job, attempted)
        takes = LEASE_SECONDS if attempted.how == "dies" else attempted.takes or 0.0
        self._later(takes, _result(job, attempted), job)

    def _look(self, job: Job, path: str) -> None:
        """A worker carries out a probe: what it brings is told of the step that it is about."""
        attempted = self._world.attempt(job)
        answers = attempted.how == "succeeds"
        if answers and not attempted.took_effect:
            self._played.effects[path, job.visit] = 0
        self._running[job.place] = job
        self._later(attempted.takes or 0.0, Probed(path, job.visit, attempted.outputs if answers else None), job)

    def _hold(self, job: Job, attempted: Attempted) -> None:
        self._stage.fold(StepHeld(*job.place, "lock"))
        if attempted.takes is not None:
            self._later(attempted.takes, StepReleased(*job.place))

    def _count(self, job: Job, attempted: Attempted) -> None:
        took = attempted.how == "succeeds" or attempted.took_effect
        self._taken[job.place] = took
        effects = self._played.effects
        effects[job.place] = effects.get(job.place, 0) + took
        if job.action.effect == "unsafe" and effects[job.place] > 1:
            self._played.violations.append(f"{job.path} took effect more than once")


class AnswerRefused(Exception):
    """What a person would say of a manual step does not fit its form."""

    def __init__(self, path: str, told: str) -> None:
        super().__init__(f"{path}: {told}")
        self.path, self.told = path, told


def _result(job: Job, attempted: Attempted) -> Fact:
    """What the execution learns of an attempt, as the executor reads it: by the effect that the step declares."""
    if attempted.how == "dies":
        return StepLost(*job.place)
    if attempted.how == "succeeds":
        return StepSucceeded(*job.place, attempted.outputs)
    if job.action.effect == "unsafe" and attempted.took_effect:
        return StepUnknown(*job.place, attempted.code)
    return StepFailed(*job.place, attempted.code, attempted.message, retryable=attempted.retryable)
