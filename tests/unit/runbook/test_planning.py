"""Inputs become typed values or typed refusals, and a plan is named by what it is made of."""

from pathlib import Path
from typing import Any

import pytest

from libs.runbook.frame import Frame
from libs.runbook.hashing import action_hash, plan_hash, spec_hash
from libs.runbook.loader import load
from libs.runbook.planning import PlanFacts, make_plan, step_graph
from libs.runbook.problems import PlanRefused
from libs.runbook.rendering import render_action, scope_of
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import loaded, occasion, runbook

RUNBOOKS = Path(__file__).parents[3] / "runbooks"
FROM_LABEL = "${{ alert.labels.shard }}"


def planned(declared: dict[str, Any], given: dict[str, Any] | None = None, **facts: Any) -> Any:
    """The value of one input, `x`."""
    return make_plan(runbook({"id": "a"}, inputs={"x": declared}), given or {}, occasion(**facts)).inputs["x"]


def refused(declared: dict[str, Any], given: dict[str, Any] | None = None, **facts: Any) -> str:
    with pytest.raises(PlanRefused) as error:
        planned(declared, given, **facts)
    (problem,) = error.value.problems
    assert problem.path == "inputs.x"
    return problem.message


def test_the_callers_value_comes_before_the_alerts_and_the_default() -> None:
    declared = {"from": FROM_LABEL, "default": "d"}

    assert planned(declared, {"x": "mine"}) == "mine"
    assert planned(declared) == "shard-1"
    assert planned(declared, labels={}) == "d"


@pytest.mark.parametrize(
    ("kind", "label", "value"),
    [
        ("string", "7", "7"),
        ("integer", "7", 7),
        ("integer", "-7", -7),
        ("boolean", "true", True),
        ("boolean", "false", False),
    ],
)
def test_a_label_is_read_as_the_declared_type(kind: str, label: str, value: Any) -> None:
    found = planned({"type": kind, "from": FROM_LABEL}, labels={"shard": label})

    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "label"), [("integer", "07"), ("integer", "1.0"), ("integer", " 1"), ("integer", "٣"), ("boolean", "True")]
)
def test_a_label_that_does_not_read_is_refused_and_never_replaced_by_the_default(kind: str, label: str) -> None:
    default = 1 if kind == "integer" else True

    message = refused({"type": kind, "from": FROM_LABEL, "default": default}, labels={"shard": label})

    assert message.endswith(f"the alert says '{label}'")


def test_a_missing_label_is_named() -> None:
    assert refused({"from": FROM_LABEL}, labels={}) == "is missing: alert.labels.shard has no value"


@pytest.mark.parametrize(
    ("kind", "value", "says"),
    [
        ("string", 1, "must be a string, not an integer"),
        ("integer", "1", "must be an integer, not a string"),
        ("integer", True, "must be an integer, not a boolean"),
        ("integer", 1.0, "must be an integer, not a float"),
        ("boolean", 1, "must be true or false, not an integer"),
        ("integer", 2**53, "integers must lie within"),
        ("string", "a\x00b", "holds a NUL character"),
        ("string", "\ud800", "text holds a lone surrogate"),
    ],
)
def test_a_given_value_has_the_declared_type_exactly(kind: str, value: Any, says: str) -> None:
    assert refused({"type": kind}, {"x": value}).startswith(says)


def test_a_missing_input_and_an_undeclared_one_are_both_reported() -> None:
    spec = runbook({"id": "a"}, inputs={"x": {}})

    with pytest.raises(PlanRefused) as error:
        make_plan(spec, {"y": "1"}, PlanFacts())

    assert [str(problem) for problem in error.value.problems] == [
        "inputs.y: the runbook declares no such input",
        "inputs.x: is missing; give it",
    ]


def test_one_of_bounds_what_is_given() -> None:
    assert refused({"one_of": ["a", "b"]}, {"x": "c"}) == "must be one of a, b"


def test_inputs_are_bounded() -> None:
    spec = runbook({"id": "a"}, inputs={"x": {}})

    with pytest.raises(PlanRefused, match="the limit is 65536"):
        make_plan(spec, {"x": "x" * 70_000}, PlanFacts())


def test_what_needs_an_alert_is_refused_without_one() -> None:
    spec = runbook({"id": "a", "requires_firing": True}, verify={"alert": "resolved", "within": "60s"})

    with pytest.raises(PlanRefused) as error:
        make_plan(spec, {}, PlanFacts())

    assert [problem.path for problem in error.value.problems] == ["verify", "steps.a"]


def test_the_graph_lists_the_steps_in_the_order_in_which_they_run() -> None:
    spec = runbook({"id": "a", "on_success": "c"}, {"id": "b"}, {"id": "c"})

    assert [(node.path, node.next) for node in step_graph(spec)] == [("a", "c"), ("c", None)]


def test_locks_are_known_unless_they_depend_on_outputs() -> None:
    spec = runbook(
        {"id": "a", "resource": "ingest/${{ inputs.x }}"},
        {"id": "b", "resource": "host/${{ steps.a.outputs.host }}"},
        inputs={"x": {}},
    )

    assert make_plan(spec, {"x": "s"}, PlanFacts()).resources == ("ingest/s",)


def test_equal_arguments_give_an_equal_plan() -> None:
    spec = runbook({"id": "a"}, inputs={"x": {}, "y": {}})

    assert make_plan(spec, {"x": "1", "y": "2"}, occasion()) == make_plan(spec, {"y": "2", "x": "1"}, occasion())


def test_the_plans_hash_changes_with_spec_and_inputs_and_not_with_the_occasion() -> None:
    def digest(spec: Runbook, value: str, **facts: Any) -> str:
        return make_plan(spec, {"x": value}, occasion(**facts)).plan_hash

    spec, other = (runbook({"id": "a", "name": name}, inputs={"x": {}}) for name in ("one", "two"))

    assert len({digest(spec, "1"), digest(spec, "2"), digest(other, "1")}) == 3
    assert digest(spec, "1") == digest(spec, "1", severity="low")


def test_the_specs_hash_is_over_what_is_said_and_not_how_it_is_laid_out() -> None:
    laid_out = loaded("- {effect: read, action: http.request, type: action, id: probe}")
    default_written_out = loaded(extra="deadline: 1h\n")

    assert laid_out.spec_hash == loaded().spec_hash
    assert default_written_out.spec_hash != loaded().spec_hash


def test_the_hashes_stay_what_they_are() -> None:
    """Published hashes are in approvals and in the log: a change here breaks both."""
    assert loaded().spec_hash == "e07def12c629de376f2f7abfeaca019fde1aec64e5a1aada798d912a561f8309"
    plan = make_plan(loaded().spec, {}, PlanFacts())

    assert plan.plan_hash == "c589cf90a1a09d251675206b198ecb74fe8084041c2b89cb6d7bfad8b55c508a"
    assert action_hash(b"{}") == "9f7fb81650f24c7e5fc3aa850e9684edfc6f596540f69b70c6544e251d61bd4c"


def test_no_hash_can_stand_for_another() -> None:
    data: dict[str, Any] = {"graph": [], "inputs": {}, "spec": ""}

    assert len({spec_hash(data), plan_hash("", {}, []), action_hash(b'{"graph":[],"inputs":{},"spec":""}')}) == 3


def test_the_hashes_of_a_runbook_that_ran_before_stay_what_they_are() -> None:
    """From the version that knew nothing but actions: spec, plan, and the action that was carried out."""
    spec = load((RUNBOOKS / "storage-latency.yaml").read_bytes()).spec
    facts = occasion(labels={"target": "http://127.0.0.1:9", "shard": "shard-1", "standby": "shard-2"})
    plan = make_plan(spec, {}, facts)
    action = render_action(spec, "reroute", scope_of(plan.inputs, facts, Frame()))

    assert plan.spec_hash == "5c936a7f0c54231cfe00848e52d9eac1e90fe35e1e3c572990d4fca7fe164449"
    assert plan.plan_hash == "5c2458668c754775b947e1eb42299fa32a189e3aa08a7f5fd6c352b0d438cbab"
    assert action.action_hash == "9d56070f8de2d5fd19206fdb98f446b4fc053b58023049c519094a0afd91b922"


def test_the_graph_says_what_each_step_is_and_where_it_leads() -> None:
    spec = runbook(
        {"id": "look", "type": "check", "action": "http.request", "expect": "outputs.ok == true"},
        {"id": "ask", "type": "approval", "prompt": "Go on?"},
        {"id": "act", "effect": "keyed", "risk": "high", "on_failure": "tell", "on_success": "pause"},
        {"id": "tell", "type": "notify", "channel": "ops", "message": "failed", "on_success": "end"},
        {"id": "pause", "type": "wait", "for": "1m", "when": "alert.severity == 'high'"},
    )

    assert [node.to_json() for node in step_graph(spec)] == [
        {"path": "look", "action": "http.request", "effect": "read", "next": "ask", "type": "check"},
        {"path": "ask", "action": "", "effect": "read", "next": "act", "type": "approval", "approval": True},
        {
            "path": "act",
            "action": "http.request",
            "effect": "keyed",
            "next": "pause",
            "on_failure": "tell",
            "approval": True,
        },
        {"path": "tell", "action": "notify.send", "effect": "idempotent", "next": None, "type": "notify"},
        {"path": "pause", "action": "", "effect": "read", "next": None, "type": "wait", "conditional": True},
    ]
