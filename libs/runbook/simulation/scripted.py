"""The world of a scenario: it answers as the scenario says, and well where the scenario says nothing."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from libs.runbook import durations
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    Fact,
    FailRequested,
    Outcome,
    PauseRequested,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
)
from libs.runbook.frame import StepRun
from libs.runbook.paths import name_of, probed
from libs.runbook.simulation.guesses import open_answer, open_finding
from libs.runbook.simulation.samples import filled_in
from libs.runbook.simulation.scenario import HAPPENINGS, Answer, AnswerKind, Event, Result, Scenario
from libs.runbook.simulation.world import Attempted, Chosen, Decided, Done, Job, Place, Question, Said, Signalled, Task
from libs.runbook.spec import Runbook
from libs.runbook.steps import ActingStep, NotifyStep, WaitStep

PERSON: Final = "somebody"
SIMULATED: Final = "simulated_failure"
_SAID_BY: Final[Mapping[str, Callable[[str, str], Fact]]] = {
    "abort": AbortRequested,
    "fail": FailRequested,
    "pause": PauseRequested,
    "resume": ResumeRequested,
    "rollback": RollbackRequested,
}


class WrongAnswer(Exception):
    """The scenario gives an answer that does not fit the question, or none where one is needed."""

    def __init__(self, path: str, told: str) -> None:
        super().__init__(told)
        self.path = path


class ScriptedWorld:
    """A `World`. Results are taken in their order, one an attempt; answers one a question."""

    def __init__(self, spec: Runbook, scenario: Scenario) -> None:
        self._spec = spec
        self._scenario = scenario
        self._attempts: Counter[str] = Counter()
        self._asked: Counter[str] = Counter()
        self._took: dict[Place, bool] = {}

    def happenings(self) -> Sequence[tuple[float, Fact]]:
        """What happens by itself, and when."""
        ends = self._scenario.alert.ends if self._scenario.alert else None
        found = [(durations.seconds(event.at), _fact(event)) for event in self._scenario.events]
        if ends is not None and ends.after is None and ends.delay is not None:
            found.append((durations.seconds(ends.delay), AlertObserved(firing=False)))
        return found

    def attempt(self, job: Job) -> Attempted:
        """How an attempt goes."""
        if path := probed(job.path):
            return self._look(job, path)
        attempted = self._tried(job)
        self._took[job.place] = attempted.how == "succeeds" or attempted.took_effect
        return attempted

    def _tried(self, job: Job) -> Attempted:
        if self.fails(job.path):
            return Attempted("fails", code=SIMULATED, message="the scenario lets it fail", took_effect=False)
        result = self._result(job)
        return Attempted(outputs=self._open(job)) if result is None else self._attempted(job, result)

    def _look(self, job: Job, path: str) -> Attempted:
        """What a probe finds: the truth, if nothing is said of it."""
        took, result = self._took.get((path, job.visit), False), self._result(job)
        if result is None or (result.how == "succeeds" and result.outputs is None):
            return Attempted(outputs=open_finding(job.path, job.visit, took_effect=took), took_effect=took)
        return replace(self._attempted(job, result), took_effect=took)

    def fails(self, path: str) -> bool:
        """Whether the scenario lets the step fail in any case."""
        return bool({path, name_of(path)} & set(self._scenario.simulate_failures))

    def approval(self, question: Question) -> Said | None:
        """How an approval is answered; granted, if nothing is said."""
        if self.fails(question.path) and question.of == "plan":
            return Said("rejected")
        answer = self._answer(question.path, "an approval", "granted", ("granted", "rejected", "revoked"))
        match answer.how if answer else None:
            case ("granted" | "rejected" | "revoked") as how:
                mentioned = question.of == "action" or self._mentions(question.path)
                made_up = {} if mentioned else filled_in(self._spec.step(question.path))
                return Said(how, _delay(answer), {**made_up, **(answer.values if answer else {})})
            case _:
                return None

    def manual(self, task: Task) -> Done | None:
        """What a person says of a manual step; done, with some value in each field, if nothing is said."""
        if self.fails(task.path):
            return Done("failed")
        answer = self._answer(task.path, "a manual step", "done", ("done", "failed"))
        if answer is None:
            return None
        step, mentioned = self._spec.step(task.path), self._mentions(task.path)
        made_up = filled_in(step) if not mentioned else {}
        evidence = answer.evidence or ("" if mentioned else "evidence of the scenario")
        outcome: Outcome = "succeeded" if answer.how == "done" else "failed"
        return Done(outcome, {**made_up, **answer.values}, evidence, _delay(answer))

    def unknown(self, run: StepRun, *, took_effect: bool) -> Decided | None:
        """What a person finds out; the truth, if nothing is said."""
        truth: AnswerKind = "succeeded" if took_effect else "failed"
        answer = self._answer(run.path, "a step whose effect nobody knows", truth, ("succeeded", "failed", "abort"))
        match answer.how if answer else None:
            case ("succeeded" | "failed" | "abort") as how:
                return Decided(how, _delay(answer))
            case _:
                return None

    def choice(self, run: StepRun) -> Chosen | None:
        """How a person wants it to go on, which must be said."""
        answer = self._answer(run.path, "on_failure: ask", None, ("retry", "skip", "abort"))
        match answer.how if answer else None:
            case ("retry" | "skip" | "abort") as how:
                return Chosen(how, _delay(answer))
            case _:
                return None

    def event(self, run: StepRun, step: WaitStep) -> Signalled | None:
        """Whether an event comes; at once, if nothing is said."""
        del step
        if self.fails(run.path):
            return None
        answer = self._answer(run.path, "an event", "comes", ("comes",))
        return Signalled(answer.data, _delay(answer)) if answer else None

    def verified(self, run: StepRun) -> float | None:
        """The alert ends with a step that waits for it, unless the scenario says when."""
        del run
        return self.alert_ends()

    def alert_ends(self) -> float | None:
        """The alert ends with the last step, unless the scenario says when."""
        said = self._scenario.alert is not None and self._scenario.alert.ends is not None
        said = said or any(event.alert == "ends" for event in self._scenario.events)
        return None if said else 0.0

    def ended(self, run: StepRun) -> Sequence[tuple[float, Fact]]:
        """The alert's end, if it follows this step."""
        ends = self._scenario.alert.ends if self._scenario.alert else None
        if ends is None or ends.after not in {run.path, name_of(run.path)}:
            return []
        return [(durations.seconds(ends.delay) if ends.delay else 0.0, AlertObserved(firing=False))]

    # ---- what is said

    def _mentions(self, path: str) -> bool:
        return path in self._scenario.answers or name_of(path) in self._scenario.answers

    def _result(self, job: Job) -> Result | None:
        results = self._scenario.results.get(job.path) or self._scenario.results.get(name_of(job.path))
        if results is None:
            return None
        number = self._attempts[job.path]
        self._attempts[job.path] += 1
        if number >= len(results) and results[-1].how == "lock_held" and results[-1].takes:
            return None  # it was let go
        return results[min(number, len(results) - 1)]

    def _attempted(self, job: Job, result: Result) -> Attempted:
        takes = durations.seconds(result.takes) if result.takes else 0.0
        match result.how:
            case "succeeds":
                outputs = self._open(job) if result.outputs is None else result.outputs
                return Attempted(outputs=outputs, takes=takes)
            case "fails":
                return Attempted(
                    "fails",
                    code=result.code,
                    message=result.message,
                    retryable=result.retryable,
                    took_effect=not result.harmless,
                    takes=takes,
                )
            case "times_out":
                lasts = takes or job.action.timeout_seconds
                return Attempted("fails", code="timeout", message="no answer in time", retryable=True, takes=lasts)
            case "lock_held":
                return Attempted("held", takes=takes or None)
            case _:
                return Attempted("dies", took_effect=result.how == "dies_after")

    def _open(self, job: Job) -> dict[str, Any]:
        step = self._spec.step(job.path)
        judged = isinstance(step, ActingStep) and not isinstance(step, NotifyStep)
        return open_answer(job.path, job.visit) if judged else {}

    def _answer(
        self, path: str, question: str, default: AnswerKind | None, fitting: tuple[AnswerKind, ...]
    ) -> Answer | None:
        """The next answer, None if nobody answers.

        Raises:
            WrongAnswer: it does not fit, or there is none although nothing goes without saying.
        """
        answers = self._scenario.answers.get(path) or self._scenario.answers.get(name_of(path))
        number = self._asked[path]
        self._asked[path] += 1
        if answers is None and default is None:
            raise WrongAnswer(path, f"{question} needs an answer: {', '.join(fitting)} or nobody")
        if answers is None or number >= len(answers):
            return Answer.model_validate({"is": default}) if answers is None else None
        answer = answers[number]
        if answer.how != "nobody" and answer.how not in fitting:
            raise WrongAnswer(path, f"'{answer.how}' is no answer to {question}: {', '.join(fitting)} or nobody")
        return None if answer.how == "nobody" else answer


def _delay(answer: Answer | None) -> float:
    return durations.seconds(answer.delay) if answer is not None and answer.delay else 0.0


def _fact(event: Event) -> Fact:
    key = next(key for key in HAPPENINGS if getattr(event, key) is not None)
    if key == "alert":
        return AlertObserved(firing=event.alert == "fires")
    if key == "signal":
        return SignalReceived(str(event.signal), event.data, PERSON)
    return _SAID_BY[key](PERSON, getattr(event, key))
