"""An occasion made up for a runbook: an alert that its first trigger fits, and a value for every input."""

from collections.abc import Mapping
from typing import Any, Final

from libs.runbook.elements import FormField
from libs.runbook.expressions import ExpressionError, parse, parse_reference
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import Input, Runbook
from libs.runbook.steps import ActionStep, AnyStep, ApprovalStep, ManualStep
from libs.runbook.triggers import AlertFacts

INCIDENT: Final = "00000000-0000-7000-8000-000000000000"


def occasion(spec: Runbook) -> PlanFacts:
    """An alert that the runbook is for, in an incident; none for a runbook that needs none."""
    needs = bool(spec.triggers) or spec.verify is not None
    needs = needs or any(_needs_alert(place.step) for place in spec.graph.places.values())
    if not needs:
        return PlanFacts()
    trigger = spec.triggers[0] if spec.triggers else None
    name = trigger.alert[0] if trigger and trigger.alert else "made_up"
    severity = trigger.severity[0] if trigger and trigger.severity else "high"
    labels = {key: values[0] for key, values in (trigger.labels if trigger else {}).items()}
    read = {"labels": labels, "annotations": {}}
    for field, key in _read_by_inputs(spec):
        read[field].setdefault(key, f"<{key}>")
    return PlanFacts(AlertFacts(name, severity, read["labels"], read["annotations"]), INCIDENT)


def _needs_alert(step: AnyStep) -> bool:
    return step.requires_firing or (isinstance(step, ActionStep) and step.verify is not None)


def inputs(spec: Runbook) -> dict[str, Any]:
    """A value for every input: its default, the first that is allowed, or one of its type."""
    return {
        name: _value(name, declared) if declared.default is None else declared.default
        for name, declared in spec.inputs.items()
    }


def filled_in(step: AnyStep) -> dict[str, Any]:
    """Some value for each field of a step's form, where it has one."""
    form = step.form if isinstance(step, ManualStep | ApprovalStep) else {}
    return {name: _value(name, declared) for name, declared in form.items()}


def _value(name: str, declared: Input | FormField) -> str | int | bool:
    if declared.one_of is not None:
        return declared.one_of[0]
    made_up: Mapping[str, str | int | bool] = {"string": f"<{name}>", "integer": 1, "boolean": True}
    return made_up[declared.type]


def _read_by_inputs(spec: Runbook) -> list[tuple[str, str]]:
    """The labels and annotations that inputs are read from."""
    found: list[tuple[str, str]] = []
    for declared in spec.inputs.values():
        try:
            sources = parse(declared.source or "").expressions
            reference = parse_reference(sources[0].source) if sources else None
        except ExpressionError:
            continue  # computed from several; what it lacks is left open
        match (reference.root, *reference.path) if reference is not None else ():
            case ("alert", "labels" | "annotations" as field, str() as key, *_):
                found.append((field, key))
            case _:
                pass
    return found
