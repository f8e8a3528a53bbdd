"""Templates: what is text, what is data, and what is missing."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runbook.cel import Declarations, evaluator
from libs.runbook.expressions import (
    Expression,
    MissingValue,
    NotText,
    Template,
    TemplateSyntaxError,
    evaluate_reference,
    is_reference,
    parse,
    render,
)

SCOPE: dict[str, Any] = {
    "inputs": {"shard": "shard-1", "count": 3, "dry": False, "hosts": ["x", "y"], "ratio": 0.5, "nothing": None},
    "alert": {"labels": {"zone-a": "eu", 'quo"te': "q", "it's": "s", "a}}b": "braces"}},
    "steps": {"probe": {"outputs": {"list": [{"id": 7}]}}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("plain", "plain"),
        ("", ""),
        ("${{ inputs.shard }}", "shard-1"),
        ("${{inputs.shard}}", "shard-1"),
        ("ingest/${{ inputs.shard }}/x", "ingest/shard-1/x"),
        ("${{ inputs.shard }}${{ inputs.count }}", "shard-13"),
        ("n=${{ inputs.count }}, dry=${{ inputs.dry }}", "n=3, dry=false"),
        ('${{ alert.labels["zone-a"] }}', "eu"),
        ("${{ alert.labels['zone-a'] }}", "eu"),
        (r'${{ alert.labels["quo\"te"] }}', "q"),
        (r"${{ alert.labels['it\'s'] }}", "s"),
        ('${{ alert.labels["a}}b"] }}', "braces"),
        ("${{ steps.probe.outputs.list[0].id }}", 7),
        ("$${{ inputs.shard }}", "${{ inputs.shard }}"),
        ("costs $5 {{ not ours }} }}", "costs $5 {{ not ours }} }}"),
    ],
)
def test_templates_are_filled_in(text: str, value: Any) -> None:
    assert render(text, SCOPE) == value


@pytest.mark.parametrize("name", ["count", "dry", "hosts", "ratio", "nothing"])
def test_a_template_that_is_one_reference_keeps_its_type(name: str) -> None:
    assert render(f"${{{{ inputs.{name} }}}}", SCOPE) is SCOPE["inputs"][name]


def test_templates_are_filled_in_through_lists_and_objects_but_not_in_keys() -> None:
    value = {"${{ inputs.shard }}": ["${{ inputs.shard }}", {"n": "${{ inputs.count }}"}], "same": True}

    assert render(value, SCOPE) == {"${{ inputs.shard }}": ["shard-1", {"n": 3}], "same": True}


@given(st.text(max_size=60), st.text(max_size=10), st.text(max_size=10))
def test_data_stays_data(hostile: str, before: str, after: str) -> None:
    for data in (hostile, f"${{{{ inputs.{hostile} }}}}", "${{ inputs.secret }}", f"}}}}{hostile}${{{{"):
        scope = {"inputs": {"x": data, "secret": "leaked"}}
        around = before.replace("$", "").replace("{", ""), after.replace("$", "").replace("{", "")

        assert render(f"{around[0]}${{{{ inputs.x }}}}{around[1]}", scope) == f"{around[0]}{data}{around[1]}"


@pytest.mark.parametrize(
    ("reference", "missing_at"),
    [
        ("inputs.shrad", "inputs.shrad"),
        ("inputs.shard.name", "inputs.shard.name"),
        ("inputs.hosts[2]", "inputs.hosts[2]"),
        ("inputs.hosts.first", "inputs.hosts.first"),
        ("inputs[0]", "inputs[0]"),
        ("secrets.token.value", "secrets"),
        ("steps.other.outputs.list", "steps.other"),
        ("inputs.shard.__class__", "inputs.shard.__class__"),
    ],
)
def test_a_missing_path_is_an_error_that_names_it(reference: str, missing_at: str) -> None:
    with pytest.raises(MissingValue) as missing:
        render(f"x${{{{ {reference} }}}}", SCOPE)

    assert (missing.value.reference, missing.value.missing_at) == (reference, missing_at)


@pytest.mark.parametrize(
    "source",
    ["", "1", "a b", "a..b", "a.", "a[", "a[-1]", "a[01]", "a['x]", "a + b", "a()", "a.b c", "ä", "a[b]", 'a["\\x"]'],
)
def test_what_is_no_reference_is_refused(source: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        evaluate_reference(source, SCOPE)


@pytest.mark.parametrize("name", ["hosts", "ratio", "nothing"])
def test_text_holds_only_what_has_one_way_to_be_written(name: str) -> None:
    with pytest.raises(NotText, match=f"inputs.{name} is "):
        render(f"x ${{{{ inputs.{name} }}}}", SCOPE)


@pytest.mark.parametrize("text", ["${{", "${{ }}", "${{ inputs.x }", "a ${{ 'open }} b", "${{ " + "x" * 5000 + " }}"])
def test_a_template_that_cannot_be_parsed_is_refused(text: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        parse(text)


def test_braces_and_quotes_of_an_expression_do_not_end_it() -> None:
    assert parse("${{ {'a': {'b': \"}}\"}}.a }}!") == Template((Expression("{'a': {'b': \"}}\"}}.a"), "!"))


def test_evaluation_goes_through_the_function_passed_in() -> None:
    def shout(source: str, scope: Mapping[str, Any]) -> Any:
        return f"{source.upper()} of {len(scope)}"

    assert render(["${{ a + b }}", "<${{ c }}>"], SCOPE, shout) == ["A + B of 3", "<C of 3>"]


@pytest.mark.parametrize(("source", "value"), [("true", True), ("false", False)])
def test_a_word_that_is_a_value_is_no_reference(source: str, value: bool) -> None:
    evaluate = evaluator(Declarations())

    assert not is_reference(source)
    assert evaluate(source, {}) is value
    assert is_reference("true_story.ending")
