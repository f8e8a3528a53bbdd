"""Approvals as the executor holds them: asked by hash, taken at the claim, once; without one nothing runs."""

import asyncio
from typing import Any

import pytest

from libs.common.errors import RangerError
from services.executor.claims import Asked
from services.executor.commands import CompleteStep
from services.executor.errors import EvidenceMissing
from tests.integration.executor.approver import Approver, somebody_elses_hash
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

RISKY = step(risk="high", approval={"prompt": "Reroute away from ${{ alert.name }}?", "expires": "5m"})
QUESTION = {"id": "ask", "type": "approval", "prompt": "Carry all of it out?", "expires": "10m", "approvers": ["lead"]}
BY_HAND = {
    "id": "replace", "type": "manual", "risk": "high", "instructions": "Replace the disk.", "evidence": "required",
}  # fmt: skip


@pytest.fixture
def grace(bench: Bench) -> Approver:
    """Who decides."""
    return Approver(bench)


async def refused(bench: Bench, execution: str, code: str) -> None:
    """The execution failed for that reason and nothing of it ever ran."""
    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"]) == ("failed", "step_failed")
    assert shown["steps"][-1]["error_code"] == code
    assert (await bench.fact(execution, "step_failed"))["error_code"] == code
    assert [row["started_at"] for row in await bench.attempts(execution) if row["started_at"]] == []
    assert await bench.lock() is None


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
    assert (await bench.fact(execution, "blocked")).get("step_run_id") is None  # nobody can be asked about it


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


async def test_the_grant_of_another_plan_lets_nothing_begin(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))

    await grace.grant(execution, plan_hash=somebody_elses_hash())

    assert (await bench.show(execution))["blocked_reason"] == "approval"
    assert await bench.ready() == []


async def test_the_grant_of_another_action_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution, action_hash=somebody_elses_hash())

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_invalid")
    assert await grace.state(approval) == "granted"


async def test_a_plan_that_changed_after_the_grant_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    await grace.grant(execution)
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", somebody_elses_hash())

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_invalid")


async def test_an_action_that_changed_after_the_grant_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    # Consistent in itself, as another rendering would be, and still not what was granted.
    await bench.database.pool.execute(
        "UPDATE action_log SET rendered = rendered || ' '::bytea,"
        " action_hash = encode(sha256('rr.action/1\n'::bytea || rendered || ' '::bytea), 'hex')"
    )

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_invalid")
    assert await grace.state(approval) == "granted"


async def test_a_grant_whose_time_is_over_at_its_use_is_refused(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    await grace.outlive(await grace.grant(execution))

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_invalid")


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


# ── taking back ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_that_is_taken_back_before_the_claim_ends_the_step(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    [ready] = await bench.ready(execution)

    assert await grace.revoke(approval) == {"revoked": True}

    running, _ = await bench.claims().claim([Asked(ready)])
    assert running == {}
    await refused(bench, execution, "approval_revoked")
    assert states(await bench.attempts(execution)) == ["cancelled"]


async def test_a_grant_that_was_used_is_not_taken_back_and_its_step_is_let_finish(
    bench: Bench, grace: Approver
) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    running = await bench.running(execution)

    assert await grace.revoke(approval) == {"revoked": False, "reason": "used"}

    await bench.settle(running)
    assert states(await bench.attempts(execution)) == ["succeeded"]


async def test_a_grant_that_arrives_after_its_revocation_is_void(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    fact = await grace.granted(execution)

    assert (await grace.revoke(fact.approval_id))["revoked"]
    await bench.hear(fact)

    await refused(bench, execution, "approval_revoked")
    assert await grace.state(fact.approval_id) == "revoked"


async def test_a_revocation_that_is_asked_for_again_is_the_same_answer(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)

    answers = [await grace.revoke(approval), await grace.revoke(approval)]

    assert answers == [{"revoked": True}] * 2
    assert (await bench.told(execution)).count("failed") == 1


async def test_a_revocation_that_meets_its_grant_in_mid_commit_stops_the_plan(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(QUESTION, step()))
    fact = await grace.granted(execution)

    async with bench.database.transaction("hear") as tx:
        await bench.handlers.apply(tx, [bench.message(fact)])
        revoking = asyncio.create_task(grace.revoke(fact.approval_id))
        await eventually(lambda: bench.database.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    answer = await revoking

    assert answer == {"revoked": True}
    assert (await bench.show(execution))["reason"] == "approval_revoked"
    assert await bench.ready(execution) == []


async def test_of_a_revocation_and_a_claim_that_race_exactly_one_wins(bench: Bench, grace: Approver) -> None:
    seen = set()
    for number in range(30):
        execution = await bench.execution(runbook({**RISKY, "resource": f"shard-{number}"}))
        approval = await grace.grant(execution)
        [ready] = await bench.ready(execution)

        answer, (running, _) = await asyncio.wait_for(
            asyncio.gather(grace.revoke(approval), bench.claims().claim([Asked(ready)])), 20
        )

        assert answer["revoked"] is (not running)
        assert await grace.state(approval) == ("used" if running else "revoked")
        shown = await bench.show(execution)
        assert shown["state"] == ("running" if running else "failed")
        if not running:
            assert shown["steps"][0]["error_code"] == "approval_revoked"
        seen.add(bool(running))
    assert seen  # which of them wins is the scheduler's choice; that one does, and only one, is ours


@pytest.mark.parametrize("table", ["execution", "approval"])
async def test_a_claim_and_a_revocation_that_hold_what_the_other_wants_do_not_wait_for_each_other(
    bench: Bench, grace: Approver, table: str
) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    [ready] = await bench.ready(execution)

    async with bench.database.transaction("between") as tx:
        await tx.execute(f"SELECT FROM {table} FOR UPDATE")
        both = asyncio.gather(grace.revoke(approval), bench.claims().claim([Asked(ready)]), return_exceptions=True)
        await eventually(lambda: bench.database.pool.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"))
    answer, claimed = await asyncio.wait_for(both, 20)

    assert not isinstance(answer, BaseException), answer
    assert not isinstance(claimed, BaseException), claimed
    assert answer["revoked"] is (not claimed[0])


# ── the plan ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_approval_step_asks_about_the_plan_and_its_grant_goes_on(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(QUESTION, step()))
    asked = await bench.fact(execution, "blocked")

    approval = await grace.grant(execution)

    assert (asked["approval_of"], asked["prompt"]) == ("plan", "Carry all of it out?")
    assert (asked["expires_seconds"], asked["approvers"]) == (600, ["lead"])
    assert (asked.get("action_hash"), asked.get("action")) == (None, None)
    shown = await bench.show(execution)
    assert shown["steps"][0]["outputs"] == {"approval_id": approval}
    assert await bench.claim(execution) is not None


async def test_a_plan_that_is_rejected_stops(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(QUESTION, step()))

    await grace.reject(execution)

    await refused(bench, execution, "approval_rejected")


async def test_a_plan_whose_approval_is_taken_back_begins_nothing_more(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(QUESTION, step("one"), step("two")))
    approval = await grace.grant(execution)
    running = await bench.running(execution)

    assert (await grace.revoke(approval))["revoked"]
    await bench.settle(running)

    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"]) == ("failed", "approval_revoked")
    assert [item["state"] for item in shown["steps"]] == ["succeeded", "succeeded"]


# ── by hand ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def granted_by_hand(bench: Bench, grace: Approver) -> tuple[str, str]:
    """An execution whose manual step of high risk was granted, and the grant's id."""
    execution = await bench.execution(runbook(BY_HAND))
    asked = await bench.fact(execution, "blocked")
    assert (asked["reason"], asked["action"], asked["risk"]) == ("approval", "manual", "high")
    approval = await grace.grant(execution)
    assert (await bench.fact(execution, "blocked"))["reason"] == "person"
    return execution, approval


async def complete(bench: Bench, execution: str, **more: Any) -> Any:
    """Tell that the disk was replaced."""
    command = {"execution_id": execution, "step": "replace", "outcome": "succeeded", "evidence_ref": "ticket/7"}
    return await bench.tell("complete_step", CompleteStep.model_validate({**command, **more}))


async def test_a_manual_step_of_high_risk_is_completed_under_its_grant_and_with_evidence(
    bench: Bench, grace: Approver
) -> None:
    execution, approval = await granted_by_hand(bench, grace)

    await complete(bench, execution, approval_ids=[approval])

    assert await grace.state(approval) == "used"
    fact = await bench.fact(execution, "step_completed")
    assert (fact["step"], fact["decided_by_person"]) == ("replace", True)


async def test_without_evidence_or_its_own_grant_a_manual_step_of_high_risk_is_refused(
    bench: Bench, grace: Approver
) -> None:
    _, others = await granted_by_hand(bench, grace)
    execution, approval = await granted_by_hand(bench, grace)

    for more in ({"approval_ids": [approval], "evidence_ref": ""}, {}, {"approval_ids": [others]}):
        with pytest.raises(RangerError) as error:
            await complete(bench, execution, **more)
        assert error.value.reason_code in {"evidence_missing", "form_faults"}

    assert (await bench.show(execution))["blocked_reason"] == "person"
    assert [await grace.state(each) for each in (approval, others)] == ["granted", "granted"]


@pytest.mark.parametrize("void", ["expired", "of another plan", "of another action"])
async def test_a_manual_step_of_high_risk_is_refused_under_a_grant_that_does_not_stand(
    bench: Bench, grace: Approver, void: str
) -> None:
    execution, approval = await granted_by_hand(bench, grace)
    if void == "expired":
        await grace.outlive(approval)
    else:
        column = "plan_hash" if void == "of another plan" else "action_hash"
        await bench.database.pool.execute(f"UPDATE approval SET {column} = $1", somebody_elses_hash())

    with pytest.raises(EvidenceMissing):
        await complete(bench, execution, approval_ids=[approval])

    assert (await bench.show(execution))["blocked_reason"] == "person"


async def test_a_grant_of_a_manual_step_that_is_taken_back_ends_it(bench: Bench, grace: Approver) -> None:
    execution, approval = await granted_by_hand(bench, grace)

    assert (await grace.revoke(approval))["revoked"]

    await refused(bench, execution, "approval_revoked")


async def test_that_a_manual_step_could_not_be_done_is_told_without_evidence_and_uses_no_grant(
    bench: Bench, grace: Approver
) -> None:
    execution, approval = await granted_by_hand(bench, grace)

    await complete(bench, execution, outcome="failed", evidence_ref="")

    assert (await bench.show(execution))["steps"][-1]["error_code"] == "failed_by_person"
    assert await grace.state(approval) == "granted"
