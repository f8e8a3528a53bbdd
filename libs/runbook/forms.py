"""Forms of manual and approval steps: whether what a person filled in may become the step's outputs."""

from collections.abc import Iterator, Mapping
from typing import Any, Final, Literal

from libs.runbook.canonical import OutsideProfile, canonical
from libs.runbook.elements import VALUE_TYPES, FormField
from libs.runbook.problems import Problem
from libs.runbook.steps import ApprovalStep, ManualStep

MAX_VALUES_BYTES: Final = 64 * 1024
Form = Mapping[str, FormField]


def faults(
    step: ManualStep, outcome: Literal["succeeded", "failed"], evidence_ref: str, values: Mapping[str, Any]
) -> list[Problem]:
    """What is wrong with a completion; empty means that it counts.

    A failure needs neither evidence nor the required fields: there may be nothing to show. What is given is of the
    declared type exactly, and names no field that the form does not have.
    """
    missing: list[Problem] = []
    if outcome == "succeeded" and step.evidence == "required" and not evidence_ref:
        missing.append(Problem("evidence_ref", "is missing; this step needs evidence"))
    return missing + filled_faults(step.form, values, complete=outcome == "succeeded")


def filled_faults(form: Form, values: Mapping[str, Any], *, complete: bool = True) -> list[Problem]:
    """What is wrong with what was filled in; empty means that it counts. `complete`: no required field is left out."""
    found = [Problem(f"values.{name}", "the form has no such field") for name in sorted(set(values) - set(form))]
    if complete:
        left_out = [name for name, declared in form.items() if declared.required and name not in values]
        found += [Problem(f"values.{name}", "is missing; give it") for name in left_out]
    for name, declared in form.items():
        if name in values:
            found += [Problem(f"values.{name}", message) for message in _value_faults(declared, values[name])]
    return found or _size_faults(values)


def read(form: Mapping[str, Mapping[str, Any]]) -> dict[str, FormField]:
    """The form that `described` wrote.

    Raises:
        pydantic.ValidationError: it did not.
    """
    fields = {name: {**field, "one_of": field.get("one_of") or None} for name, field in form.items()}
    return {name: FormField.model_validate(field) for name, field in fields.items()}


def described(step: ManualStep | ApprovalStep) -> dict[str, dict[str, Any]]:
    """The form as JSON-ready data, every key written out."""
    return {
        name: {
            "type": declared.type,
            "label": declared.label or name,
            "required": declared.required,
            "one_of": list(declared.one_of or ()),
        }
        for name, declared in step.form.items()
    }


def _value_faults(declared: FormField, value: Any) -> Iterator[str]:
    if type(value) is not VALUE_TYPES[declared.type]:
        yield f"must be of type {declared.type}"
    elif declared.one_of is not None and value not in declared.one_of:
        yield f"must be one of {', '.join(str(item) for item in declared.one_of)}"
    elif isinstance(value, str) and "\x00" in value:
        yield "holds a NUL character"
    else:
        try:
            canonical(value)
        except OutsideProfile as error:
            yield error.why


def _size_faults(values: Mapping[str, Any]) -> list[Problem]:
    size = len(canonical(values))
    return [] if size <= MAX_VALUES_BYTES else [Problem("values", f"are {size} bytes long; the limit is 64 KiB")]
