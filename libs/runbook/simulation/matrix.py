"""The fault matrix: every step with everything that can go wrong there, and how each path ends.

Walked are, in this order: every path on which nothing goes wrong, whichever conditions hold; every path with one fault;
paths with two, until `limit` paths were walked. Conditions go both ways unless what they read decides them; what
happens at the same moment happens in the order in which it was asked for.
"""

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from msgspec.structs import replace

from libs.runbook.known import Known
from libs.runbook.planning import make_plan
from libs.runbook.simulation import samples
from libs.runbook.simulation.adversity import Adversity
from libs.runbook.simulation.choices import MAX_FAULTS, Choices, Prefix
from libs.runbook.simulation.coverage import Coverage, Edge, coverage, taken_by
from libs.runbook.simulation.expectations import state_of
from libs.runbook.simulation.faults import KINDS, Fault, FaultKind, rows
from libs.runbook.simulation.guesses import Guesses
from libs.runbook.simulation.play import Played, play
from libs.runbook.simulation.stage import Stage
from libs.runbook.spec import Runbook
from libs.runbook.steps import NotifyStep

LIMIT: Final = 2_000
GOOD: Final = "completed"


@dataclass(frozen=True, slots=True)
class PathEnd:
    """How one path ended: `deviations` are what was unexpected on it, `faults` those that went wrong.

    `at` is the step that ended it, `code` why that failed. `decided`: a person had to say how it goes on, or what
    became of a step. `told` are the messages that were handed over.
    """

    deviations: tuple[str, ...]
    faults: tuple[Fault, ...]
    turns: tuple[str, ...]
    state: str
    reason: str
    at: str
    code: str
    decided: bool
    told: tuple[str, ...]

    @property
    def cause(self) -> str:
        """What was unexpected, in a line."""
        return ", ".join(self.deviations) or "nothing unexpected"

    def to_json(self) -> dict[str, Any]:
        """The end as JSON-ready data."""
        return {
            "cause": list(self.deviations),
            "faults": [{"step": fault.step_id, "kind": fault.kind} for fault in self.faults],
            "state": self.state,
            "reason": self.reason,
            "at": self.at,
            "error_code": self.code,
            "person_decides": self.decided,
            "told": list(self.told),
        }


@dataclass(slots=True)
class Matrix:
    """What was walked. `left` counts, by number of faults, paths that were found and not walked."""

    spec: Runbook
    ends: list[PathEnd] = field(default_factory=list)
    edges: set[Edge] = field(default_factory=set)
    left: Counter[int] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    @property
    def coverage(self) -> Coverage:
        """Which ways of the runbook some path has taken."""
        return coverage(self.spec, self.edges)

    @property
    def walked(self) -> Mapping[int, int]:
        """How many paths were walked, by their number of faults."""
        return Counter(len(end.faults) for end in self.ends)

    @property
    def hanging(self) -> list[PathEnd]:
        """The paths that never end: there must be none."""
        return [end for end in self.ends if end.state == "hangs"]

    @property
    def bad(self) -> list[PathEnd]:
        """The paths that do not complete, by their smallest causes: of what is unexpected on them nothing is idle.

        A path on which more is unexpected than on another one that ends badly is not listed beside that one.
        """
        found: list[tuple[frozenset[str], PathEnd]] = []
        for end in sorted((end for end in self.ends if end.state != GOOD), key=lambda end: len(end.deviations)):
            cause = frozenset(end.deviations)
            if not any(smaller <= cause for smaller, _ in found):
                found.append((cause, end))
        return [end for _, end in found]

    @property
    def cells(self) -> dict[tuple[str, FaultKind], PathEnd]:
        """How it ends when just this goes wrong, and otherwise as little as leads there is unexpected."""
        found: dict[tuple[str, FaultKind], PathEnd] = {}
        for end in sorted(self.ends, key=lambda end: (len(end.faults), len(end.turns))):
            for fault in end.faults[-1:]:
                found.setdefault((fault.step_id, fault.kind), end)
        return found

    def to_json(self) -> dict[str, Any]:
        """The matrix as JSON-ready data."""
        return {
            "paths": {str(faults): count for faults, count in sorted(self.walked.items())},
            "not_walked": {str(faults): count for faults, count in sorted(self.left.items())},
            "coverage": self.coverage.to_json(),
            "steps": [
                {"step": step_id, "faults": {kind: self._cell(step_id, kind) for kind in KINDS if kind in kinds}}
                for step_id, kinds in rows(self.spec)
            ],
            "bad": [end.to_json() for end in self.bad],
            "hanging": [end.to_json() for end in self.hanging],
            "violations": self.violations,
        }

    def _cell(self, step_id: str, kind: FaultKind) -> dict[str, Any] | None:
        end = self.cells.get((step_id, kind))
        return end.to_json() if end else None


def explore(spec: Runbook, *, limit: int = LIMIT) -> Matrix:
    """Walk the paths of a runbook.

    Raises:
        PlanRefused: no occasion could be made up for it.
    """
    facts = samples.occasion(spec)
    evaluate = Guesses(spec, open_alert=True)
    plan = make_plan(spec, samples.inputs(spec), facts, evaluate=evaluate)
    return _Exploring(spec, Known(plan.inputs, facts, evaluate)).run(limit)


class _Exploring:
    """The paths that were found, the plainest first."""

    def __init__(self, spec: Runbook, known: Known) -> None:
        self._known = known
        self._found = Matrix(spec)
        self._queue: list[tuple[int, int, int, Prefix]] = [(0, 0, 0, ())]

    def run(self, limit: int) -> Matrix:
        number = 0
        while self._queue and len(self._found.ends) < limit:
            *_, prefix = heapq.heappop(self._queue)
            for faults, turns, other in self._walk(prefix).others():
                number += 1
                if len(self._queue) + len(self._found.ends) < limit or faults < MAX_FAULTS:
                    heapq.heappush(self._queue, (faults, turns, number, other))
                else:
                    self._found.left[faults] += 1
        self._found.left += Counter(faults for faults, *_ in self._queue)
        return self._found

    def _walk(self, prefix: Prefix) -> Choices:
        choices, found, facts = Choices(prefix), self._found, self._known.facts
        world = Adversity(found.spec, choices)
        known = replace(self._known, evaluate=Guesses(found.spec, decide=world.decide, open_alert=True))
        played = play(Stage(found.spec, known), world, firing=True if facts.alert else None)
        found.ends.append(_end(played, choices))
        found.edges |= set(taken_by(played.stage))
        found.violations += [f"{broken} ({', '.join(choices.deviations)})" for broken in played.violations]
        return choices


def _end(played: Played, choices: Choices) -> PathEnd:
    stage = played.stage
    said = next((entry for entry in reversed(stage.log) if entry.what in {"failed", "aborted", "completed"}), None)
    at = said.path if said else ""
    codes = [run.error_code for (path, _), run in stage.runs.items() if path == at]
    return PathEnd(
        deviations=choices.deviations,
        faults=choices.faults,
        turns=choices.turns,
        state=state_of(played),
        reason=stage.frame.reason,
        at=at,
        code=codes[-1] if codes else "",
        decided=any(entry.what == "step_decided" for entry in stage.log),
        told=tuple(_told(stage)),
    )


def _told(stage: Stage) -> Iterator[str]:
    for (path, _), run in stage.runs.items():
        if run.state == "succeeded" and isinstance(stage.spec.step(path), NotifyStep):
            yield path
