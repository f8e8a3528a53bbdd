"""What a runbook must satisfy beyond its shape: a rule a function, each naming the place and what to do.

Only the types of steps in `CARRIED_OUT_TYPES` are carried out: what would be skipped there is refused here. A mutating
step is verified; steps lead forward and each can be reached; templates and conditions name things that exist by then.
Rules about steps are in `rules.py`.
"""

from collections.abc import Collection, Iterator
from typing import Final

from libs.runbook import limit_keys, rules
from libs.runbook.declared import declarations
from libs.runbook.expressions import OPEN, templates
from libs.runbook.graph import walk
from libs.runbook.lint_expressions import Names, condition_faults, expression_faults, source_faults, template_faults
from libs.runbook.problems import Problem, dotted
from libs.runbook.spec import CARRIED_OUT_TYPES, Input, Runbook
from libs.runbook.steps import (
    ActionStep,
    AnyStep,
    ApprovalStep,
    CheckStep,
    LoopStep,
    ManualStep,
    NotifyStep,
    WaitStep,
)

Path = tuple[str | int, ...]


def lint(spec: Runbook, *, types: Collection[str] = CARRIED_OUT_TYPES) -> list[tuple[Path, str]]:
    """Every rule that the spec breaks, as (path, what to do); empty means that it can be published.

    `types` are the step types that are carried out; "approval" among them means that approvals are.
    """
    return [*rules.carried_out(spec, types), *(found for rule in _RULES for found in rule(spec))]


def lint_problems(spec: Runbook, *, types: Collection[str] = CARRIED_OUT_TYPES) -> list[Problem]:
    """`lint` without positions, for specs that did not come from text."""
    return [Problem(dotted(path), message) for path, message in lint(spec, types=types)]


def _risk(spec: Runbook) -> Iterator[tuple[Path, str]]:
    every = [*spec.sequence, *(place.step for place in walk(spec.steps))]
    asks = any(isinstance(step, ApprovalStep) or spec.needs_approval(step.id) for step in every)
    if spec.risk == "high" and not asks:
        yield ("risk",), "is high, but no step needs an approval: add one, or lower the risk"


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


def _escalation(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Only what is known from the beginning may be named: it may fail before any step."""
    if spec.escalation is None:
        return
    names = Names(declarations(spec))
    written = spec.escalation.model_dump(exclude_none=True)
    for path, text in templates({"channels": list(written["channels"]), "message": written.get("message")}):
        yield from ((("escalation", *path), fault) for fault in template_faults(text, names))


def _triggers(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for index, trigger in enumerate(spec.triggers):
        if trigger.alert is None and trigger.severity is None and not trigger.labels:
            yield ("triggers", index), "would match every alert; name an alert, a severity or a label"


def _references(spec: Runbook) -> Iterator[tuple[Path, str]]:
    for place in walk(spec.steps):
        names, own = Names.at(spec, place), Names.at(spec, place, own_outputs=True)
        for path, text in _step_templates(place.step):
            for message in template_faults(text, own if path[0] == "rollback" else names):
                yield (*place.position, *path), message
        for key, condition in rules.conditions(place.step):
            if OPEN not in condition:  # written as a template: rules.py says so
                for message in condition_faults(condition, own if key in {"expect", "probe.took_effect"} else names):
                    yield (*place.position, *key.split(".")), message
        for name, source in place.step.captures.items():
            for message in expression_faults(source, own):
                yield (*place.position, "capture", name), message


def _step_templates(step: AnyStep) -> Iterator[tuple[Path, str]]:
    match step:
        case ActionStep():
            yield from _action_templates(step)
        case CheckStep():
            yield from templates(step.arguments, ("with",))
        case NotifyStep():
            yield from templates({"channel": step.channel, "message": step.message})
        case WaitStep():
            yield from templates({"for": step.duration, "seconds": step.seconds, "until": step.until})
        case LoopStep():
            yield from templates({"over": step.over if isinstance(step.over, str) else None})
        case ManualStep():
            yield ("instructions",), step.instructions
        case ApprovalStep():
            yield ("prompt",), step.prompt
    if isinstance(step, ActionStep | ManualStep) and step.approval is not None and step.approval.prompt is not None:
        yield ("approval", "prompt"), step.approval.prompt


def _action_templates(step: ActionStep) -> Iterator[tuple[Path, str]]:
    yield from templates(step.arguments, ("with",))
    if step.resource is not None:
        yield ("resource",), step.resource
    if step.target is not None:
        yield ("target", "tags", "url"), step.target.tags.url
    if step.rollback is not None:
        yield from templates(step.rollback.arguments, ("rollback", "with"))
    if step.probe is not None:
        yield from templates(step.probe.arguments, ("probe", "with"))


_RULES: Final = (
    _risk, _inputs, _escalation, _triggers, limit_keys.faults, rules.ids, rules.count, rules.order, rules.steps,
    rules.verification, _references,
)  # fmt: skip
