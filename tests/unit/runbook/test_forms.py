"""What a person may fill in, and what a completed step needs."""

from typing import Any

import pytest

from libs.runbook.forms import described, faults
from libs.runbook.steps import ManualStep

FORM = {
    "p99": {"type": "integer"},
    "sound": {"type": "boolean", "required": False},
    "verdict": {"one_of": ["good", "bad"], "required": False},
}


def step(**fields: Any) -> ManualStep:
    return ManualStep.model_validate({"id": "a", "type": "manual", "instructions": "x", "form": FORM, **fields})


def said(values: dict[str, Any], **fields: Any) -> list[str]:
    return [str(problem) for problem in faults(step(**fields), "succeeded", "", values)]


def test_values_of_the_declared_types_count() -> None:
    assert said({"p99": 4, "sound": True, "verdict": "good"}) == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "values.p99: is missing; give it"),
        ({"p99": "4"}, "values.p99: must be of type integer"),
        ({"p99": True}, "values.p99: must be of type integer"),
        ({"p99": 4.0}, "values.p99: must be of type integer"),
        ({"p99": None}, "values.p99: must be of type integer"),
        ({"p99": 2**53}, "values.p99: integers must lie within ±(2^53 - 1); write a string"),
        ({"p99": 4, "sound": 1}, "values.sound: must be of type boolean"),
        ({"p99": 4, "verdict": "so so"}, "values.verdict: must be one of good, bad"),
        ({"p99": 4, "more": 1}, "values.more: the form has no such field"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], says: str) -> None:
    assert said(values) == [says]


@pytest.mark.parametrize(
    ("value", "says"),
    [("a\x00b", "holds a NUL character"), ("\ud800", "text holds a lone surrogate"), ("x" * 70_000, "the limit is")],
)
def test_text_that_could_not_be_stored_is_refused(value: str, says: str) -> None:
    (line,) = said({"note": value}, form={"note": {}})

    assert says in line


def test_a_success_needs_the_evidence_that_the_step_requires_and_a_failure_does_not() -> None:
    missing = faults(step(evidence="required"), "succeeded", "", {"p99": 4})

    assert [str(problem) for problem in missing] == ["evidence_ref: is missing; this step needs evidence"]
    assert faults(step(evidence="required"), "succeeded", "s3://x", {"p99": 4}) == []
    assert faults(step(evidence="required"), "failed", "", {}) == []


def test_the_form_is_described_with_every_key() -> None:
    assert described(step())["verdict"] == {
        "type": "string",
        "label": "verdict",
        "required": False,
        "one_of": ["good", "bad"],
    }
