"""Approvals as the executor holds them: asked by hash, taken at the claim, once; without one nothing runs."""

import asyncio

import pytest

from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.integration.executor.samples import RISKY, refused

pytestmark = pytest.mark.stack

# ── asking ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_of_high_risk_asks_about_exactly_what_would_run(bench: Bench) -> None:
    execution = await bench.execution(runbook(RISKY))

    asked = await bench.fact(execution, "blocked")
    shown = await bench.show(execution)
    assert asked["reason"] == "approval"
    assert (asked["step"], asked["approval_of"], asked["risk"]) == ("fix", "action", "high")
    assert (asked["requester"], asked["expires_seconds"]) == ("svc_executor", 300)
    assert asked["prompt"] == "Reroute away from slow?"
    assert (asked["action"], asked["resource_id"]) == ("http.request", "shard")
    assert asked["plan_hash"] == shown["plan_hash"]
    assert (shown["state"], shown["phase"], shown["blocked_reason"]) == ("blocked", "approval_wait", "approval")
    [told] = [item["asked"] for item in shown["steps"]]
    assert told["action_hash"] == asked["action_hash"]
    assert told["arguments"]["url"].endswith("/fix")
    assert await bench.attempts(execution) == []
    assert await bench.hinted() == []


async def test_every_execution_asks_a_question_of_its_own_about_the_same_action(bench: Bench, grace: Approver) -> None:
    first, second = await bench.execution(runbook(RISKY)), await bench.execution(runbook(RISKY))

    one, other = await grace.about(first), await grace.about(second)

    assert one["action_hash"] == other["action_hash"]
    assert one["step_run_id"] != other["step_run_id"]
    assert one["approval_id"] != other["approval_id"]


async def test_a_step_that_cannot_be_rendered_fails_instead_of_being_asked_about(bench: Bench) -> None:
    absent = {**RISKY, "with": {"method": "POST", "url": "${{ alert.labels.nowhere }}"}}
    execution = await bench.execution(runbook(absent))

    shown = await bench.show(execution)
    assert (shown["state"], shown["steps"][0]["error_code"]) == ("failed", "render_refused")
    assert not [
        name for name in await bench.told(execution) if name.endswith("blocked")
    ]  # nobody can be asked about it


# ── granted ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_granted_step_is_claimed_once_and_its_grant_is_used(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))

    approval = await grace.grant(execution)

    [ready] = await bench.ready(execution)
    assert await bench.hinted() == [ready.action_id]
    assert await grace.state(approval) == "granted"
    won = await asyncio.gather(*(bench.claim(execution, worker) for worker in ("worker-1", "worker-2")))
    assert sum(attempt is not None for attempt in won) == 1
    assert await grace.state(approval) == "used"
    await bench.settle(next(attempt for attempt in won if attempt))
    assert (await bench.told(execution))[-4:] == ["started", "blocked", "unblocked", "step_completed"]


async def test_a_grant_that_is_told_again_changes_nothing(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    fact = await grace.granted(execution)
    await bench.hear(fact)
    await bench.running(execution)

    await bench.hear(fact)

    assert await grace.state(fact.approval_id) == "used"
    assert states(await bench.attempts(execution)) == ["running"]


async def test_the_next_attempt_of_the_same_visit_needs_no_second_grant(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    lost = await bench.running(execution)
    await grace.outlive(approval)  # it was begun in time

    await bench.expire(lost)

    again = await bench.running(execution, "worker-2")
    assert (again.attempt, again.idem_key) == (2, lost.idem_key)
    assert (await bench.told(execution)).count("blocked") == 1


async def test_a_grant_waits_for_the_kill_switch_and_is_not_used_by_it(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    await bench.switch(engaged=True)

    assert await bench.claim(execution) is None
    assert await grace.state(approval) == "granted"

    await bench.switch(engaged=False)
    assert await bench.claim(execution) is not None


# ── not granted, or not any more ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_rejected_step_fails_and_says_by_whom_and_why(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))

    await grace.reject(execution)

    await refused(bench, execution, "approval_rejected")
    assert (await bench.fact(execution, "step_failed"))["message"] == "rejected by grace: not now"
    assert (await bench.told(execution))[-3:] == ["blocked", "step_failed", "failed"]


async def test_a_step_that_nobody_granted_in_time_fails(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))

    await grace.expire(execution)

    await refused(bench, execution, "approval_expired")
    assert (await bench.fact(execution, "step_failed"))["message"].endswith("it asks anew, about what would run then.")


async def test_a_denied_step_that_says_how_to_go_on_goes_on(bench: Bench, grace: Approver) -> None:
    spec = runbook({**RISKY, "on_failure": "continue"}, step("look", effect="read"))
    execution = await bench.execution(spec)

    await grace.reject(execution)

    assert [attempt.path for attempt in await bench.ready(execution)] == ["look"]


async def test_no_answer_after_the_end_brings_an_execution_back(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    fact = await grace.granted(execution)
    await grace.reject(execution)

    await bench.hear(fact)

    await refused(bench, execution, "approval_rejected")
    assert await bench.ready() == []
