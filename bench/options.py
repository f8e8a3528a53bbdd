"""How a bench is run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

T = TypeVar("T")


def _say(text: str) -> None:
    sys.stderr.write(f"  {text}\n")
    sys.stderr.flush()


def _ignore(_pids: Mapping[str, int]) -> None:
    return


@dataclass(frozen=True, slots=True)
class Options:
    """`quick` takes the smaller sizes, `tiny` those of a smoke test, whose figures mean nothing.

    `recorder` hears the processes that are about to be measured, by name: the profiler.
    """

    quick: bool = False
    tiny: bool = False
    workers: int = 2
    tell: Callable[[str], None] = _say
    recorder: Callable[[Mapping[str, int]], None] = field(default=_ignore, repr=False)

    def pick(self, full: T, quick: T, tiny: T) -> T:
        """The size for this run."""
        return tiny if self.tiny else quick if self.quick else full

    def measured(self, pids: Mapping[str, int]) -> None:
        """Say which processes are measured from now on."""
        self.recorder(pids)
