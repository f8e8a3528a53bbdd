"""What is wrong with a runbook: where, what, and what to do about it.

RunbookError
├── RunbookInvalid       the text is not a runbook that this version accepts; carries every `Problem`
├── PlanRefused          the spec is good, these inputs are not; carries every `Problem`
├── ExpressionError      (expressions.py) a template that cannot be parsed or has no value
└── ImpossibleFact       (turn.py) a fact about a step that the execution never reached

All are expected refusals; nothing was changed when one is raised.
"""

from collections.abc import Sequence
from dataclasses import dataclass


class RunbookError(Exception):
    """Base of every refusal of this package."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing to change. `line` and `column` count from 1; both are 0 where no text is at hand."""

    path: str
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.line}:{self.column}: " if self.line else ""
        return f"{place}{self.path}: {self.message}" if self.path else f"{place}{self.message}"

    def to_json(self) -> dict[str, str | int]:
        """The problem as JSON-ready data."""
        return {"path": self.path, "message": self.message, "line": self.line, "column": self.column}


class ProblemsFound(RunbookError):
    """Base of refusals that list what is wrong, each on a line of its own."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class RunbookInvalid(ProblemsFound):
    """The text is not a runbook that this version accepts."""


class PlanRefused(ProblemsFound):
    """The runbook is sound, but it cannot be planned with these inputs and facts."""


def dotted(path: Sequence[str | int]) -> str:
    """A path as people read it: `steps[0].with.url`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text
