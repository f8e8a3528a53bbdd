"""Sources and data meant to break an evaluator: each is refused, or answered as the language says; nothing crashes."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.runbook.cel import compile_expression, evaluate, run
from libs.runbook.cel_errors import EvaluationFailed, NotCompiled
from libs.runbook.cel_values import ResultRefused, ScopeRefused
from libs.runbook.expressions import ExpressionError, evaluate_reference
from tests.unit.runbook.cel_samples import DECLARED, scope, value_of


@pytest.mark.parametrize(
    "source",
    [
        "(" * 10_000 + "1" + ")" * 10_000,
        '"' + "a" * 1_000_000 + '"',
        "[" * 10_000,
        "!" * 5_000 + "true",
    ],
)
def test_what_is_too_long_is_refused_before_it_is_parsed(source: str) -> None:
    with pytest.raises(NotCompiled, match="is longer than 4096 bytes") as error:
        compile_expression(source, DECLARED)

    assert len(str(error.value)) < 200


@pytest.mark.parametrize(
    "source",
    [
        "(" * 2000 + "1" + ")" * 2000,
        "[" * 2000 + "]" * 2000,
        "{1:" * 800 + "1" + "}" * 800,
        "1" + "+1" * 2000,
        "[0]" + "[0]" * 1300,
        "f(" * 1300 + ")" * 1300,
        "true ? " * 500 + "1" + " : 1" * 500,
        "dyn(1)" + ".a" * 2000,
        "-(" * 1300 + "1" + ")" * 1300,
    ],
)
def test_what_is_nested_too_deeply_is_refused(source: str) -> None:
    with pytest.raises(ExpressionError):
        value_of(source)


def test_a_chain_of_alternatives_may_be_long() -> None:
    source = " || ".join(f"inputs.count == {number}" for number in range(100, 200))

    assert value_of(source) is False
    assert value_of(f"{source} || inputs.count == 3") is True


def test_seven_loops_in_each_other_run_out_of_their_budget() -> None:
    ten = "[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]"
    source = "1"
    for name in "abcdefg":
        source = f"{ten}.map({name}, {source})"

    with pytest.raises(EvaluationFailed, match="budget"):
        value_of(source)


def test_doubling_a_string_ends_at_the_size_of_a_result() -> None:
    doubling = "inputs.shard" + ".replace('', 'xx')" * 12

    with pytest.raises(ResultRefused, match="yields more than 262144 bytes"):
        value_of(doubling)


def test_data_that_contains_itself_is_refused() -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle

    with pytest.raises(ScopeRefused, match="nested deeper than 16"):
        value_of("steps.probe.outputs.x == steps.probe.outputs.x", x=cycle)


def test_data_twenty_thousand_levels_deep_is_refused() -> None:
    deep: Any = 0
    for _ in range(20_000):
        deep = [deep]

    with pytest.raises(ScopeRefused, match="nested deeper than 16"):
        value_of("steps.probe.outputs.x == 0", x=deep)


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\ud800", "\udc00\ud800"])
def test_text_that_the_library_would_cut_or_choke_on_is_refused_wherever_it_stands(text: str) -> None:
    for data in (text, [text], {"k": text}, {text: 1}):
        with pytest.raises(ScopeRefused):
            value_of("steps.probe.outputs.x == 'a'", x=data)


def test_a_constant_may_hold_nul_and_is_not_cut() -> None:
    assert value_of(r'"a\u0000b" == "a"') is False
    assert value_of(r'size("a\u0000b")') == 3
    assert value_of(r'"a\u0000b"') == "a\x00b"


@pytest.mark.parametrize("source", ["true\x00 && false", "'a\x00b' == 'a'", "'\ud800' == 'a'", "inputs.shard\udfff"])
def test_a_source_that_the_library_would_cut_or_choke_on_is_refused(source: str) -> None:
    with pytest.raises(NotCompiled):
        compile_expression(source, DECLARED)


def test_a_key_with_nul_is_not_taken_for_its_beginning() -> None:
    with pytest.raises(ScopeRefused, match="NUL"):
        value_of(r'steps.probe.outputs["a\u0000b"] == 1', **{"a\x00b": 1, "a": 2})


def test_equal_keys_of_several_types_are_found_by_their_value() -> None:
    assert value_of("{0: 1, 0u: 2}[0.0]") == 1


@pytest.mark.parametrize("source", ["{'a': 1, 'a': 2}", "{1: 1, 1: 2}", "{true: 1, true: 2}"])
def test_a_key_written_twice_is_an_error(source: str) -> None:
    with pytest.raises(EvaluationFailed, match="duplicate key"):
        value_of(f"size({source})")


@pytest.mark.parametrize(
    ("text", "utc"),
    [
        ("2026-01-01T00:00:00Z", 0),
        ("2026-01-01T00:00:00+02:00", 22),
        ("2026-01-01T00:00:00-05:30", 5),
        ("2026-07-01T23:59:59.999999999Z", 23),
    ],
)
def test_times_carry_their_zone(text: str, utc: int) -> None:
    assert value_of(f"timestamp('{text}').getHours()") == utc


@pytest.mark.parametrize(
    "source",
    [
        "duration('999999999999999h') > duration('1s')",
        "duration('9223372036s') + duration('9223372036s') > duration('1s')",
        "timestamp('9999-12-31T23:59:59Z') + duration('1s') > timestamp('2026-01-01T00:00:00Z')",
        "timestamp('0001-01-01T00:00:00Z') - duration('1s') < timestamp('2026-01-01T00:00:00Z')",
        "timestamp('10000-01-01T00:00:00Z') > timestamp('2026-01-01T00:00:00Z')",
    ],
)
def test_times_that_overflow_are_errors(source: str) -> None:
    with pytest.raises(EvaluationFailed):
        value_of(source)


@pytest.mark.parametrize(
    ("text", "size"), [("é", 1), ("e\u0301", 2), ("👨\u200d👩\u200d👧", 5), ("\U0010ffff", 1), ("ß", 1)]
)
def test_text_is_counted_in_code_points(text: str, size: int) -> None:
    assert value_of("size(steps.probe.outputs.t)", t=text) == size
    assert value_of("(steps.probe.outputs.t + 'x').indexOf('x')", t=text) == size
    assert value_of("(steps.probe.outputs.t + 'x').charAt(size(steps.probe.outputs.t))", t=text) == "x"


PARTS = st.sampled_from(["a", "b-c", "zone", "x"])
DATA = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_characters="\x00", codec="utf-8"), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PARTS, inner, max_size=3),
    max_leaves=10,
)
WILD = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=3) | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(PARTS | st.text(max_size=3) | st.integers(), inner, max_size=3)
    ),
    max_leaves=12,
)
SOURCES = st.sampled_from(
    [
        "[steps.probe.outputs.x]",
        "steps.probe.outputs.x == steps.probe.outputs.x",
        "steps.probe.outputs.x.zone + 1 > 0 || true",
        "steps.probe.outputs.x.exists(i, i == 1)",
        "has(steps.probe.outputs.x.zone) && size(steps.probe.outputs.x.zone) > 1",
        "string(steps.probe.outputs.x)",
        "int(steps.probe.outputs.x) + inputs.count",
        "inputs.shard + alert.labels.zone",
        "alert.labels.map(k, alert.labels[k])",
        "'%s'.format([steps.probe.outputs.x])",
        "{'a': steps.probe.outputs, 'b': [steps.probe.outputs.x]}",
        "steps.probe.outputs.x[0]",
        "steps.probe.outputs.x > 1 ? inputs.count : -inputs.count",
    ]
)


@given(SOURCES, WILD, WILD, WILD)
def test_any_scope_has_a_value_or_a_typed_error(source: str, output: Any, given_input: Any, labels: Any) -> None:
    wild = scope(x=output)
    wild["inputs"]["count"] = given_input
    wild["alert"]["labels"] = labels

    try:
        found = evaluate(compile_expression(source, DECLARED), wild, run)
    except ExpressionError:
        return
    assert type(found) in {str, int, bool, list, dict, type(None)}


@given(
    st.text(max_size=40)
    | st.lists(
        st.sampled_from([*"()[]{}.,?:!-+*/%<>=&|'\"1a ", "inputs.", "has(", "in ", "map(x,", "true"]), max_size=25
    ).map("".join)
)
def test_any_source_has_a_value_or_a_typed_error(source: str) -> None:
    message = ""
    try:
        value_of(source)
    except ExpressionError as error:
        message = str(error)

    assert len(message) < 1000


@given(st.lists(PARTS | st.integers(0, 2), max_size=4), DATA)
def test_a_reference_means_the_same_in_cel(path: list[str | int], data: Any) -> None:
    reference = "steps.probe.outputs.x" + "".join(
        f"[{part}]" if isinstance(part, int) else f'["{part}"]' for part in path
    )
    whole = scope(x=data)

    try:
        expected = evaluate_reference(reference, whole)
    except ExpressionError as error:
        with pytest.raises(type(error), match=r"nothing at|has no value"):
            value_of(f"[{reference}]", x=data)
    else:
        assert value_of(f"[{reference}]", x=data) == [expected]
