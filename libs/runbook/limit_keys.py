"""The keys of a runbook's limits: what they may name, and what they are for one execution."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from libs.runbook.declared import declarations
from libs.runbook.expressions import Evaluate, ExpressionError, NotText, render
from libs.runbook.lint_expressions import Names, template_faults
from libs.runbook.problems import Problem
from libs.runbook.spec import Runbook

MAX_KEY: Final = 512
"""Characters of a key: as many as a resource's name."""
CHANGING: Final = ("budget", "cooldown", "breaker")
Path = tuple[str | int, ...]


def templates_of(spec: Runbook) -> dict[str, str]:
    """The keys as they are written, by the name of their limit."""
    found = {
        "concurrency": spec.concurrency.key if spec.concurrency else None,
        "rate_limit": spec.rate_limit.key if spec.rate_limit else None,
        "budget": spec.budget.key if spec.budget else None,
    }
    return {name: key for name, key in found.items() if key is not None}


def faults(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """What is wrong with the limits: keys that name what is not there yet, and guards of changes where none is made."""
    names = Names(declarations(spec))
    for name, key in templates_of(spec).items():
        for message in template_faults(key, names):
            yield (name, "key"), f"{message}; a key may name inputs, the alert and the incident"
    changes = any(place.step.mutating for place in spec.graph.places.values())
    for name in CHANGING:
        if getattr(spec, name) is not None and not changes:
            yield (name,), "guards changes, and no step changes anything; remove it"


def rendered_keys(
    spec: Runbook, scope: Mapping[str, Any], evaluate: Evaluate
) -> tuple[Mapping[str, str], list[Problem]]:
    """The keys of one execution by the name of their limit, and what is wrong with those that have no value."""
    keys: dict[str, str] = {}
    problems: list[Problem] = []
    for name, template in templates_of(spec).items():
        try:
            keys[name] = _text(render(template, scope, evaluate))
        except ExpressionError as error:
            problems.append(Problem(f"{name}.key", str(error)))
    return keys, problems


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, str) or not 1 <= len(value) <= MAX_KEY or "\x00" in value:
        raise NotText(f"must be text of 1 to {MAX_KEY} characters, or a number")
    return value
