"""What a runbook must satisfy beyond its shape: a rule a function, each naming the place and what to do.

Rules of this version: only `mode: auto` of low or medium risk is carried out, so whatever would force an approval is
refused here rather than skipped there; a mutating step is verified; steps run forward and each can be reached;
templates name things that exist by then.
"""

from collections.abc import Iterator
from typing import Final

from libs.runbook.expressions import templates
from libs.runbook.lint_expressions import Names, source_faults, template_faults
from libs.runbook.problems import Problem, dotted
from libs.runbook.spec import RESERVED_IDS, ActionStep, Input, Runbook

Path = tuple[str | int, ...]


def lint(spec: Runbook) -> list[tuple[Path, str]]:
    """Every rule that the spec breaks, as (path, what to do); empty means that it can be published."""
    return [found for rule in _RULES for found in rule(spec)]


def lint_problems(spec: Runbook) -> list[Problem]:
    """`lint` without positions, for specs that did not come from text."""
    return [Problem(dotted(path), message) for path, message in lint(spec)]


def _mode(spec: Runbook) -> Iterator[tuple[Path, str]]:
    if spec.mode != "auto":
        yield ("mode",), f"'{spec.mode}' is not carried out by this version; write auto"
    if spec.risk == "high":
        yield ("risk",), "high risk needs an approval, which this version cannot carry out"
    for index, step in enumerate(spec.steps):
        if step.risk == "high":
            yield ("steps", index, "risk"), "high risk needs an approval, which this version cannot carry out"


def _inputs(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for name, declared in spec.inputs.items():
        path: Path = ("inputs", name)
        if not declared.required and declared.default is None:
            yield path, "an optional input needs a default, so that every reference to it has a value"
        yield from (((*path, "default"), why) for why in _default_faults(declared))
        if declared.source is not None:
            yield from (((*path, "from"), why) for why in source_faults(declared))


def _default_faults(declared: Input) -> Iterator[str]:
    expected = {"string": str, "integer": int, "boolean": bool}[declared.type]
    offered = [declared.default] if declared.default is not None else []
    if any(type(value) is not expected for value in [*offered, *(declared.one_of or ())]):
        yield f"default and one_of must be of type {declared.type}"
    elif declared.one_of is not None and any(value not in declared.one_of for value in offered):
        yield "the default must be one of one_of"


def _triggers(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for index, trigger in enumerate(spec.triggers):
        if trigger.alert is None and trigger.severity is None and not trigger.labels:
            yield ("triggers", index), "would match every alert; name an alert, a severity or a label"


def _ids(spec: Runbook) -> Iterator[tuple[Path, str]]:
    seen: set[str] = set()
    for index, step in enumerate(spec.steps):
        if step.id in seen:
            yield ("steps", index, "id"), f"'{step.id}' is used twice; ids are unique"
        if step.id in RESERVED_IDS:
            yield ("steps", index, "id"), f"'{step.id}' is a word of the language; choose another id"
        seen.add(step.id)


def _order(spec: Runbook) -> Iterator[tuple[Path, str]]:
    ids = [step.id for step in spec.steps]
    if len(set(ids)) != len(ids):
        return
    for index, step in enumerate(spec.steps):
        if step.on_success is not None and step.on_success not in ids[index + 1 :]:
            yield ("steps", index, "on_success"), f"'{step.on_success}' is not the id of a later step"
            return
    reached, here = set[str](), ids[0] if ids else None
    while here is not None:
        reached.add(here)
        here = spec.successor(here)
    for index, step in enumerate(spec.steps):
        if step.id not in reached:
            yield ("steps", index), f"'{step.id}' is never reached; remove it, or change an on_success before it"


def _steps(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for index, step in enumerate(spec.steps):
        for key, message in _step_faults(spec, step):
            yield ("steps", index, *([key] if key else [])), message


def _step_faults(spec: Runbook, step: ActionStep) -> Iterator[tuple[str, str]]:
    if step.on_failure != "stop":
        yield "on_failure", f"'{step.on_failure}' is not carried out by this version; write stop, or leave it out"
    if step.irreversible:
        yield "irreversible", "forces an approval, which this version cannot carry out"
    if step.rollback is not None:
        yield "rollback", "is not carried out by this version; a failure stops, remove it"
    if step.verify is not None:
        yield "verify", "is not carried out for a single step by this version; write it at the top of the runbook"
    if step.mutating and spec.verify is None and step.verify is None:
        yield "effect", f"'{step.effect}' changes something, so the runbook needs verify: say how success is seen"
    if step.mutating and step.resource is None:
        yield "resource", f"is missing: '{step.effect}' changes something, so name the lock that keeps others away"
    if step.effect == "unsafe" and step.retry.attempts > 1:
        yield "retry", "an unsafe step is never tried again; remove it, or use an effect that may repeat"


def _references(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for index, step in enumerate(spec.steps):
        names = Names.at(spec, index)
        for path, text in _step_templates(step):
            for message in template_faults(text, names):
                yield ("steps", index, *path), message


def _step_templates(step: ActionStep) -> Iterator[tuple[Path, str]]:
    yield from templates(step.arguments, ("with",))
    if step.resource is not None:
        yield ("resource",), step.resource
    if step.target is not None:
        yield ("target", "tags", "url"), step.target.tags.url


_RULES: Final = (_mode, _inputs, _triggers, _ids, _order, _steps, _references)
