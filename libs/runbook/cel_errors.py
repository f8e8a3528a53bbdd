"""Refusals of expressions, in words that say what to do. The tree is in `cel.py`."""

import re
from collections.abc import Sequence
from typing import Final

from libs.runbook.cel_values import shown
from libs.runbook.expressions import ExpressionError, TemplateSyntaxError

_FIRST: Final = re.compile(r"ERROR: <input>:(\d+):(\d+): ([^\n]*)")
_UNDECLARED: Final = re.compile(r"undeclared reference to '([^']*)' \(in container ''\)")
_PARTS: Final = {
    "alert": "name, severity, labels, annotations",
    "incident": "id",
    "steps": "<id of an earlier step>.outputs",
}
_ROOTS: Final = "inputs, alert, incident, steps, outputs"


class NotCompiled(TemplateSyntaxError):
    """An expression that cannot be compiled; `line` and `column` count from 1 inside it, and are 0 if unknown."""

    def __init__(self, source: str, why: str, line: int = 0, column: int = 0) -> None:
        place = f"at {line}:{column}: " if line else ""
        super().__init__(f"`{shown(source)}`: {place}{why}")
        self.why = why
        self.line = line
        self.column = column


class NotCondition(ExpressionError):
    """A condition that does not yield a boolean, or of which only data would tell."""

    def __init__(self, source: str, kind: str) -> None:
        why = "only data would tell its type; compare it, such as `… == true`" if kind == "DYN" else f"yields {kind}"
        super().__init__(f"`{shown(source)}`: a condition must be true or false: {why}")
        self.kind = kind


class EvaluationFailed(ExpressionError):
    """An expression has no value here: the step halts, and nothing is assumed."""

    def __init__(self, source: str, why: str) -> None:
        self.why = why.partition("\n")[0][:300]
        super().__init__(f"`{shown(source)}`: {self.why}")


class MustRunElsewhere(ExpressionError):
    """An expression that could take long or grow large; it runs only where it can be stopped."""

    def __init__(self, source: str) -> None:
        super().__init__(f"`{shown(source)}`: runs only in the evaluator's own process")


def failed(source: str, why: str) -> NotCompiled:
    """A refusal without a place."""
    return NotCompiled(source, why)


def explained(source: str, report: str, inputs: Sequence[str]) -> NotCompiled:
    """The library's report as one refusal: the first error, its place, and what to do."""
    found = _FIRST.search(report)
    if found is None:
        why = "is nested too deeply" if "recursion limit" in report else report.partition("\n")[0][:300]
        return NotCompiled(source, why)
    names = [item[1] for item in _UNDECLARED.finditer(report)]
    line, column = int(found[1]), int(found[2])
    if not _UNDECLARED.search(found[3]):
        why = found[3]
    elif _at(source, line, column) == "(":
        why = f"there is no function '{names[0]}' that takes as many arguments"
    else:
        why = _unknown(names[0], inputs)
    return NotCompiled(source, why, line, column)


def _at(source: str, line: int, column: int) -> str:
    """The character at a place, which of a call is its bracket."""
    lines = source.split("\n")
    return lines[line - 1][column - 1 : column] if line <= len(lines) else ""


def _unknown(name: str, inputs: Sequence[str]) -> str:
    root, _, rest = name.partition(".")
    if root == "inputs" and rest:
        declared = f"declared are {', '.join(inputs)}" if inputs else "declare it under inputs"
        return f"there is no input '{rest.partition('.')[0]}'; {declared}"
    if root == "inputs":
        known = ", ".join(f"inputs.{item}" for item in inputs) or "none is declared"
        return f"name a part of inputs with a dot: {known}"
    if root in _PARTS:
        return f"name a part of {root} with a dot: {_PARTS[root]}"
    return f"unknown name '{root}'; known are {_ROOTS}"
