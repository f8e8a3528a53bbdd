"""The eight guards between a runbook and the CEL library, each under its name."""

import gc
import sys
import tomllib
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from cel_expr_python import cel as library

from libs.runbook import cel
from libs.runbook.cel import Compiled, Declarations, bind, compile_condition, compile_expression, condition, evaluate
from libs.runbook.cel_errors import EvaluationFailed, MustRunElsewhere, NotCompiled, NotCondition
from libs.runbook.cel_values import MAX_DATA_BYTES, ResultRefused, ScopeRefused
from libs.runbook.expressions import MAX_SOURCE, ExpressionError, MissingValue
from tests.unit.runbook.cel_samples import DECLARED, holds, scope, value_of

ROOT = Path(__file__).parents[3]


class Word(str, Enum):  # noqa: UP042 - the old spelling is the one that is a str by inheritance
    A = "a"


def test_guard_1_the_library_is_pinned_by_version_and_by_hash() -> None:
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    locked = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    (package,) = [item for item in locked if item["name"] == "cel-expr-python"]

    assert f"cel-expr-python=={package['version']}" in asked
    assert package["wheels"]
    assert all(wheel["hash"].startswith("sha256:") for wheel in package["wheels"])


def test_guard_2_sources_are_at_most_four_kibibytes() -> None:
    longest = f'"{"a" * (MAX_SOURCE - 2)}"'

    assert value_of(longest) == "a" * (MAX_SOURCE - 2)
    for source in (f'"{"a" * (MAX_SOURCE - 1)}"', f'"{"é" * (MAX_SOURCE // 2)}"'):
        with pytest.raises(NotCompiled, match="is longer than 4096 bytes"):
            compile_expression(source, DECLARED)


@pytest.mark.parametrize("source", ["inputs.count", "inputs.shard", "steps.probe.outputs.up", "[true]", "{'a': true}"])
def test_guard_2_a_condition_yields_a_boolean_by_its_type(source: str) -> None:
    with pytest.raises(NotCondition, match="a condition must be true or false"):
        compile_condition(source, DECLARED)
    with pytest.raises(NotCondition):
        condition(compile_expression(source, DECLARED), scope(up=True), cel.run)


@pytest.mark.parametrize(
    "source",
    [
        "cel.bind(x, 1, x)",
        "optional.of(1)",
        "[?optional.none()]",
        "base64.encode(b'a')",
        "proto.hasExt(1, 2)",
        "[1].sort()",
        "sets.contains([1], [1])",
        "inputs.shard.nothing()",
        "google.protobuf.Struct{}",
        "size([google.protobuf.Value{string_value: 'a'}])",
        "google.protobuf.Duration{seconds: 1}",
    ],
)
def test_guard_2_only_the_strings_and_math_extensions_are_there(source: str) -> None:
    with pytest.raises(NotCompiled):
        compile_expression(source, DECLARED)


def test_guard_2_an_expression_is_compiled_once() -> None:
    first = compile_expression("inputs.count + 1", DECLARED)

    assert compile_expression("inputs.count + 1", Declarations.of(dict(DECLARED.inputs))) is first


def test_guard_2_a_compiled_expression_outlives_what_compiled_it() -> None:
    compiled = compile_expression('inputs.shard + "-old"', DECLARED)
    compile_expression.cache_clear()
    cel._environment.cache_clear()
    gc.collect()

    assert evaluate(compiled, scope()) == "shard-1-old"


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("inputs.shard", "STRING"),
        ("inputs.count", "INT"),
        ("inputs.dry", "BOOL"),
        ("alert.name + alert.severity", "STRING"),
        ("alert.labels", "MAP<STRING, STRING>"),
        ("alert.annotations.target", "STRING"),
        ("incident.id", "STRING"),
        ("steps.probe.outputs", "MAP<STRING, DYN>"),
        ('steps["restart-api"].outputs.status', "DYN"),
    ],
)
def test_guard_3_variables_have_concrete_types(source: str, kind: str) -> None:
    assert compile_expression(source, DECLARED).kind == kind


@pytest.mark.parametrize(
    "source", ["inputs.count == inputs.shard", "alert.labels.zone > 3", "inputs.dry + 1", "inputs.shard && true"]
)
def test_guard_3_what_does_not_fit_its_type_is_refused_when_it_is_compiled(source: str) -> None:
    with pytest.raises(NotCompiled, match=r"at 1:\d+: found no matching overload"):
        compile_expression(source, DECLARED)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shard", 3),
        ("shard", b"x"),
        ("shard", Word.A),
        ("shard", None),
        ("count", True),
        ("count", 3.0),
        ("count", "3"),
        ("dry", 1),
        ("dry", "true"),
    ],
)
def test_guard_4_an_input_has_its_type_exactly(name: str, value: Any) -> None:
    compiled = compile_expression(f"inputs.{name} == inputs.{name}", DECLARED)

    with pytest.raises(ScopeRefused, match=rf"inputs.{name}: must be"):
        evaluate(compiled, {"inputs": {name: value}})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("a\x00b", "NUL"),
        ({"a\x00": 1}, "NUL"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
        (datetime(2026, 1, 1), "datetime is no data"),  # noqa: DTZ001 - naive on purpose
        (datetime(2026, 1, 1, tzinfo=UTC), "datetime is no data"),
        (timedelta(1), "timedelta is no data"),
        (float("nan"), "nan is no number"),
        (float("inf"), "inf is no number"),
        (-float("inf"), "-inf is no number"),
        (2**63, "within 64 bits"),
        (-(2**63) - 1, "within 64 bits"),
        ({1: 2}, "keys are strings"),
        ({b"a": 2}, "keys are strings"),
        ({Word.A: 2}, "keys are strings"),
        (Word.A, "Word is no data"),
        ({1, 2}, "set is no data"),
        (object(), "object is no data"),
        (["x" * MAX_DATA_BYTES], "at most 1048576 bytes"),
        ([[]] * (MAX_DATA_BYTES // 8), "at most 1048576 bytes"),
    ],
)
def test_guard_4_what_the_library_would_bend_is_refused(value: Any, why: str) -> None:
    compiled = compile_expression("[steps.probe.outputs.x]", DECLARED)

    with pytest.raises(ScopeRefused, match=why):
        bind(compiled, scope(x=value))
    with pytest.raises(ScopeRefused, match=r"steps\.probe\.outputs\.x\[1\]\.deep"):
        bind(compiled, scope(x=[0, {"deep": value}]))


def test_guard_4_data_is_at_most_sixteen_levels_deep_so_a_cycle_is_refused() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    deep: Any = 0
    for _ in range(16):
        deep = [deep]

    assert value_of("size(steps.probe.outputs.x) == 1", x=deep) is True
    for value in ([deep], cycle, {"a": cycle}):
        with pytest.raises(ScopeRefused, match="nested deeper than 16"):
            value_of("size(steps.probe.outputs.x) == 1", x=value)


def test_guard_4_bytes_reach_the_library_as_a_bytearray() -> None:
    bound = bind(compile_expression("size(steps.probe.outputs.x)", DECLARED), scope(x=b"a\x00b"))

    assert bound.data == {"steps": {"probe": {"outputs": {"x": bytearray(b"a\x00b")}}}}
    assert value_of("size(bytes(steps.probe.outputs.x))", x=b"a\x00b") == 3


def test_guard_4_only_what_is_referred_to_reaches_the_library() -> None:
    compiled = compile_expression('inputs.count + int(alert.labels["zone"]) + steps.probe.outputs.n', DECLARED)

    assert bind(compiled, scope(n=1, other="\x00")).data == {
        "inputs.count": 3,
        "alert.labels": {"zone": "eu"},
        "steps": {"probe": {"outputs": {"n": 1}}},
    }


def test_guard_4_the_librarys_data_is_a_copy() -> None:
    inner = {"a": [1]}
    bound = bind(compile_expression("[steps.probe.outputs.x]", DECLARED), scope(x=MappingProxyType(inner)))
    inner["a"].append(2)

    assert bound.data["steps"]["probe"]["outputs"]["x"] == {"a": [1]}


def test_guard_4_a_label_that_is_no_string_is_refused() -> None:
    wrong: list[Any] = [{"zone": 1}, [], "zone", None]
    for labels in wrong:
        with pytest.raises(ScopeRefused, match=r"alert\.labels"):
            evaluate(compile_expression("size(alert.labels)", DECLARED), {"alert": {"labels": labels}})


def test_guard_5_the_library_answers_an_error_with_a_value_that_looks_true() -> None:
    """The reason for the guard: were this to change, the wrapper could be simpler."""
    value = library.NewEnv(variables={}).compile("1 / 0 == 1").eval(data={})

    assert (value.type().name(), type(value.value()), bool(value.value())) == ("ERROR", str, True)


@pytest.mark.parametrize(
    "source", ["1 / (inputs.count - 3) == 1", "int(inputs.shard) == 1", "[1][inputs.count] == 1", "dyn(1) && true"]
)
def test_guard_5_an_error_is_an_error_and_neither_true_nor_false(source: str) -> None:
    with pytest.raises(EvaluationFailed):
        holds(source)
    with pytest.raises(EvaluationFailed):
        holds(f"!({source})")


@pytest.mark.parametrize("answer", [1, 0, "", "false", None, [], "INVALID_ARGUMENT: divide by zero"])
def test_guard_5_a_condition_counts_true_and_false_alone(answer: Any) -> None:
    compiled = compile_condition("[inputs.dry].exists(x, x)", DECLARED)

    def elsewhere(_compiled: Compiled, _data: Any) -> Any:
        return answer

    with pytest.raises(ResultRefused, match="neither true nor false"):
        condition(compiled, scope(), elsewhere)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("1.5", "is a float; floats are not hashed"),
        ("steps.probe.outputs.f", "is a float; floats are not hashed"),
        ("[steps.probe.outputs.f]", "is a float; floats are not hashed"),
        ("{'a': dyn(1.5)}", "is a float; floats are not hashed"),
        ("1u", "an unsigned integer; wrap it in int"),
        ("b'a'", r"bytes; wrap it in string"),
        ("timestamp('2026-01-01T00:00:00Z')", "a time; wrap it in string"),
        ("[timestamp('2026-01-01T00:00:00Z')]", "a time; wrap it in string"),
        ("duration('1s')", "a duration; wrap it in string"),
        ("type(1)", "of type TYPE"),
        ("null", "null"),
        ("{1: 2}", "a key of type int"),
        ("{true: 2}", "a key of type bool"),
        ("[18446744073709551615u]", "of type int"),
    ],
)
def test_guard_5_a_result_is_of_a_type_that_a_runbook_holds(source: str, says: str) -> None:
    with pytest.raises(ResultRefused, match=says):
        value_of(source, f=1.5)


def test_guard_5_results_are_plain_data() -> None:
    found = value_of('{"s": inputs.shard, "l": [1, true, [null]], "m": steps.probe.outputs.m}', m={"deep": [1]})

    assert found == {"s": "shard-1", "l": [1, True, [None]], "m": {"deep": [1]}}
    assert [type(item) for item in (found, found["l"], found["s"], found["l"][0], found["l"][1])] == [
        dict,
        list,
        str,
        int,
        bool,
    ]


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ("alert.labels.missing == 'x' || true", "alert.labels.missing"),
        ("true || alert.labels.missing == 'x'", "alert.labels.missing"),
        ("false && alert.labels['missing'] == 'x'", "alert.labels.missing"),
        ("true ? 'a' : alert.labels.missing", "alert.labels.missing"),
        ("steps.probe.outputs.hosts[3] == 'x' || true", "steps.probe.outputs.hosts[3]"),
        ("steps.gone.outputs.x == 1 || true", "steps.gone"),
        ("[1].exists(x, steps.probe.outputs.y == x || true)", "steps.probe.outputs.y"),
        ("has(steps.probe.outputs.a.b) || true", "steps.probe.outputs.a"),
    ],
)
def test_guard_6_a_path_that_is_missing_is_an_error_that_names_it(source: str, missing: str) -> None:
    with pytest.raises(MissingValue) as error:
        value_of(source, hosts=["a"])

    assert error.value.missing_at == missing


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("has(alert.labels.missing)", False),
        ("has(alert.labels.zone)", True),
        ("'availability-zone' in alert.labels", True),
        ("'missing-zone' in alert.labels", False),
        ("has(alert.labels.missing) ? alert.labels.missing : 'none'", "none"),
        ("'x-y' in alert.labels && alert.labels['x-y'] == 'z'", False),
        ("has(steps.gone) && steps.gone.outputs.x == 1", False),
        ("'restart-api' in steps && steps['restart-api'].outputs.status == 200", True),
        ("has(steps.probe.outputs.a) && has(steps.probe.outputs.a.b)", False),
        ("'a' in steps.probe.outputs.hosts", True),
    ],
)
def test_guard_6_presence_is_asked_for_explicitly(source: str, value: Any) -> None:
    assert value_of(source, hosts=["a"]) == value


@pytest.mark.parametrize(
    "source",
    [
        "alert.labels[inputs.shard] == 'x' || true",
        "1 / (inputs.count - 3) == 1 || true",
        "int(inputs.shard) == 1 || true",
        "!(int(inputs.shard) == 1 && false)",
        "steps.probe.outputs.text > 3 || true",
        "steps.probe.outputs.hosts.exists(h, h.up)",
        "!steps.probe.outputs.hosts.all(h, h.up)",
        "steps.probe.outputs.hosts.all(h, !h.up || 1 / 0 == 1)",
        "has(alert.labels.gone) || alert.labels.gone == 'x' || true",
        "(inputs.dry || (int(inputs.shard) == 1 || true)) && true",
    ],
)
def test_guard_6_no_other_error_is_swallowed_either(source: str) -> None:
    assert compile_condition(source, DECLARED).kind == "BOOL"
    with pytest.raises(EvaluationFailed):
        holds(source, text="a", hosts=[{}, {"up": False}, {"up": True}])


@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize(("sign", "means"), [("||", any), ("&&", all)])
def test_guard_6_or_and_and_mean_what_they_mean(left: bool, right: bool, sign: str, means: Any) -> None:
    compiled = compile_condition(f"steps.a.outputs.l == true {sign} steps.a.outputs.r == true", DECLARED)

    assert condition(compiled, {"steps": {"a": {"outputs": {"l": left, "r": right}}}}) is means([left, right])


@pytest.mark.parametrize(
    "source",
    [
        "[1, 2].map(x, x)",
        "[1].all(x, x > 0)",
        "[1].filter(x, true)",
        "inputs.shard.replace('a', inputs.shard)",
        "inputs.shard.matches('a+')",
        "['a'].join(inputs.shard)",
        "'%s'.format([inputs.shard])",
        "inputs.shard.split('')",
        "inputs.shard.indexOf('a')",
    ],
)
def test_guard_7_what_could_take_long_or_grow_runs_elsewhere_or_not_at_all(source: str) -> None:
    compiled = compile_expression(source, DECLARED)
    asked: list[Compiled] = []

    def elsewhere(found: Compiled, _data: Any) -> Any:
        asked.append(found)
        return "answer"

    assert not compiled.inline
    assert evaluate(compiled, scope(), elsewhere) == "answer"
    assert asked == [compiled]
    with pytest.raises(MustRunElsewhere):
        evaluate(compiled, scope())


def test_guard_7_much_data_runs_elsewhere_too() -> None:
    compiled = compile_expression("steps.probe.outputs.text.contains('b')", DECLARED)

    assert evaluate(compiled, scope(text="a" * 4000)) is False
    with pytest.raises(MustRunElsewhere):
        evaluate(compiled, scope(text="a" * 5000))


def test_guard_8_there_are_no_functions_of_our_own() -> None:
    assert cel._environment(DECLARED).config().to_yaml().count("functions") == 0


def test_every_refusal_is_an_expression_error() -> None:
    refusals = (
        NotCompiled,
        NotCondition,
        MissingValue,
        ScopeRefused,
        ResultRefused,
        EvaluationFailed,
        MustRunElsewhere,
    )

    assert all(issubclass(refusal, ExpressionError) for refusal in refusals)


def test_twenty_thousand_evaluations_do_not_grow_the_process() -> None:
    compiled = compile_condition('inputs.count > 2 && alert.labels.zone == "eu" && size(inputs.shard) > 1', DECLARED)
    data = scope()
    for _ in range(5000):
        condition(compiled, data)
    before = resident()

    assert all(condition(compiled, data) for _ in range(20_000))
    assert resident() - before < 4 * 1024 * 1024


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells the size")
def test_twenty_thousand_errors_do_not_grow_the_process() -> None:
    compiled = compile_condition("1 / (inputs.count - 3) == 1", DECLARED)
    before = 0

    for turn in range(20_000):
        if turn == 5000:
            before = resident()
        with pytest.raises(EvaluationFailed):
            condition(compiled, scope())

    assert resident() - before < 4 * 1024 * 1024


def resident() -> int:
    """Bytes of this process in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
