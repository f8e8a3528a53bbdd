"""What the executor makes of grants by several people, with forms, and of who must not be among them."""

import json
from typing import Any

import pytest

from libs.common.contracts.approval import ApprovalVoted
from services.executor.commands import RetryExecution
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import ADA, Bench, runbook, step
from tests.integration.executor.samples import told_step

pytestmark = pytest.mark.stack

FORM = {"window": {"type": "integer", "one_of": [30, 60]}, "note": {"required": False}}
ASK = {"id": "ask", "type": "approval", "prompt": "Carry it out?", "quorum": 2, "groups": ["storage"], "form": FORM}
USES = step(**{"with": {"method": "POST", "url": "http://127.0.0.1:9/${{ steps.ask.outputs.window }}"}})
TWO = {"approvers": ["grace", "heidi"], "approver": "heidi"}


async def given(bench: Bench, grace: Approver, execution: str, **said: Any) -> str:
    """A grant of the last question that says this; the approval's id."""
    fact = (await grace.granted(execution)).model_copy(update=said)
    await bench.hear(fact)
    return fact.approval_id


async def test_a_question_says_who_how_many_and_what_is_to_be_filled_in(bench: Bench) -> None:
    levels = [{"after": "5m", "approvers": ["lead"]}]
    execution = await bench.execution(runbook(ASK | {"escalation": levels, "remind_after": ["1m"]}, USES))

    asked = await bench.fact(execution, "blocked")

    assert (asked["quorum"], asked["groups"], asked["remind_after_seconds"]) == (2, ["storage"], [60.0])
    assert asked["escalation"] == [{"after_seconds": 300.0, "approvers": ["lead"], "groups": []}]
    assert asked["form"]["window"] == {"type": "integer", "label": "window", "required": True, "one_of": [30, 60]}


async def test_what_was_filled_in_is_the_steps_answer(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(ASK, USES))

    approval = await given(bench, grace, execution, **TWO, values={"window": 60})

    shown = await bench.show(execution)
    assert told_step(shown, "ask")["outputs"] == {"window": 60, "approval_id": approval}
    [ready] = await bench.ready(execution)
    assert json.loads(ready.rendered)["with"]["url"].endswith("/60")


@pytest.mark.parametrize("values", [None, {"window": 45}, {"window": "60"}, {"window": 60, "more": 1}])
async def test_what_does_not_fit_the_form_carries_nothing_out(
    bench: Bench, grace: Approver, values: dict[str, Any] | None
) -> None:
    execution = await bench.execution(runbook(ASK, USES))

    await given(bench, grace, execution, **TWO, values=values)

    assert told_step(await bench.show(execution), "ask")["error_code"] == "approval_form"
    assert await bench.ready(execution) == []


@pytest.mark.parametrize(
    "said",
    [
        {"approver": "grace"},
        {"approver": "grace", "approvers": ["grace"]},
        {"approver": "grace", "approvers": ["grace", "grace"]},
        {"approver": "grace", "approvers": ["svc_executor", "grace"]},
    ],
)
async def test_a_grant_by_fewer_people_than_the_runbook_asks_for_is_none(
    bench: Bench, grace: Approver, said: dict[str, Any]
) -> None:
    """Whoever sends it: a message is no authority."""
    risky = step(risk="high", approval={"quorum": 2})
    execution = await bench.execution(runbook(risky))

    approval = await given(bench, grace, execution, **said)

    failed = told_step(await bench.show(execution), "fix")
    assert (failed["state"], failed["error_code"]) == ("failed", "approval_revoked")
    assert "1 of 2 people agreed" in failed["message"]
    assert await grace.state(approval) == "revoked"
    assert await bench.attempts(execution) == []


async def test_enough_people_let_the_step_run_and_single_votes_do_not(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(step(risk="high", approval={"quorum": 2})))
    about = await grace.about(execution)

    await bench.hear(ApprovalVoted(**about, approver="grace", rationale="yes", votes=2, quorum=2))
    assert await bench.ready(execution) == []
    assert await grace.state(about["approval_id"]) is None

    await given(bench, grace, execution, **TWO)
    assert (await bench.running(execution)).path == "fix"


async def test_whoever_asked_is_not_among_those_who_agree(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(step(risk="high")))

    await given(bench, grace, execution, approver="grace", approvers=["svc_executor", "grace"])

    assert told_step(await bench.show(execution), "fix")["error_code"] == "approval_own"
    assert await bench.attempts(execution) == []


async def test_whoever_retries_asks(bench: Bench, grace: Approver) -> None:
    old = await bench.execution(runbook(step(risk="high")))
    await grace.reject(old)
    command = RetryExecution(execution_id=old, rationale="it is different now")

    new = (await bench.tell("retry", command))["execution_id"]

    assert (await bench.fact(new, "blocked"))["requester"] == ADA.actor
    await given(bench, grace, new, approver=ADA.actor, approvers=[ADA.actor])
    assert told_step(await bench.show(new), "fix")["error_code"] == "approval_own"


async def test_a_changed_plan_is_asked_about_anew_with_its_terms(bench: Bench, grace: Approver) -> None:
    """The grant of two is for what they saw, and the step goes on asking for two."""
    execution = await bench.execution(runbook(step(risk="high", approval={"quorum": 2})))
    other = "f" * 64

    await bench.hear((await grace.granted(execution, action_hash=other)).model_copy(update=TWO))

    again = await bench.fact(execution, "blocked")
    assert (again["refused_code"], again["refused_action_hash"]) == ("approval_other_action", other)
    assert (again["quorum"], again["action_hash"] != other) == (2, True)


async def test_secrets_of_what_would_run_are_in_no_question(bench: Bench) -> None:
    headers = {"Authorization": "Bearer canary-of-a-secret", "x-note": "canary-of-a-secret is the token"}
    arguments = {"method": "POST", "url": "http://127.0.0.1:9/fix", "headers": headers, "json": {"text": "x" * 9_000}}
    execution = await bench.execution(runbook(step(risk="high", **{"with": arguments})))

    asked = await bench.fact(execution, "blocked")
    [shown] = [item["asked"] for item in (await bench.show(execution))["steps"]]

    assert asked["arguments"]["url"].endswith("/fix")
    assert asked["arguments"]["json"]["text"].endswith("…")
    assert "canary" not in json.dumps([asked, shown])
    assert shown["arguments"] == asked["arguments"]
