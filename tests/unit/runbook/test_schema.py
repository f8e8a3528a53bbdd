"""The JSON Schema that `rangerctl runbook schema` prints takes what the loader takes, branches and loops included."""

import re
from pathlib import Path
from typing import Any

import jsonschema_rs  # what schemathesis judges with
import pytest
from hypothesis import given, settings

from libs.runbook.schema import json_schema
from libs.runbook.spec import Runbook
from libs.runbook.text import read
from tests.unit.runbook.generated import any_runbooks

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "docs" / name for name in ("runbook-language.md", "authors.md")]
TEXTS = [path.read_text() for path in sorted((ROOT / "runbooks").glob("*.yaml"))]
TEXTS += [text for page in PAGES for text in re.findall(r"```yaml\n(apiVersion.*?)```", page.read_text(), re.DOTALL)]
VALIDATOR = jsonschema_rs.validator_for(json_schema())


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: re.search(r"^id: (\S+)", text, re.MULTILINE)[1])  # type: ignore[index]  # each has one
def test_it_takes_every_runbook_that_is_shipped_or_shown(text: str) -> None:
    assert [str(error) for error in VALIDATOR.iter_errors(read(text).data)] == []


def test_one_value_stands_for_a_list_however_long_its_text_is() -> None:
    assert VALIDATOR.is_valid(read(TEXTS[0]).data | {"triggers": [{"alert": "a" * 1000, "labels": {"team": "x"}}]})


@given(any_runbooks())
@settings(max_examples=50, deadline=None)
def test_it_takes_whatever_the_language_takes(spec: Runbook) -> None:
    assert VALIDATOR.is_valid(spec.to_json())


@pytest.mark.parametrize(
    "change",
    [
        {"risk": "some"},
        {"triggers": [{"alert": []}]},
        {"triggers": [{"alert": ["a"] * 101}]},
        {"steps": []},
        {"steps": [{"id": "a", "type": "dance"}]},
        {"stesp": []},
        {"deadline": "soon"},
    ],
    ids=str,
)
def test_it_refuses_what_has_another_shape(change: dict[str, Any]) -> None:
    assert not VALIDATOR.is_valid(read(TEXTS[0]).data | change)
