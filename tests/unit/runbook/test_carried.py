"""An execution that goes on with another one: what that one has been through is passed by, and not done again."""

from typing import Any

from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import Effect, PublishFact, RequestApproval, RunAction
from libs.runbook.facts import AlertObserved, ApprovalGranted, Started, StepSucceeded
from libs.runbook.frame import Frame
from libs.runbook.spec import Runbook

DONE = {"state": "succeeded", "outputs": {"n": 1}}


def act(name: str, **more: Any) -> dict[str, Any]:
    return {"id": name, "type": "action", "action": "http.request", "effect": "keyed", "resource": "r", **more}


def spec(*steps: dict[str, Any]) -> Runbook:
    head = {"apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto"}
    return Runbook.model_validate({**head, "steps": list(steps)})


def begun(runbook: Runbook, **carried: Any) -> tuple[Frame, tuple[Effect, ...]]:
    return advance(runbook, Frame(carried={path.replace("_", "/"): run for path, run in carried.items()}), [Started()])


def asked(effects: tuple[Effect, ...]) -> list[str]:
    return [effect.path for effect in effects if isinstance(effect, RunAction)]


def test_it_begins_behind_what_is_carried_and_knows_what_that_answered() -> None:
    runbook = spec(act("one"), act("two"), act("three", when="steps.one.outputs.n == 1"))

    frame, effects = begun(runbook, one=DONE, two=DONE)

    assert asked(effects) == ["three"]
    assert [(run.path, run.state) for run in frame.step_runs][:2] == [("one", "succeeded"), ("two", "succeeded")]
    assert [effect.type for effect in effects if isinstance(effect, PublishFact)] == ["started"]


def test_a_carried_step_that_failed_leads_where_its_failure_led() -> None:
    runbook = spec(act("one", on_failure="back"), act("two"), act("back"))

    _, effects = begun(runbook, one={"state": "failed", "error_code": "no"})

    assert asked(effects) == ["back"]


def test_a_step_that_was_left_out_stays_left_out() -> None:
    frame, effects = begun(spec(act("one"), act("two")), one={"state": "skipped", "error_code": "when_false"})

    assert asked(effects) == ["two"]
    assert frame.step_runs[0].state == "skipped"


def test_a_question_is_asked_again_and_what_follows_it_is_not_done_again() -> None:
    runbook = spec({"id": "ask", "type": "approval", "prompt": "All of it?"}, act("one"), act("two"))

    frame, effects = begun(runbook, one=DONE)
    assert [effect.path for effect in effects if isinstance(effect, RequestApproval)] == ["ask"]
    _, effects = advance(runbook, frame, [ApprovalGranted("ask", 1, "a-1")])

    assert asked(effects) == ["two"]


def test_branches_go_on_where_they_were() -> None:
    fan = {"id": "fan", "type": "parallel", "branches": {"a": [act("a1"), act("a2")], "b": [act("b1"), act("b2")]}}

    frame, effects = begun(spec(fan, act("last")), fan_a_a1=DONE, fan_a_a2=DONE, fan_b_b1=DONE)
    assert asked(effects) == ["fan/b/b2"]
    _, effects = advance(spec(fan, act("last")), frame, [StepSucceeded("fan/b/b2", 1)])

    assert asked(effects) == ["last"]


def test_what_branches_answered_is_known_behind_a_composite_step_that_is_carried() -> None:
    fan = {"id": "fan", "type": "parallel", "branches": {"a": [act("a1")], "b": [act("b1")]}}
    runbook = spec(fan, act("last", when="steps.a1.outputs.n == 1"))

    frame, effects = begun(runbook, fan=DONE, fan_a_a1=DONE, fan_b_b1=DONE)

    assert asked(effects) == ["last"]
    assert [run.path for run in frame.step_runs] == ["fan/a/a1", "fan/b/b1", "fan", "last"]


def test_what_is_carried_is_no_change_of_this_execution_so_the_alert_must_fire_before_its_first() -> None:
    runbook = spec(act("one"), act("two"))
    frame = Frame(carried={"one": DONE}, alert_firing=False)

    frame, effects = advance(runbook, frame, [Started(), AlertObserved(firing=False)])

    assert needs_firing(runbook, frame, "two")
    assert asked(effects) == []
    assert frame.reason == "alert_resolved"


def test_it_survives_being_stored() -> None:
    frame, _ = begun(spec(act("one"), act("two")), one=DONE)

    assert Frame.from_json(frame.to_json()) == frame
    assert Frame.from_json({k: v for k, v in Frame().to_json().items() if k != "carried"}) == Frame()
