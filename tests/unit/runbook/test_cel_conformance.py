"""The core language, case by case: a newer library that answers otherwise is noticed before a runbook does."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.runbook import cel
from libs.runbook.cel import bind, compile_expression
from libs.runbook.cel_errors import EvaluationFailed, NotCompiled
from tests.unit.runbook.cel_samples import DECLARED, scope, value_of

CASES: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("cel_conformance.yaml").read_text())
OUTPUTS: dict[str, Any] = CASES["outputs"]
VALUES = [
    (source, value)
    for group in ("integers", "comparisons", "logic", "strings", "lists", "maps", "math_and_times")
    for source, value in CASES[group]
]


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_an_expression_has_its_value(source: str, value: Any) -> None:
    found = value_of(source, **OUTPUTS)

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(("source", "value"), VALUES)
def test_it_has_the_same_value_in_plain_cel(source: str, value: Any) -> None:
    """The wrapper is stricter than the language, and never says anything else."""
    data = bind(compile_expression(source, DECLARED), scope(**OUTPUTS)).data

    assert cel._environment(DECLARED).compile(source).eval(data=data).plain_value() == value


@pytest.mark.parametrize("source", [str(source) for group in ("errors", "absorption") for source in CASES[group]])
def test_an_expression_without_a_value_fails(source: str) -> None:
    with pytest.raises(EvaluationFailed):
        value_of(source, **OUTPUTS)


@pytest.mark.parametrize("source", [str(source) for source in CASES["refused"]])
def test_an_expression_that_cannot_be_is_refused(source: str) -> None:
    with pytest.raises(NotCompiled):
        compile_expression(source, DECLARED)


def test_the_sample_is_of_some_size() -> None:
    assert len(VALUES) + sum(len(CASES[group]) for group in ("errors", "absorption", "refused")) >= 200
