"""A world in which anything may go wrong, as the choices of a path say. People tell the truth and do their part."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from libs.runbook.facts import Choice, Decision, Fact
from libs.runbook.frame import StepRun
from libs.runbook.paths import name_of, probed
from libs.runbook.simulation.choices import Choices
from libs.runbook.simulation.faults import ROLLBACK, VERIFICATION, Fault, FaultKind, work_faults
from libs.runbook.simulation.guesses import Condition, Key, open_answer, open_finding
from libs.runbook.simulation.samples import filled_in
from libs.runbook.simulation.world import Attempted, Chosen, Decided, Done, Job, Place, Question, Said, Signalled, Task
from libs.runbook.spec import TELLING, UNDOING, Runbook
from libs.runbook.steps import ActingStep, NotifyStep, WaitStep

PLACES_OF_A_STEP: Final = 2
"""In how many iterations a step may go wrong: faults in the fiftieth are those in the second."""
_ATTEMPT_SECONDS: Final = 1.0
_PERSON_SECONDS: Final = 60.0


class Adversity:
    """A `World` that asks `choices`. A fault lasts as long as a visit of its step, unless a worker dies of it."""

    def __init__(self, spec: Runbook, choices: Choices) -> None:
        self.choices = choices
        self._spec = spec
        self._lasting: dict[Place, FaultKind] = {}
        self._places: dict[str, list[str]] = defaultdict(list)
        self._decided: dict[Key, bool] = {}
        self._again: set[Place] = set()
        self._took: dict[Place, bool] = {}

    def decide(self, condition: Condition, key: Key) -> bool:
        """Whether a condition holds: both ways are walked, but within one path it does not change its mind."""
        if key not in self._decided:
            ways = ("holds", "is false" if condition.key == "when" else "does not hold")
            self._decided[key] = self.choices.way(str(condition), ways) == ways[0]
        return self._decided[key]

    def happenings(self) -> Sequence[tuple[float, Fact]]:
        """Nothing happens by itself."""
        return ()

    def attempt(self, job: Job) -> Attempted:
        """How an attempt goes."""
        if path := probed(job.path):
            took = self._truth((path, job.visit))
            outputs = open_finding(job.path, job.visit, took_effect=took)
            return Attempted(outputs=outputs, took_effect=took, takes=_ATTEMPT_SECONDS)
        attempted = self._tried(job)
        self._took[job.place] = attempted.how == "succeeds" or attempted.took_effect
        return attempted

    def _tried(self, job: Job) -> Attempted:
        step = self._spec.step(job.path)
        kind = self._lasting.get(job.place) or self._fault(job.path, work_faults(step))
        if kind in {"fails", "times out", "lock lost"}:
            first = job.place not in self._lasting
            self._lasting[job.place] = kind
            if kind == "lock lost":
                return Attempted("dies", took_effect=False) if first else Attempted("held", takes=None)
        match kind:
            case "fails":
                return Attempted("fails", took_effect=False, takes=_ATTEMPT_SECONDS)
            case "times out":
                lasts = job.action.timeout_seconds
                return Attempted("fails", code="timeout", message="no answer in time", retryable=True, takes=lasts)
            case "dies before" | "dies after":
                return Attempted("dies", took_effect=kind == "dies after")
            case _:
                judged = isinstance(step, ActingStep) and not isinstance(step, NotifyStep)
                outputs = open_answer(job.path, job.visit) if judged else {}
                return Attempted(outputs=outputs, takes=_ATTEMPT_SECONDS)

    def approval(self, question: Question) -> Said | None:
        """Granted, rejected, or nobody answers."""
        match self._fault(question.path, ("rejected", "expired")):
            case "rejected":
                return Said("rejected", _PERSON_SECONDS)
            case "expired":
                return None
            case _:
                values = filled_in(self._spec.step(question.path)) if question.of == "plan" else {}
                return Said("granted", min(_PERSON_SECONDS, question.expires_seconds / 2), values)

    def manual(self, task: Task) -> Done | None:
        """Done, impossible, or nobody comes."""
        match self._fault(task.path, ("fails", "times out")):
            case "fails":
                return Done("failed", after=_PERSON_SECONDS)
            case "times out":
                return None
            case _:
                step = self._spec.step(task.path)
                return Done("succeeded", filled_in(step), "evidence", _PERSON_SECONDS)

    def unknown(self, run: StepRun, *, took_effect: bool) -> Decided:
        """A person finds out; after a time-out either may be the truth."""
        del took_effect  # it is known here
        truth: Decision = "succeeded" if self._truth((run.path, run.visit)) else "failed"
        return Decided(truth, _PERSON_SECONDS)

    def _truth(self, place: Place) -> bool:
        """Whether an attempt took effect; after a time-out either may be the truth."""
        if self._lasting.get(place) == "times out":
            return self.choices.way(place[0], ("took effect", "did not take effect")) == "took effect"
        return self._took.get(place, False)

    def choice(self, run: StepRun) -> Chosen:
        """Every choice is walked; trying again helps, and is tried once."""
        place = (run.path, run.visit)
        ways: tuple[Choice, ...] = ("skip", "abort") if place in self._again else ("retry", "skip", "abort")
        chosen = ways[ways.index(self.choices.way(f"{run.path}, asked:", ways))]
        if chosen == "retry":
            self._again.add(place)
            self._lasting.pop(place, None)
        return Chosen(chosen, _PERSON_SECONDS)

    def event(self, run: StepRun, step: WaitStep) -> Signalled | None:
        """It comes, or it does not."""
        del step
        return None if self._fault(run.path, ("times out",)) else Signalled(open_answer(run.path, run.visit), 1.0)

    def verified(self, run: StepRun) -> float | None:
        """It ends after the step that waits for it, or goes on."""
        goes_on = "the alert goes on"
        return None if self.choices.way(f"after {run.path}", ("the alert ends", goes_on)) == goes_on else 1.0

    def alert_ends(self) -> float | None:
        """It ends with the last step, or goes on."""
        return None if self.choices.fault([Fault(VERIFICATION, "times out")]) else 1.0

    def ended(self, run: StepRun) -> Sequence[tuple[float, Fact]]:
        """Nothing follows from a step alone."""
        del run
        return ()

    def _fault(self, path: str, kinds: Sequence[FaultKind]) -> FaultKind | None:
        if path.startswith(TELLING):
            return None  # whether people could be told changes nothing of how it ends
        step_id = ROLLBACK if path.startswith(UNDOING) else name_of(path)
        places = self._places[step_id]
        if path not in places:
            places.append(path)
        if places.index(path) >= PLACES_OF_A_STEP:
            return None
        fault = self.choices.fault([Fault(step_id, kind) for kind in kinds])
        return fault.kind if fault else None
