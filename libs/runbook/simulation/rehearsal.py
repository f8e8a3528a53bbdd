"""A runbook's scenarios, read and played: what happened, and what was expected and did not."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from libs.runbook.known import Known
from libs.runbook.loader import keys_of, shaped
from libs.runbook.paths import probed
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.problems import PlanRefused, Problem, RunbookInvalid, dotted
from libs.runbook.simulation import samples, scenario
from libs.runbook.simulation.coverage import Edge, taken_by
from libs.runbook.simulation.expectations import misses, notifications, state_of, verified
from libs.runbook.simulation.guesses import Guesses, Unsaid, shown
from libs.runbook.simulation.play import AnswerRefused, Played, play
from libs.runbook.simulation.scenario import Scenario, ScenarioFile
from libs.runbook.simulation.scripted import ScriptedWorld, WrongAnswer
from libs.runbook.simulation.stage import Entry, Stage
from libs.runbook.spec import Runbook
from libs.runbook.steps import CheckStep
from libs.runbook.text import Document, Path, read
from libs.runbook.triggers import AlertFacts

WHAT: Final = "a file of scenarios is a mapping: scenarios, and what is said for all of them"
_KEYS: Final = keys_of(scenario)


@dataclass(frozen=True, slots=True)
class Scenarios:
    """A file's scenarios, and where each word of them stands."""

    file: ScenarioFile
    document: Document

    def problem(self, path: Path, message: str) -> Problem:
        """What is wrong, at the line where it is said."""
        return Problem(dotted(path), message, *self.document.position(path))


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """One scenario that was played. It passed if there are no problems."""

    name: str
    state: str
    reason: str = ""
    seconds: float = 0.0
    steps: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    notifications: tuple[Mapping[str, Any], ...] = ()
    verified: bool = False
    story: tuple[Entry, ...] = ()
    edges: frozenset[Edge] = frozenset()
    problems: tuple[Problem, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether everything came as it was expected."""
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        """The rehearsal as JSON-ready data."""
        story = [{"at_seconds": e.at, "what": e.what, "path": e.path, "data": dict(e.data)} for e in self.story]
        return {
            "name": self.name,
            "passed": self.passed,
            "state": self.state,
            "reason": self.reason,
            "seconds": self.seconds,
            "verified": self.verified,
            "steps": {path: dict(step) for path, step in self.steps.items()},
            "notifications": [dict(sent) for sent in self.notifications],
            "problems": [problem.to_json() for problem in self.problems],
            "story": story,
        }


def read_scenarios(source: str | bytes) -> Scenarios:
    """The scenarios in a text.

    Raises:
        RunbookInvalid: lists everything that is wrong with it, with its line.
    """
    document = read(source, what=WHAT, floats=True)
    return Scenarios(shaped(document, ScenarioFile, _KEYS), document)


def rehearse(spec: Runbook, scenarios: Scenarios) -> list[Rehearsal]:
    """Play every scenario of a file.

    Raises:
        RunbookInvalid: the file is for another runbook, or names steps that the runbook does not have.
    """
    file = scenarios.file
    problems = list(_strangers(spec, scenarios))
    if file.runbook is not None and file.runbook != spec.id:
        problems.insert(0, scenarios.problem(("runbook",), f"is {file.runbook}; this runbook is {spec.id}"))
    if problems:
        raise RunbookInvalid(problems)
    return [
        _Rehearsing(spec, scenarios, index, item.with_shared(file)).run() for index, item in enumerate(file.scenarios)
    ]


class _Rehearsing:
    """One scenario on its way."""

    def __init__(self, spec: Runbook, scenarios: Scenarios, index: int, found: Scenario) -> None:
        self._spec = spec
        self._scenarios = scenarios
        self._at: Path = ("scenarios", index)
        self._scenario = found

    def run(self) -> Rehearsal:
        """Play it; what the scenario lacks, or says wrongly, is a problem of it."""
        facts = self._occasion()
        try:
            stage = self._stage(facts)
        except PlanRefused as error:
            problems = [self._problem(*_where(problem), problem.message) for problem in error.problems]
            return Rehearsal(self._scenario.name, "refused", problems=tuple(problems))
        world = ScriptedWorld(self._spec, self._scenario)
        firing = None if facts.alert is None else True
        try:
            played = play(stage, world, firing=firing, by_person=self._scenario.started_by == "person")
        except Unsaid as error:
            return self._told(Played(stage), [self._problem("results", error.steps[0], str(error))])
        except WrongAnswer as error:
            return self._told(Played(stage), [self._problem("answers", error.path, str(error))])
        except AnswerRefused as error:
            return self._told(Played(stage), [self._problem("answers", error.path, error.told)])
        missed = [self._problem("expect", *path, why) for path, why in misses(self._scenario.expect, played)]
        missed.sort(key=lambda problem: (problem.line, problem.column))
        return self._told(played, [*missed, *(self._problem(broken) for broken in played.violations)])

    def _occasion(self) -> PlanFacts:
        said = self._scenario.alert
        if said is None:
            return samples.occasion(self._spec)
        alert = AlertFacts(said.name, said.severity, said.labels, said.annotations)
        return PlanFacts(alert, samples.INCIDENT)

    def _stage(self, facts: PlanFacts) -> Stage:
        made_up = self._scenario.alert is None
        inputs = {**(samples.inputs(self._spec) if made_up else {}), **self._scenario.inputs}
        evaluate = Guesses(self._spec, forced=dict(self._forced()), open_alert=made_up)
        plan = make_plan(self._spec, inputs, facts, evaluate=evaluate)
        known = Known(plan.inputs, facts, evaluate)
        begins = self._scenario.begins
        return Stage(self._spec, known) if begins is None else Stage(self._spec, known, beginning=begins)

    def _forced(self) -> Iterator[tuple[str, bool]]:
        """Checks without an action that are said to fail: nobody carries them out, so their condition does not hold."""
        for step_id in self._scenario.simulate_failures:
            step = self._spec.step(step_id)
            if isinstance(step, CheckStep) and not step.action_name:
                yield step.expect, False

    def _told(self, played: Played, problems: list[Problem]) -> Rehearsal:
        stage = played.stage
        steps = {
            path: {
                "state": run.state,
                "attempts": run.attempts,
                "error_code": run.error_code,
                "message": run.message,
                "outputs": shown(run.outputs),
            }
            for (path, _), run in stage.runs.items()
        }
        return Rehearsal(
            name=self._scenario.name,
            state=state_of(played) if stage.frame.terminal or played.hangs else "stopped",
            reason=stage.frame.reason,
            seconds=stage.now,
            steps=steps,
            notifications=tuple(notifications(stage)),
            verified=verified(played),
            story=tuple(stage.log),
            edges=frozenset(taken_by(stage)),
            problems=tuple(problems),
        )

    def _problem(self, *said: str | int) -> Problem:
        """A problem below the scenario; what was said above the list is looked for there. The last word is the text."""
        *path, message = said
        own, shared = (*self._at, *path), tuple(path)
        above = own not in self._scenarios.document.positions and shared in self._scenarios.document.positions
        return self._scenarios.problem(shared if above and shared else own, str(message))


def _where(problem: Problem) -> tuple[str, ...]:
    """Where a scenario says what a plan was refused for."""
    return tuple(problem.path.split(".")) if problem.path.startswith("inputs.") else ("alert",)


def _strangers(spec: Runbook, scenarios: Scenarios) -> Iterator[Problem]:
    """Names of steps that the runbook does not have."""
    for path in scenarios.document.positions:
        below = path[2:] if path[:1] == ("scenarios",) else path
        match below:
            case ("results" | "answers", str() as name) | ("simulate_failures", int() as name):
                pass
            case ("expect", "steps" | "errors" | "outputs" | "sent" | "attempts", str() as name):
                pass
            case ("expect", "asked", int() as name) | ("alert", "ends", "after" as name):
                pass
            case _:
                continue
        step = str(name) if isinstance(name, str) and name != "after" else str(_value(scenarios.document.data, path))
        if not _knows(spec, step):
            known = ", ".join(spec.graph.places)
            yield scenarios.problem(path, f"'{step}' is no step of {spec.id}; its steps are {known}")


def _knows(spec: Runbook, path: str) -> bool:
    try:
        spec.step(probed(path) or path)
    except KeyError:
        return False
    return True


def _value(data: Any, path: Path) -> Any:
    for part in path:
        data = data[part]
    return data
