"""What is said of a plan before anything runs: filled in, known only after a step, or never."""

from typing import Any

from libs.runbook.declared import evaluator_of
from libs.runbook.outlook import StepOutlook, outlook
from libs.runbook.planning import PlanFacts, make_plan
from libs.runbook.rendering import render_action
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts

ALERT = AlertFacts("slow", "high", {"shard": "s1"}, {})
LOOK = {
    "id": "look", "type": "check", "action": "http.request", "with": {"url": "http://t/${{ inputs.shard }}"},
    "capture": {"to": "outputs.json.to"}, "expect": "outputs.status == 200",
}  # fmt: skip
MOVE = {
    "id": "move", "type": "action", "action": "http.request", "effect": "keyed", "risk": "high",
    "with": {"method": "POST", "url": "http://t/move", "json": {"to": "${{ steps.look.outputs.to }}", "n": 3}},
    "resource": "shard/${{ inputs.shard }}",
    "approval": {"prompt": "Move ${{ inputs.shard }}?", "expires": "5m", "approvers": ["lead"]},
}  # fmt: skip


def seen(*steps: dict[str, Any], alert: AlertFacts | None = ALERT, **inputs: Any) -> dict[str, StepOutlook]:
    spec = Runbook.model_validate({
        "apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto",
        "inputs": {"shard": {"default": "s1"}, "deep": {"type": "boolean", "default": False}}, "steps": list(steps),
    })  # fmt: skip
    facts, evaluate = PlanFacts(alert), evaluator_of(spec)
    plan = make_plan(spec, inputs, facts, evaluate=evaluate)
    return {item.node.path: item for item in outlook(spec, plan, facts, evaluate=evaluate)}


def test_what_is_known_is_filled_in() -> None:
    step = seen(LOOK, shard="s9")["look"]

    assert step.values["with"] == {"url": "http://t/s9"}
    assert (step.after, step.faults, step.applies) == ((), (), True)


def test_what_an_earlier_step_answers_is_known_only_after_it() -> None:
    step = seen(LOOK, MOVE)["move"]

    assert step.values["with"]["json"] == {"to": "${{ steps.look.outputs.to }}", "n": 3}
    [later] = step.later
    assert (later.at, later.after) == ("with.json.to", ("look",))
    assert (step.resource, step.action_hash, step.faults) == ("shard/s1", None, ())


def test_a_step_that_depends_on_nothing_has_the_hash_that_an_approval_would_be_for() -> None:
    known = {**MOVE, "with": {"method": "POST", "url": "http://t/${{ alert.labels.shard }}"}}
    spec_step = seen(known)["move"]

    assert spec_step.approval is not None
    assert (spec_step.approval.prompt, spec_step.approval.expires_seconds) == ("Move s1?", 300)
    spec = Runbook.model_validate({
        "apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto",
        "inputs": {"shard": {"default": "s1"}}, "steps": [known],
    })  # fmt: skip
    scope = {"inputs": {"shard": "s1"}, "alert": ALERT.to_json(), "steps": {}}
    assert spec_step.action_hash == render_action(spec, "move", scope).action_hash


def test_what_will_never_have_a_value_is_said_with_its_place() -> None:
    step = seen({**MOVE, "resource": "shard/${{ alert.labels.zone }}"})["move"]

    [fault] = [item for item in step.faults if item.at == "resource"]
    assert "alert.labels.zone" in fault.message


def test_a_condition_is_decided_where_it_can_be() -> None:
    steps = seen(
        LOOK,
        {**MOVE, "id": "yes", "when": "inputs.deep"},
        {**MOVE, "id": "perhaps", "when": "steps.look.outputs.to != ''"},
        {**MOVE, "id": "never", "when": "alert.labels.zone == 'a'"},
        deep=True,
    )

    assert [steps[name].applies for name in ("yes", "perhaps", "never")] == [True, None, None]
    assert steps["perhaps"].after == ("look",)
    assert [fault.at for fault in steps["never"].faults] == ["when"]


def test_the_first_change_needs_the_alert_as_does_what_says_so() -> None:
    steps = seen(LOOK, MOVE, {**MOVE, "id": "again"}, {**LOOK, "id": "last", "requires_firing": True})

    assert [step.requires_firing for step in steps.values()] == [False, True, False, True]


def test_messages_waits_instructions_and_questions_are_shown() -> None:
    steps = seen(
        {"id": "tell", "type": "notify", "channel": "log", "message": "Shard ${{ inputs.shard }}"},
        {"id": "soak", "type": "wait", "for": "30s"},
        {"id": "hand", "type": "manual", "instructions": "Look at ${{ inputs.shard }}"},
        {"id": "ask", "type": "approval", "prompt": "All of ${{ inputs.shard }}?"},
    )

    assert steps["tell"].values == {"channel": "log", "message": "Shard s1"}
    assert steps["soak"].values == {"for": "30s"}
    assert steps["hand"].values == {"instructions": "Look at s1"}
    assert steps["ask"].approval is not None
    assert (steps["ask"].approval.of, steps["ask"].approval.prompt) == ("plan", "All of s1?")
