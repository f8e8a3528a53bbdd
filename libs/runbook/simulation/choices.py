"""One path through everything that could happen: which way is taken at each fork, and what the forks were.

A path begins with given choices and takes the first option at every fork after them. From its forks follow the other
paths: each way not taken is a path of its own, so that every path is found once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from libs.runbook.simulation.faults import Fault

Prefix: TypeAlias = tuple[int, ...]
MAX_FAULTS: Final = 2


@dataclass(frozen=True, slots=True)
class Fork:
    """A place where it could go on in several ways: the first is the expected one. `faults` go with the others.

    `about` is what is said of a way that is no fault and not the first.
    """

    options: Sequence[str]
    taken: int
    about: str
    faults: tuple[Fault | None, ...]


@dataclass(slots=True)
class Choices:
    """The choices of one path; `forks` grows as it is walked."""

    prefix: Prefix = ()
    max_faults: int = MAX_FAULTS
    forks: list[Fork] = field(default_factory=list)

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What went wrong so far."""
        return tuple(fault for fork in self.forks if (fault := fork.faults[fork.taken]) is not None)

    @property
    def turns(self) -> tuple[str, ...]:
        """The unexpected ways that were taken and are no faults."""
        taken = [fork for fork in self.forks if fork.taken and fork.faults[fork.taken] is None]
        return tuple(f"{fork.about} {fork.options[fork.taken]}".strip() for fork in taken)

    @property
    def deviations(self) -> tuple[str, ...]:
        """Everything unexpected, in its order."""
        faults, turns = iter(self.faults), iter(self.turns)
        return tuple(
            str(next(faults)) if fork.faults[fork.taken] is not None else next(turns)
            for fork in self.forks
            if fork.taken
        )

    def way(self, about: str, options: Sequence[str]) -> str:
        """Which of several ways it goes that are no faults."""
        return options[self._take(about, options, (None,) * len(options))]

    def fault(self, possible: Sequence[Fault]) -> Fault | None:
        """Whether something goes wrong here, and what; nothing, once enough has."""
        if not possible or len(self.faults) >= self.max_faults:
            return None
        faults = (None, *possible)
        return faults[self._take("", ["goes well", *(fault.kind for fault in possible)], faults)]

    def others(self) -> Iterator[tuple[int, int, Prefix]]:
        """The paths that branch off after the prefix: how many faults and turns they begin with, and their prefix."""
        taken = [fork.taken for fork in self.forks]
        faults = turns = 0
        for index, fork in enumerate(self.forks):
            if index >= len(self.prefix):
                for option in range(1, len(fork.options)):
                    is_fault = fork.faults[option] is not None
                    yield faults + is_fault, turns + (not is_fault), (*taken[:index], option)
            faults += fork.faults[fork.taken] is not None
            turns += fork.taken > 0 and fork.faults[fork.taken] is None

    def _take(self, about: str, options: Sequence[str], faults: tuple[Fault | None, ...]) -> int:
        index = len(self.forks)
        taken = self.prefix[index] if index < len(self.prefix) else 0
        self.forks.append(Fork(options, taken, about, faults))
        return taken
