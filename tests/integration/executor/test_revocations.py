"""Grants that are taken back, of a whole plan, or of what a person does by hand."""

import asyncio
from typing import Any

import pytest

from libs.common.errors import RangerError
from libs.common.ids import new_id
from services.executor.claims import Asked
from services.executor.commands import CompleteStep
from services.executor.errors import GrantRefused
from services.executor.grants import BEGIN_AGAIN, NAME_ITS_OWN
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.integration.executor.samples import BY_HAND, QUESTION, RISKY, VOID, refused
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

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

    for more, code in (
        ({"approval_ids": [approval], "evidence_ref": ""}, "form_faults"),
        ({}, "evidence_missing"),
        ({"approval_ids": [others]}, "approval_other_step"),
    ):
        with pytest.raises(RangerError) as error:
            await complete(bench, execution, **more)
        assert error.value.reason_code == code

    assert (await bench.show(execution))["blocked_reason"] == "person"
    assert [await grace.state(each) for each in (approval, others)] == ["granted", "granted"]


@pytest.mark.parametrize(("change", "code"), VOID)
async def test_a_manual_step_of_high_risk_is_refused_under_a_grant_that_does_not_stand_and_says_why(
    bench: Bench, grace: Approver, change: str, code: str
) -> None:
    execution, approval = await granted_by_hand(bench, grace)
    await bench.database.pool.execute(f"UPDATE approval SET {change}")

    with pytest.raises(GrantRefused) as refusal:
        await complete(bench, execution, approval_ids=[approval])

    assert (refusal.value.reason_code, refusal.value.data["step"]) == (code, "replace")
    assert approval in refusal.value.detail
    assert refusal.value.fix == (NAME_ITS_OWN if code == "approval_other_step" else BEGIN_AGAIN)
    asked = await bench.show(execution)
    assert refusal.value.data["approval_id"] == approval
    assert refusal.value.data["present"]["plan_hash"] == asked["plan_hash"]
    assert (asked["blocked_reason"], asked["steps"][-1]["state"]) == ("person", "waiting")


async def test_a_manual_step_is_not_completed_under_the_used_grant_of_another(bench: Bench, grace: Approver) -> None:
    first, approval = await granted_by_hand(bench, grace)
    await complete(bench, first, approval_ids=[approval])
    execution, own = await granted_by_hand(bench, grace)

    with pytest.raises(GrantRefused, match="was used already") as refusal:
        await complete(bench, execution, approval_ids=[approval])

    assert (refusal.value.reason_code, refusal.value.fix) == ("approval_used", NAME_ITS_OWN)
    assert (await bench.show(execution))["blocked_reason"] == "person"
    await complete(bench, execution, approval_ids=[approval, own])
    assert await grace.state(own) == "used"


async def test_a_manual_step_is_not_completed_under_an_approval_that_nobody_knows(
    bench: Bench, grace: Approver
) -> None:
    execution, _ = await granted_by_hand(bench, grace)

    with pytest.raises(GrantRefused) as refusal:
        await complete(bench, execution, approval_ids=[new_id()])

    assert refusal.value.reason_code == "approval_missing"
    assert "approval_id" not in refusal.value.data


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
