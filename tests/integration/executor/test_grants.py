"""A grant that is not good for what it would be used for: nothing runs, and the reason stands where people look."""

from datetime import timedelta
from typing import Any

import pytest

from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.approval import approval_id
from services.executor.grants import ASKED_AGAIN, BEGIN_AGAIN
from tests.integration.executor.approver import Approver, somebody_elses_hash
from tests.integration.executor.bench import TENANT, Bench, runbook, states, step
from tests.integration.executor.samples import OTHER, QUESTION, RISKY, VOID, refused

pytestmark = pytest.mark.stack

ONE_EACH = pytest.mark.parametrize("spec", [runbook(RISKY), runbook(QUESTION, step())], ids=["action", "plan"])


async def still_asks(bench: Bench, execution: str, code: str) -> dict[str, Any]:
    """Nothing ran; it waits, says why, and asks about what would run now. Returns what it told last."""
    shown = await bench.show(execution)
    told = await bench.fact(execution, "blocked")
    here = shown["steps"][-1]
    assert (shown["state"], shown["blocked_reason"], here["state"]) == ("blocked", "approval", "waiting")
    assert (here["error_code"], here["message"]) == (code, told["detail"])
    assert (told["reason"], told["refused_code"], told["plan_hash"]) == ("approval", code, shown["plan_hash"])
    assert told["detail"].endswith(ASKED_AGAIN)
    assert here["asked"]["plan_hash"] == shown["plan_hash"]
    assert await bench.attempts(execution) == []
    return told


# ── at the claim ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("change", "code"), VOID)
async def test_a_grant_that_does_not_stand_is_refused_at_the_claim_with_its_reason(
    bench: Bench, grace: Approver, change: str, code: str
) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    if code == "approval_used":  # once more for the same bytes is the same use; for other bytes it is a second one
        change += f", action_hash = '{OTHER}'"
    await bench.database.pool.execute(f"UPDATE approval SET {change}")

    assert await bench.claim(execution) is None

    if code == "approval_other_step":  # what is kept for another step is not found for this one
        code = "approval_missing"
    await refused(bench, execution, code)
    message = (await bench.fact(execution, "step_failed"))["message"]
    assert message.endswith(BEGIN_AGAIN)
    assert approval in message or code == "approval_missing"


async def test_a_grant_of_another_execution_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    await grace.grant(execution)
    await bench.database.pool.execute("UPDATE approval SET execution_id = gen_random_uuid()")

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_other_step")


async def test_a_plan_that_changed_after_the_grant_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    await grace.grant(execution)
    approved = (await bench.show(execution))["plan_hash"]
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", OTHER)

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_other_plan")
    ends = f"approved was {approved[:12]}, present is {OTHER[:12]}"
    assert ends in (await bench.fact(execution, "step_failed"))["message"]


async def test_an_action_that_changed_after_the_grant_is_refused_at_the_claim(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    await _render_otherwise(bench)

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_other_action")
    assert await grace.state(approval) == "granted"


async def test_a_used_grant_does_not_cover_a_second_attempt_of_something_else(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    approval = await grace.grant(execution)
    await bench.expire(await bench.running(execution))
    await _render_otherwise(bench)

    assert await bench.claim(execution) is None

    assert (await bench.fact(execution, "step_failed"))["error_code"] == "approval_used"
    assert [bool(row["started_at"]) for row in await bench.attempts(execution)] == [True, False]
    assert await grace.state(approval) == "used"


async def test_a_plan_that_changed_after_its_approval_begins_nothing_more(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(QUESTION, step()))
    await grace.grant(execution)
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", OTHER)

    assert await bench.claim(execution) is None

    await refused(bench, execution, "approval_other_plan")


# ── when it arrives ──────────────────────────────────────────────────────────────────────────────────────────────────


@ONE_EACH
@pytest.mark.parametrize(
    ("hash_of", "code"), [("plan_hash", "approval_other_plan"), ("action_hash", "approval_other_action")]
)
async def test_a_grant_of_something_else_begins_nothing_and_says_so_with_both_hashes(
    bench: Bench, grace: Approver, spec: Any, hash_of: str, code: str
) -> None:
    execution = await bench.execution(spec)
    asked = await bench.fact(execution, "blocked")

    approval = await grace.grant(execution, **{hash_of: OTHER})

    told = await still_asks(bench, execution, code)
    assert (told["refused_approval_id"], told[f"refused_{hash_of}"]) == (approval, OTHER)
    question = {key: value for key, value in asked.items() if key != "detail"}
    assert {key: told[key] for key in question} == question  # what is asked is the same as before
    assert (await bench.told(execution)).count("blocked") == 2


@ONE_EACH
async def test_when_the_plan_has_changed_it_is_asked_about_once_and_its_grant_goes_on(
    bench: Bench, grace: Approver, spec: Any
) -> None:
    execution = await bench.execution(spec)
    stale = await grace.granted(execution)
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", OTHER)

    await bench.hear(stale)
    await bench.hear(stale)

    told = await still_asks(bench, execution, "approval_other_plan")
    assert (told["refused_plan_hash"], told["plan_hash"]) == (stale.plan_hash, OTHER)
    assert (await bench.told(execution)).count("blocked") == 2
    fresh = await grace.grant(execution)
    assert fresh != stale.approval_id
    await bench.settle(await bench.running(execution))
    assert states(await bench.attempts(execution)) == ["succeeded"]
    assert (await bench.show(execution))["steps"][0]["error_code"] == ""


async def test_when_the_action_has_changed_it_is_asked_about_anew(bench: Bench, grace: Approver) -> None:
    named = {**RISKY, "with": {"method": "POST", "url": "http://127.0.0.1:9/${{ inputs.at }}"}}
    execution = await bench.execution(runbook(named, inputs={"at": {"default": "here"}}))
    stale = await grace.granted(execution)
    await bench.database.pool.execute("""UPDATE execution SET inputs = '{"at": "there"}'""")

    await bench.hear(stale)

    told = await still_asks(bench, execution, "approval_other_action")
    assert told["refused_action_hash"] == stale.action_hash != told["action_hash"]
    [here] = (await bench.show(execution))["steps"]
    assert here["asked"]["arguments"]["url"].endswith("/there")
    await grace.grant(execution)
    assert await bench.claim(execution) is not None


async def test_a_grant_of_another_step_is_told_to_the_step_that_waits(bench: Bench, grace: Approver) -> None:
    elsewhere, execution = await bench.execution(runbook(RISKY)), await bench.execution(runbook(RISKY))
    step_run = (await grace.about(elsewhere))["step_run_id"]

    await grace.grant(execution, step_run_id=step_run)

    await still_asks(bench, execution, "approval_other_step")
    await grace.grant(execution)
    assert await bench.claim(execution) is not None


async def test_taking_back_what_was_refused_ends_nothing(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    stale = await grace.grant(execution, plan_hash=OTHER)

    assert await grace.revoke(stale) == {"revoked": True}

    await still_asks(bench, execution, "approval_other_plan")


async def test_what_was_decided_before_cannot_be_asked_again_and_fails(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    about = await grace.about(execution)
    first = (await bench.show(execution))["plan_hash"]
    stale = await grace.granted(execution)
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", OTHER)
    await bench.hear(stale)
    await bench.database.pool.execute("UPDATE execution SET plan_hash = $1", first)

    await grace.grant(execution)  # of the plan that stood in between

    await refused(bench, execution, "approval_other_plan")
    hashes = {key: about[key] for key in ("execution_id", "step_run_id", "plan_hash", "action_hash")}
    assert approval_id(tenant=TENANT, **hashes) == stale.approval_id


@ONE_EACH
async def test_whoever_asked_has_granted_nothing(bench: Bench, grace: Approver, spec: Any) -> None:
    execution = await bench.execution(spec)
    fact = await grace.granted(execution)

    await bench.hear(fact.model_copy(update={"approver": "svc_executor"}))

    await refused(bench, execution, "approval_own")
    assert "takes two people" in (await bench.fact(execution, "step_failed"))["message"]


@ONE_EACH
async def test_a_grant_that_arrives_after_its_time_is_over_fails_the_step(
    bench: Bench, grace: Approver, spec: Any
) -> None:
    execution = await bench.execution(spec)
    fact = await grace.granted(execution)

    await bench.hear(fact.model_copy(update={"expires_at": rfc3339(utc_now() - timedelta(seconds=1))}))

    await refused(bench, execution, "approval_expired")
    assert "has expired" in (await bench.fact(execution, "step_failed"))["message"]


async def test_a_grant_that_is_told_again_with_other_hashes_is_what_it_was(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))
    fact = await grace.granted(execution)
    await bench.hear(fact)

    await bench.hear(fact.model_copy(update={"action_hash": somebody_elses_hash()}))

    assert await bench.claim(execution) is not None


async def _render_otherwise(bench: Bench) -> None:
    """Ready actions become others, consistent in themselves, as another rendering would be."""
    await bench.database.pool.execute(
        "UPDATE action_log SET rendered = rendered || ' '::bytea,"
        " action_hash = encode(sha256('rr.action/1\n'::bytea || rendered || ' '::bytea), 'hex') WHERE state = 'ready'"
    )
