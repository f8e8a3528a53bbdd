"""What lint asks of steps: where they lead, what is carried out, and what each type needs."""

from collections.abc import Collection, Iterator
from typing import Final

from libs.runbook.elements import VALUE_TYPES
from libs.runbook.expressions import OPEN
from libs.runbook.graph import END
from libs.runbook.spec import RESERVED_IDS, Runbook
from libs.runbook.steps import STEP_TYPES, ActionStep, AnyStep, CheckStep, ManualStep

Path = tuple[str | int, ...]
Fault = tuple[str, str]
_NO_APPROVALS: Final = "high risk needs an approval, which this version cannot carry out"
KEYWORDS: Final = ("stop", "continue")


def carried_out(spec: Runbook, types: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Nothing is in a runbook that would be skipped when it runs; `types` are the step types that are carried out."""
    approvals = "approval" in types
    if spec.risk == "high" and not approvals:
        yield ("risk",), _NO_APPROVALS
    for index, step in enumerate(spec.steps):
        if step.type not in types:
            known = ", ".join(kind for kind in STEP_TYPES if kind in types)
            message = f"'{step.type}' is not carried out by this version; it carries out: {known}"
            yield ("steps", index, "type"), message
        elif not approvals and step.own_risk == "high":
            yield ("steps", index, "risk"), _NO_APPROVALS
        elif not approvals and step.own_approval is not None:
            key = "irreversible" if _irreversible(step) else "approval"
            yield ("steps", index, key), "forces an approval, which this version cannot carry out"


def ids(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Ids are unique, and no words of the language."""
    seen: set[str] = set()
    for index, step in enumerate(spec.steps):
        if step.id in seen:
            yield ("steps", index, "id"), f"'{step.id}' is used twice; ids are unique"
        if step.id in RESERVED_IDS:
            yield ("steps", index, "id"), f"'{step.id}' is a word of the language; choose another id"
        seen.add(step.id)
    if "continue" in seen and any(step.on_failure == "continue" for step in spec.steps):
        yield ("steps",), "'continue' is the id of a step and stands in an on_failure; choose another id"


def order(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Steps lead forward only, so that every execution ends, and each can be reached."""
    names = [step.id for step in spec.steps]
    if len(set(names)) != len(names):
        return
    astray = list(_astray(spec, names))
    yield from astray
    reached = spec.reachable()
    for index, step in enumerate(spec.steps):
        if step.id not in reached and not astray:
            yield ("steps", index), f"'{step.id}' is never reached; remove it, or change an on_success before it"


def steps(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Every step's own rules."""
    for index, step in enumerate(spec.steps):
        for key, message in _faults(spec, step):
            yield ("steps", index, *key.split(".")), message


def _astray(spec: Runbook, names: list[str]) -> Iterator[tuple[Path, str]]:
    for index, step in enumerate(spec.steps):
        later = names[index + 1 :]
        if step.on_success is not None and step.on_success not in {END, *later}:
            yield ("steps", index, "on_success"), f"'{step.on_success}' is not the id of a later step, nor end"
        if step.on_failure == "ask":
            yield ("steps", index, "on_failure"), "'ask' is not carried out by this version; write stop or continue"
        elif step.on_failure not in {*KEYWORDS, *later}:
            known = ", ".join(KEYWORDS)
            yield ("steps", index, "on_failure"), f"'{step.on_failure}' is neither {known} nor the id of a later step"


def _faults(spec: Runbook, step: AnyStep) -> Iterator[Fault]:
    for key, condition in conditions(step):
        if OPEN in condition:
            yield key, "is a condition, not a template; write it without ${{ }}"
    if isinstance(step, ActionStep):
        yield from _action(spec, step)
    elif isinstance(step, CheckStep):
        yield from _check(step)
    elif isinstance(step, ManualStep):
        yield from _form(step)


def conditions(step: AnyStep) -> Iterator[tuple[str, str]]:
    """The step's `when` and `expect`, where it has them."""
    if step.when is not None:
        yield "when", step.when
    if isinstance(step, CheckStep):
        yield "expect", step.expect


def _irreversible(step: AnyStep) -> bool:
    return isinstance(step, ActionStep) and step.irreversible


def _action(spec: Runbook, step: ActionStep) -> Iterator[Fault]:
    if step.rollback is not None:
        yield "rollback", "is not carried out by this version; a failure stops, remove it"
    if step.verify is not None:
        yield "verify", "is not carried out for a single step by this version; write it at the top of the runbook"
    if step.irreversible and not step.mutating:
        yield "irreversible", "does not fit effect: read, which changes nothing"
    if step.mutating and spec.verify is None and step.verify is None:
        yield "effect", f"'{step.effect}' changes something, so the runbook needs verify: say how success is seen"
    if step.mutating and step.resource is None:
        yield "resource", f"is missing: '{step.effect}' changes something, so name the lock that keeps others away"
    if step.effect == "unsafe" and step.retry.attempts > 1:
        yield "retry", "an unsafe step is never tried again; remove it, or use an effect that may repeat"


def _check(step: CheckStep) -> Iterator[Fault]:
    if step.action is not None:
        return
    for key, given in (("with", step.arguments), ("capture", step.captures)):
        if given:
            yield key, "belongs to an action, and this check names none; remove it, or name the action"
    if step.retry.attempts > 1:
        yield "retry", "a check without an action finds the same again; remove it, or name the action"


def _form(step: ManualStep) -> Iterator[Fault]:
    for name, declared in step.form.items():
        expected = VALUE_TYPES[declared.type]
        if any(type(value) is not expected for value in declared.one_of or ()):
            yield f"form.{name}.one_of", f"must be of type {declared.type}"
