"""Where the steps of a runbook stand, and where each leads: sequences, inside which composite steps hold sequences."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from libs.runbook.paths import around, inside, name_of
from libs.runbook.steps import EACH, AnyStep, CompositeStep, DecisionStep, LoopStep

END: Final = "end"
Position: TypeAlias = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a step stands: in which sequence, behind how many others, and at which position of the document.

    `within` is the id of the composite step around it, empty for none. `path` names it among the others; in a loop `*`
    stands for the number of the iteration.
    """

    step: AnyStep
    sequence: tuple[AnyStep, ...]
    index: int
    position: Position
    within: str = ""
    path: str = ""


class Graph:
    """The places of a runbook's steps. Where an id was used twice, the first one counts; lint refuses the runbook."""

    def __init__(self, steps: Sequence[AnyStep]) -> None:
        self.outermost = tuple(steps)
        self.places: dict[str, Place] = {}
        for place in walk(self.outermost):
            self.places.setdefault(place.step.id, place)

    def place(self, path: str) -> Place:
        """Where the step of that path, or id, stands.

        Raises:
            KeyError: there is none.
        """
        return self.places[name_of(path)]

    def successor(self, path: str) -> str | None:
        """The id of the step that follows a success: `on_success`, else the next of its sequence; None at its end."""
        place = self.place(path)
        if place.step.on_success is not None:
            return None if place.step.on_success == END else place.step.on_success
        following = place.sequence[place.index + 1 :]
        return following[0].id if following else None

    def after_failure(self, path: str) -> tuple[bool, str | None]:
        """Whether a failure of the step is its sequence's, and the step that follows if not; None at the end."""
        step = self.place(path).step
        if step.on_failure in {"stop", "ask"}:
            return True, None
        return False, self.successor(path) if step.on_failure == "continue" else step.on_failure

    def first(self, frame_path: str) -> str:
        """The id of the first step of the sequence that a frame is about."""
        if not frame_path:
            return self.outermost[0].id
        step = self.place(around(frame_path)).step
        assert isinstance(step, CompositeStep)
        body = EACH if isinstance(step, LoopStep) else name_of(frame_path)
        return step.bodies[body][0].id

    def reachable(self) -> frozenset[str]:
        """The ids of the steps that some execution may come to."""
        found: set[str] = set()
        waiting: list[str | None] = [self.outermost[0].id]
        while waiting:
            here = waiting.pop()
            if here is not None and here in self.places and here not in found:
                found.add(here)
                waiting += self._onward(here)
        return frozenset(found)

    def _onward(self, step_id: str) -> list[str | None]:
        step = self.places[step_id].step
        onward: list[str | None] = [self.after_failure(step_id)[1]]
        if isinstance(step, DecisionStep):
            return [*onward, *(branch.goto for branch in step.branches), step.otherwise]
        if isinstance(step, CompositeStep):
            onward += [body[0].id for body in step.bodies.values()]
        return [*onward, self.successor(step_id)]


def walk(
    steps: Sequence[AnyStep], position: Position = ("steps",), within: str = "", frame_path: str = ""
) -> Iterator[Place]:
    """Every step, each before those that it holds."""
    for index, step in enumerate(steps):
        here, path = (*position, index), inside(frame_path, step.id)
        yield Place(step, tuple(steps), index, here, within, path)
        if isinstance(step, CompositeStep):
            for name, body in step.bodies.items():
                below = (*here, "steps") if isinstance(step, LoopStep) else (*here, "branches", name)
                yield from walk(body, below, step.id, inside(path, name))
