"""Which ways through a runbook there are, and which of them were taken."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from libs.runbook.elements import Element
from libs.runbook.frame import CHOICE, WHEN_FALSE
from libs.runbook.simulation.stage import Stage
from libs.runbook.spec import TELLING, UNDOING, Runbook
from libs.runbook.steps import FAIL, AnyStep, DecisionStep, WaitStep


@dataclass(frozen=True, slots=True, order=True)
class Edge:
    """A way out of a step: `success`, `failure`, `left out` (its condition is false), or `to <step>` of a decision."""

    step_id: str
    way: str

    def __str__(self) -> str:
        return f"{self.step_id}: {self.way}"


@dataclass(frozen=True, slots=True)
class Coverage:
    """The ways of a runbook, in its order, and those that were taken."""

    edges: tuple[Edge, ...]
    taken: frozenset[Edge]

    @property
    def percent(self) -> int:
        """How many of a hundred ways were taken, rounded down: 100 is all of them."""
        return 100 * (len(self.edges) - len(self.missed)) // len(self.edges)

    @property
    def missed(self) -> tuple[Edge, ...]:
        """The ways that were never taken."""
        return tuple(edge for edge in self.edges if edge not in self.taken)

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that were reached."""
        reached = {edge.step_id for edge in self.taken}
        return tuple(dict.fromkeys(edge.step_id for edge in self.edges if edge.step_id in reached))

    def to_json(self) -> dict[str, object]:
        """The coverage as JSON-ready data."""
        all_steps = list(dict.fromkeys(edge.step_id for edge in self.edges))
        return {
            "percent": self.percent,
            "edges": len(self.edges),
            "taken": len(self.edges) - len(self.missed),
            "steps": len(all_steps),
            "reached": len(self.steps),
            "missed": [str(edge) for edge in self.missed],
        }


def coverage(spec: Runbook, taken: Iterable[Edge]) -> Coverage:
    """What was taken of a runbook's ways."""
    edges = tuple(edge for place in spec.graph.places.values() for edge in _edges(place.step))
    return Coverage(edges, frozenset(taken))


def taken_by(stage: Stage) -> Iterator[Edge]:
    """The ways that one story has taken."""
    for run in stage.runs.values():
        if run.path.startswith((UNDOING, TELLING)):
            continue
        step = stage.spec.step(run.path)
        if run.state == "skipped" and run.error_code == WHEN_FALSE:
            yield Edge(step.id, "left out")
        elif run.state == "failed" or run.waits_for(CHOICE) or (run.failures and run.error_code):
            yield Edge(step.id, "failure")
        elif run.state == "succeeded" and isinstance(step, DecisionStep):
            yield Edge(step.id, f"to {run.outputs.get('goto')}")
        elif run.state == "succeeded":
            yield Edge(step.id, "success")


def can_fail(step: AnyStep) -> bool:
    """Whether a step may fail: a time that passes does not."""
    if isinstance(step, WaitStep):
        return step.event is not None
    return not isinstance(step, DecisionStep) or step.otherwise == FAIL


def _edges(step: Element) -> Iterator[Edge]:
    assert isinstance(step, AnyStep)
    if isinstance(step, DecisionStep):
        goals = [*(branch.goto for branch in step.branches), step.otherwise]
        yield from (Edge(step.id, f"to {goal}") for goal in dict.fromkeys(goals) if goal != FAIL)
    else:
        yield Edge(step.id, "success")
    if can_fail(step):
        yield Edge(step.id, "failure")
    if step.when is not None:
        yield Edge(step.id, "left out")
