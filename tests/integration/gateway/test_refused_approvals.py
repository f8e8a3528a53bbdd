"""Approvals that are not good for what they would be used for, seen through the API in front of every real service.

Each is refused with a code and a sentence that says what to do, in the answer where a call is refused and in the
execution where the machine refuses by itself; and the target is never called.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import httpx
import pytest

from tests.integration.gateway.conftest import OPERATOR
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_rangerctl import rangerctl
from tests.integration.gateway.whole import BY_HAND, GATED, Target, Whole, yes
from tests.support.servers import StackEnv

SERVICES: Final = ("incident", "catalog", "executor", "approvals", "timeline")
OTHER: Final = "f" * 64


@pytest.fixture
async def whole(http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Whole]:
    """Every service that has a part in it, and a worker, ready."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(Target().served())
        envs = {f"services.{name}": stack_env.service(name) for name in SERVICES}
        allow = {"RR_INSTANCE": "worker-1", "RR_EGRESS_ALLOW": target.address, "RR_REHINT_SECONDS": "0.5"}
        envs["services.executor.worker"] = stack_env.service("worker", **allow)
        processes = [await GatewayProcess.start(env, tmp_path, module) for module, env in envs.items()]
        for process in processes:
            stack.push_async_callback(process.stop)
        await asyncio.gather(*(process.until_ready() for process in processes))
        yield Whole(http, stack_env, target)


async def test_what_is_granted_is_carried_out_once_and_its_used_approval_is_refused(whole: Whole) -> None:
    execution = await whole.begun(GATED)
    asked = await whole.asked(execution)

    await whole.grant(asked)
    await whole.shown(execution, lambda found: found["phase"] == "verify")

    again = await whole.refused(f"/approvals/{asked['approval_id']}/grant", **yes(asked))
    assert (again["code"], again["data"]["state"]) == ("undefined_move", "granted")
    assert (await whole.refused(f"/approvals/{asked['approval_id']}/revoke", rationale="too late"))["code"] == (
        "approval_used"
    )
    assert whole.target.calls == 1


async def test_an_approval_for_a_changed_plan_is_refused_and_asked_anew(whole: Whole) -> None:
    execution = await whole.begun(GATED)
    stale = await whole.asked(execution)
    looked_away = await whole.refused(f"/approvals/{stale['approval_id']}/grant", **yes(stale) | {"plan_hash": OTHER})
    assert (looked_away["code"], looked_away["data"]) == ("approval_drift", {"drifted": ["plan_hash"]})
    await whole.sql("UPDATE execution SET plan_hash = $1", OTHER)

    await whole.grant(stale)

    fresh = await whole.asked(execution, count=2)
    shown = await whole.shown(execution, lambda found: bool(found["steps"][0]["error_code"]))
    told = await whole.told(execution, "runbook.blocked", 2)
    [step] = shown["steps"]
    assert (shown["state"], shown["blocked_reason"], step["attempts"]) == ("blocked", "approval", [])
    assert (step["error_code"], told["refused_code"]) == ("approval_other_plan", "approval_other_plan")
    assert step["message"] == told["detail"]
    assert (told["refused_plan_hash"], told["plan_hash"], fresh["plan_hash"]) == (stale["plan_hash"], OTHER, OTHER)
    assert told["refused_approval_id"] == stale["approval_id"] != fresh["approval_id"]
    assert whole.target.calls == 0

    await whole.grant(fresh)
    await whole.shown(execution, lambda found: found["phase"] == "verify")
    assert whole.target.calls == 1


async def test_an_approval_that_was_not_given_or_not_used_in_time_is_refused(whole: Whole) -> None:
    silent = await whole.begun(GATED, expires="1s")
    await whole.failed(silent, "approval_expired")
    [asked] = (await whole.http.get("/approvals", params={"execution_id": silent})).json()["items"]
    late = await whole.refused(f"/approvals/{asked['approval_id']}/grant", **yes(asked))
    assert (late["code"], "expired" in late["detail"]) == ("approval_expired", True)

    execution = await whole.begun(GATED)
    await whole.switch(engaged=True)
    approval = (await whole.grant(await whole.asked(execution)))["approval_id"]
    await whole.outlive(approval)
    await whole.switch(engaged=False)
    await whole.failed(execution, "approval_expired")


async def test_ones_own_a_rejected_and_a_revoked_approval_are_refused(whole: Whole) -> None:
    execution = await whole.begun(GATED)
    asked = await whole.asked(execution)
    own = await whole.refused(f"/approvals/{asked['approval_id']}/grant", 403, olga=True, **yes(asked))
    assert (own["code"], own["data"]["reasons"][0]["code"]) == ("policy.four_eyes", "four_eyes")
    assert (await whole.asked(execution))["approval_id"] == asked["approval_id"]
    await whole.done(f"/approvals/{asked['approval_id']}/reject", rationale="not during the audit")
    await whole.failed(execution, "approval_rejected")
    assert "rejected" in (await whole.refused(f"/approvals/{asked['approval_id']}/grant", **yes(asked)))["detail"]

    execution = await whole.begun(GATED)
    await whole.switch(engaged=True)
    approval = (await whole.grant(await whole.asked(execution)))["approval_id"]
    await whole.shown(execution, lambda found: found["blocked_reason"] != "approval")
    await whole.done(f"/approvals/{approval}/revoke", rationale="wrong shard")
    await whole.switch(engaged=False)
    await whole.failed(execution, "approval_revoked")


async def test_a_manual_step_is_not_completed_under_a_used_or_expired_approval(
    whole: Whole, gateway: GatewayProcess
) -> None:
    first, second = await whole.begun(BY_HAND), await whole.begun(BY_HAND)
    done = {"outcome": "succeeded", "evidence_ref": "ticket-7"}
    asked = await whole.asked(second)
    used = (await whole.grant(await whole.asked(first)))["approval_id"]
    await whole.shown(first, lambda found: found["blocked_reason"] == "person")
    await whole.done(f"/executions/{first}/steps/replace/complete", **done, approval_ids=[used])
    own = (await whole.grant(asked))["approval_id"]
    await whole.shown(second, lambda found: found["blocked_reason"] == "person")
    here = f"/executions/{second}/steps/replace/complete"

    problem = await whole.refused(here, olga=True, **done, approval_ids=[used])
    ctl = rangerctl(gateway, OPERATOR)
    again = await ctl(
        "execution", "complete", second, "replace", "succeeded", "--evidence", "ticket-7", "--approval", used
    )

    assert (problem["code"], problem["data"]["approval_id"]) == ("approval_used", used)
    assert problem["data"]["present"] == {name: asked[name] for name in ("plan_hash", "action_hash")}
    assert (again[0], again[1]) == (1, "")
    assert "approval_used" in again[2]
    assert problem["detail"] in again[2]
    assert problem["fix"] in again[2]

    await whole.outlive(own)
    assert (await whole.refused(here, olga=True, **done, approval_ids=[own]))["code"] == "approval_expired"
    assert (await whole.http.get(f"/executions/{second}")).json()["blocked_reason"] == "person"
