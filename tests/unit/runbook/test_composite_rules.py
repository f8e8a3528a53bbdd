"""What lint asks of steps inside other steps, of decisions, of rollbacks and of what verifies."""

from typing import Any

import pytest

from libs.runbook.lint import lint_problems
from libs.runbook.planning import step_graph
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import runbook, text
from tests.unit.runbook.test_composites import READ
from tests.unit.runbook.test_step_rules import refusal

VERIFY = {"verify": {"alert": "resolved", "within": "60s"}}
CHANGE: dict[str, Any] = {"effect": "keyed", "resource": "r"}


def faults(spec: Runbook) -> list[str]:
    return [f"{found.path}: {found.message}" for found in lint_problems(spec)]


def loop(*steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "each", "type": "loop", "over": [1, 2], "steps": [{**READ, **step} for step in steps], **more}


def fan(**branches: list[dict[str, Any]]) -> dict[str, Any]:
    filled = {name: [{**READ, **step} for step in steps] for name, steps in branches.items()}
    return {"id": "fan", "type": "parallel", "branches": filled}


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([loop({"id": "a"}), {"id": "a"}], "steps[1].id: 'a' is used twice; ids are unique"),
        ([fan(x=[{"id": "a"}], y=[{"id": "a"}])], "steps[0].branches.y[0].id: 'a' is used twice; ids are unique"),
        ([loop({"id": "a", "on_success": "b"}), {"id": "b"}], "steps[0].steps[0].on_success: 'b' is not the id of a"),
        ([{"id": "b", "with": {"x": "${{ each.item }}"}}], "steps[0].with.x: `each.item`: is known inside a loop only"),
        ([loop({"id": "a", "with": {"x": "${{ each.it }}"}})], "steps[0].steps[0].with.x: `each.it`: an iteration has"),
        (
            [loop({"id": "a"}), {"id": "b", "with": {"x": "${{ steps.a.outputs.n }}"}}],
            "steps[1].with.x: `steps.a.outputs.n`: must be steps.<id of an earlier step>.outputs",
        ),
        (
            [fan(x=[{"id": "a"}], y=[{"id": "b", "with": {"x": "${{ steps.a.outputs.n }}"}}])],
            "steps[0].branches.y[0].with.x: `steps.a.outputs.n`: must be steps.<id of an earlier step>.outputs",
        ),
        ([loop({"id": "a"}, over="hosts")], "steps[0].over: must be a list, or a template that yields one"),
        ([loop({"id": "a"}, over="${{ inputs.hosts }}")], "steps[0].over: `inputs.hosts`: there is no input 'hosts'"),
        ([loop({"id": "a", **CHANGE, "resource": None})], "steps[0].steps[0].resource"),
        (
            [{"id": "c", "type": "decision", "branches": [{"when": "inputs.x", "goto": "z"}], "otherwise": "end"}],
            "steps[0].branches[0].goto: 'z' is not the id of a later step, nor end",
        ),
        (
            [{"id": "c", "type": "decision", "branches": [{"when": "inputs.x", "goto": "end"}], "otherwise": "c"}],
            "steps[0].otherwise: 'c' is neither end nor fail nor the id of a later step",
        ),
        ([{"id": "w", "type": "wait", "until": "soon"}], "steps[0].until: must be a moment with an offset"),
    ],
)
def test_what_is_wrong_inside_a_step_is_named_where_it_stands(steps: list[dict[str, Any]], says: str) -> None:
    steps = [{key: value for key, value in step.items() if value is not None} for step in steps]
    for step in steps:
        step["steps"] = [{k: v for k, v in inner.items() if v is not None} for inner in step.get("steps", [])] or None
        if step["steps"] is None:
            del step["steps"]
    found = faults(runbook(*steps, **VERIFY))

    assert [line for line in found if line.startswith(says)], found


def test_what_a_branch_answers_may_be_named_after_it() -> None:
    spec = runbook(fan(x=[{"id": "a"}]), {"id": "b", "with": {"x": "${{ steps.a.outputs.n }}"}})

    assert faults(spec) == []


def test_a_step_inside_a_loop_may_name_what_came_before_the_loop() -> None:
    spec = runbook({"id": "b"}, loop({"id": "a", "with": {"x": "${{ steps.b.outputs.n }}", "y": "${{ each.index }}"}}))

    assert faults(spec) == []


def test_what_is_too_deep_or_too_wide_is_refused() -> None:
    deep: dict[str, Any] = {"id": "leaf", **READ}
    for level in range(4):
        deep = {"id": f"l{level}", "type": "loop", "over": [1], "steps": [deep]}
    wide = {"id": "w1", "type": "loop", "over": [1], "concurrency": 100, "steps": [
        {"id": "w2", "type": "loop", "over": [1], "concurrency": 10, "steps": [{"id": "x", **READ}]},
    ]}  # fmt: skip

    assert [line.split(": ", 1)[1] for line in faults(runbook(deep))] == ["is inside 4 steps; at most 3 are"]
    assert faults(runbook(wide)) == [
        "steps: up to 1100 sequences go on at the same time; lower a concurrency: 500 is the most"
    ]


def test_what_changes_nothing_is_not_taken_back() -> None:
    spec = runbook({"id": "a", "rollback": {"action": "http.request"}})

    assert faults(spec) == ["steps[0].rollback: does not fit effect: read, which changes nothing"]


def test_where_all_is_taken_back_every_change_says_how() -> None:
    back = {"rollback": {"action": "http.request"}}
    spec = runbook(
        {"id": "a", **CHANGE}, {"id": "b", **CHANGE, **back}, {"id": "c", **CHANGE, "irreversible": True},
        on_failed="rollback", **VERIFY,
    )  # fmt: skip

    assert faults(spec) == [
        "steps[0].rollback: is missing: on_failed: rollback takes every change back; add it, or irreversible: true"
    ]


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([{"id": "a", **CHANGE}], "verify.checks[0]: 'seen' is not the id of a step of type check"),
        (
            [{"id": "seen", "type": "check", "expect": "inputs.x"}, {"id": "a", **CHANGE}],
            "verify.checks[0]: 'seen' comes before a step that changes something; put it behind",
        ),
        (
            [{"id": "a", **CHANGE}, {"id": "seen", "type": "check", "expect": "inputs.x", "on_failure": "continue"}],
            "verify.checks[0]: 'seen' verifies, so it has neither when nor on_failure",
        ),
    ],
)
def test_what_verifies_is_a_check_behind_all_changes(steps: list[dict[str, Any]], says: str) -> None:
    spec = runbook(*steps, verify={"checks": ["seen"]}, inputs={"x": {"type": "boolean"}})

    assert [line for line in faults(spec) if line.startswith(says)], faults(spec)


def test_the_step_that_a_mode_begins_with_has_its_name() -> None:
    assert faults(runbook({"id": "plan"}, mode="approve")) == [
        "steps[0].id: 'plan' is the step that mode: approve begins with"
    ]


@pytest.mark.parametrize(
    ("step", "says"),
    [
        ("- {id: x, type: parallel, branches: {}}", "steps[0].branches: "),
        ("- {id: x, type: parallel, branches: {a: []}}", "steps[0].branches: a: a branch needs at least one step"),
        (
            "- {id: x, type: parallel, join: 2, branches: {a: [{id: y, type: wait, for: 1s}]}}",
            "steps[0]: join asks for 2 branches, but there are 1",
        ),
        ("- {id: x, type: loop, over: [1], steps: []}", "steps[0].steps: "),
        ("- {id: x, type: loop, over: [1.5], steps: [{id: y, type: wait, for: 1s}]}", "steps[0].over"),
        ("- {id: x, type: loop, over: [1], concurrency: 101, steps: [{id: y, type: wait, for: 1s}]}", "steps[0].conc"),
        ("- {id: x, type: decision, branches: [], otherwise: end}", "steps[0].branches: "),
        ("- {id: x, type: wait, event: go}", "steps[0]: timeout belongs to event"),
        ("- {id: x, type: wait, for: 1s, timeout: 5s}", "steps[0]: timeout belongs to event"),
    ],
)
def test_what_a_composite_step_says_is_checked(step: str, says: str) -> None:
    lines = refusal(text(step + "\n"))

    assert [line for line in lines if line.startswith(says)], lines


def test_the_graph_of_a_plan_names_what_is_inside_a_step_and_where_a_decision_leads() -> None:
    choose = {"id": "c", "type": "decision", "branches": [{"when": "inputs.x", "goto": "z"}], "otherwise": "end"}
    spec = runbook(loop({"id": "a"}), fan(x=[{"id": "b"}]), choose, {"id": "z"}, mode="approve")
    graph = step_graph(spec)

    assert [node.path for node in graph] == ["plan", "each", "each/*/a", "fan", "fan/x/b", "c", "z"]
    assert graph[5].to_json()["leads"] == ["z", "end"]
