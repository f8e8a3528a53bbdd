"""What is wrong with an expression is said when the runbook is loaded, at its line, and with what to do."""

import pytest

from libs.runbook.expressions import MAX_SOURCE
from libs.runbook.lint import lint
from libs.runbook.lint_expressions import Names, condition_faults, expression_faults, template_faults
from libs.runbook.loader import load
from libs.runbook.planning import make_plan
from libs.runbook.problems import RunbookInvalid
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import occasion, runbook, text

SPEC = runbook(
    {"id": "probe"},
    {"id": "restart-api"},
    {"id": "after"},
    inputs={"shard": {"default": "a"}, "count": {"type": "integer", "default": 1}, "dry": {"type": "boolean"}},
)
HERE = Names.at(SPEC, SPEC.graph.place(SPEC.steps[1].id))


def test_a_compile_error_stands_at_its_line_and_column_with_its_place_in_the_expression() -> None:
    source = text(
        """\
        - id: probe
          type: action
          action: http.request
          with:
            json:
              deep: ["x", "${{ inputs.count + 'a' }}"]
          effect: read
        """,
        "inputs: {count: {type: integer, default: 1}}\n",
    )

    with pytest.raises(RunbookInvalid) as refused:
        load(source)

    (problem,) = refused.value.problems
    assert (problem.line, problem.column) == position(source, "${{", quoted=True)
    assert problem.path == "steps[0].with.json.deep[1]"
    assert problem.message == (
        "`inputs.count + 'a'`: at 1:14: found no matching overload for '_+_' applied to '(int, string)'"
    )


def position(source: str, needle: str, *, quoted: bool) -> tuple[int, int]:
    before = source[: source.index(needle)]
    return before.count("\n") + 1, len(before.rpartition("\n")[2]) + (0 if quoted else 1)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("inputs.shard + ", "`inputs.shard +`: at 1:15: Syntax error"),
        ("inputs.nope + 'a'", "there is no input 'nope'; declared are count, dry, shard"),
        ("inputs + 'a'", "name a part of inputs with a dot: inputs.count, inputs.dry, inputs.shard"),
        ("alert.label.zone + 'a'", "name a part of alert with a dot: name, severity, labels, annotations"),
        ("incident.name + 'a'", "name a part of incident with a dot: id"),
        ("env.HOME + 'a'", "unknown name 'env'; known are inputs, alert, incident, steps"),
        ("upper(inputs.shard)", "there is no function 'upper' that takes as many arguments"),
        ("inputs.shard.contains()", "there is no function 'contains' that takes as many arguments"),
        ("steps.probe.output.x + 1", "steps.probe.output.x must be steps.<id of an earlier step>.outputs"),
        ("size(steps)", "steps must be steps.<id of an earlier step>.outputs"),
        ("steps.nope.outputs.x + 1", "steps.nope.outputs.x: must be steps.<id of an earlier step>.outputs"),
        (
            "steps.after.outputs.x + 1",
            "steps.after.outputs.x: must be steps.<id of an earlier step>.outputs; 'after' does not come before",
        ),
        ("steps['restart-api'].outputs.x + 1", "'restart-api' does not come before"),
        ("has(steps.after) ? 1 : 2", "'after' does not come before"),
        ("outputs.x + 1", "outputs.x: names what this step's own action answered: nothing has answered yet"),
        ("1.5 * 2.0", "is a float; floats are not hashed"),
        ("'a' + 'b'", "is not a reference, and computed from none: write its value"),
        (f"inputs.shard + '{'a' * MAX_SOURCE}'", "an expression is longer than 4096 characters"),
        (f"inputs.shard + '{'é' * (MAX_SOURCE // 2)}'", "is longer than 4096 bytes"),
    ],
)
def test_a_template_is_compiled_as_it_will_be(source: str, says: str) -> None:
    (fault,) = template_faults(f"x ${{{{ {source} }}}}", HERE)

    assert says in fault


@pytest.mark.parametrize(
    "source",
    [
        "inputs.shard + '-' + string(inputs.count)",
        "steps.probe.outputs.hosts.filter(h, h.up).map(h, h.id)",
        "has(alert.labels.zone) ? alert.labels.zone : 'none'",
        "has(steps.probe) ? 'yes' : 'no'",
        "alert.labels['availability-zone'].upperAscii()",
    ],
)
def test_what_will_have_a_value_is_accepted(source: str) -> None:
    assert list(template_faults(f"${{{{ {source} }}}}", HERE)) == []


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("inputs.shard", "a condition must be true or false: yields STRING"),
        ("inputs.count + 1", "a condition must be true or false: yields INT"),
        ("steps.probe.outputs.up", "only data would tell its type; compare it"),
        ("steps.after.outputs.up == true", "'after' does not come before"),
        ("outputs.up == true", "nothing has answered yet"),
        ("inputs.nope == 1", "there is no input 'nope'"),
        ("inputs.shard == 1", "found no matching overload"),
        ("inputs.dry &&", "Syntax error"),
        ("1 < 2", "is always the same"),
        ("${{ inputs.dry }}", "Syntax error"),
    ],
)
def test_a_condition_is_boolean_and_names_what_there_is(source: str, says: str) -> None:
    (fault,) = condition_faults(source, HERE)

    assert says in fault


@pytest.mark.parametrize(
    "source", ["inputs.dry", "!inputs.dry && inputs.count > 1", "steps.probe.outputs.up == true", "has(steps.probe)"]
)
def test_a_sound_condition_is_accepted(source: str) -> None:
    assert list(condition_faults(source, HERE)) == []


def test_what_a_steps_own_action_answered_is_named_once_it_has() -> None:
    own = Names.at(SPEC, SPEC.graph.place(SPEC.steps[1].id), own_outputs=True)

    assert list(condition_faults("outputs.status == 200 && has(outputs.body)", own)) == []
    assert list(expression_faults("outputs.body.items.map(i, i.id)", own)) == []
    assert list(expression_faults("outputs.status +", own))


def test_an_input_is_computed_from_the_alert_and_the_incident_alone() -> None:
    assert lint(sourced("${{ alert.labels.host.split('.')[0] }}")) == []
    assert faults(sourced("${{ inputs.other + 'a' }}")) == [
        "`inputs.other + 'a'`: at 1:7: there is no input 'other'; declare it under inputs"
    ]
    assert faults(sourced("x${{ alert.name + 'a' }}"))[0].startswith("must be exactly one reference")
    assert faults(sourced("${{ steps.a.outputs.x + 'a' }}"))[0].startswith("must be exactly one reference")
    assert faults(sourced("${{ 'a' + 'b' }}"))[0].startswith("`'a' + 'b'` is not a reference")


@pytest.mark.parametrize(
    ("kind", "source", "sound"),
    [
        ("string", "alert.name + 'a'", True),
        ("integer", "size(alert.labels)", True),
        ("boolean", "'zone' in alert.labels", True),
        ("integer", "alert.labels.count.trim()", True),
        ("string", "size(alert.labels)", False),
        ("integer", "'zone' in alert.labels", False),
        ("string", "alert.labels.map(k, k)", False),
    ],
)
def test_the_type_of_an_inputs_expression_fits_the_input(kind: str, source: str, sound: bool) -> None:
    found = faults(sourced(f"${{{{ {source} }}}}", type=kind))

    assert (found == []) is sound
    assert all(f"but the input is of type {kind}" in fault for fault in found)


def test_an_input_is_computed_when_the_runbook_is_planned() -> None:
    spec = sourced("${{ alert.labels.shard + '-standby' }}")

    assert make_plan(spec, {}, occasion()).inputs == {"x": "shard-1-standby"}


def test_an_input_computed_from_a_missing_label_falls_back_to_its_default() -> None:
    spec = sourced("${{ alert.labels.gone + '-standby' }}", default="none")

    assert make_plan(spec, {}, occasion()).inputs == {"x": "none"}


def test_a_runbook_of_many_expressions_reports_each() -> None:
    spec = runbook(
        *[{"id": f"s{n}", "with": {"a": "${{ inputs.x + }}", "b": ["${{ 1 + alert.name }}"]}} for n in range(3)]
    )

    assert [path for path, _ in lint(spec)] == [
        path for n in range(3) for path in (("steps", n, "with", "a"), ("steps", n, "with", "b", 0))
    ]
    assert all(isinstance(problem, str) for _, problem in lint(spec))


def sourced(source: str, **fields: object) -> Runbook:
    return runbook({"id": "a"}, inputs={"x": {"from": source, **fields}})


def faults(spec: Runbook) -> list[str]:
    found = lint(spec)
    assert {path for path, _ in found} <= {("inputs", "x", "from")}
    return [message for _, message in found]
