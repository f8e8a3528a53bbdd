"""Plans, dry runs, pauses and retries through the API in front of every real service, and a worker that carries out."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.whole import GATED, Target, Whole
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

SERVICES: Final = ("incident", "catalog", "executor", "approvals", "timeline")
TWO_CALLS: Final = """
apiVersion: ranger/v1
id: two-calls
name: Two calls
risk: low
mode: auto
verify: {{alert: resolved, within: 10m}}
steps:
  - id: first
    type: action
    action: http.request
    with: {{method: POST, url: "{target}"}}
    effect: keyed
    resource: shard-7
  - {{id: hold, type: manual, instructions: Look at it}}
  - id: second
    type: action
    action: http.request
    with: {{method: POST, url: "{target}"}}
    effect: keyed
    resource: shard-7
"""


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


async def published(whole: Whole, source: str) -> str:
    """The path of a runbook that calls the target."""
    text = source.format(target=f"http://{whole.target.address}/", expires="15m")
    return f"/runbooks/{(await whole.done('/runbooks', source=text))['runbook_id']}"


async def test_a_plan_and_a_dry_run_tell_what_would_be_done_and_nothing_is(whole: Whole) -> None:
    path, incident = await published(whole, GATED), await whole.incident()
    before = (await whole.http.get(f"/incidents/{incident}")).json()

    async def planned() -> dict[str, Any] | None:
        found: dict[str, Any] = await whole.done(f"{path}/plan", incident_id=incident)
        return found if found["alert"]["firing"] is not None else None  # the executor has heard of the alert by then

    plan = await eventually(planned) or {}
    assert (plan["alert"]["firing"], [lock["resource_id"] for lock in plan["locks"]]) == (True, ["shard-7"])
    assert [each["code"] for each in plan["hindrances"]] == ["approval"]
    begun = await whole.done(f"{path}/execute", incident_id=incident, dry_run=True)
    execution = begun["execution_id"]
    shown = await whole.shown(execution, lambda found: found["state"] == "completed")

    assert (shown["dry_run"], shown["plan_hash"]) == (True, plan["plan_hash"])
    assert [(step["step"], step["simulation"]) for step in shown["steps"]] == [("reroute", "simulated")]
    assert (await whole.told(execution, "runbook.completed"))["dry_run"]
    assert whole.target.calls == 0
    assert (await whole.http.get("/approvals")).json()["items"] == []
    after = (await whole.http.get(f"/incidents/{incident}")).json()
    facts = ("status", "version", "flags", "mitigated_at")
    assert {name: after.get(name) for name in facts} == {name: before.get(name) for name in facts}


async def test_an_execution_is_held_goes_on_is_aborted_and_gone_on_with_by_another(whole: Whole) -> None:
    path = await published(whole, TWO_CALLS)
    old = (await whole.done(f"{path}/execute", incident_id=await whole.incident()))["execution_id"]
    await whole.shown(old, lambda found: found["blocked_reason"] == "person")
    assert whole.target.calls == 1

    await whole.done(f"/executions/{old}/pause", rationale="somebody looks")
    held = await whole.done(f"/executions/{old}/steps/hold/complete", outcome="succeeded")
    assert (held["blocked_reason"], held["paused"]) == ("paused", True)
    await whole.done(f"/executions/{old}/abort", rationale="not like this")
    retried = await whole.done(f"/executions/{old}/retry", rationale="like this")
    new = await whole.shown(retried["execution_id"], lambda found: found["phase"] == "verify")

    assert whole.target.calls == 2
    assert [(step["step"], step["carried"]) for step in new["steps"]] == [
        ("first", True), ("hold", True), ("second", False),
    ]  # fmt: skip
    assert (new["retry_of"], new["retry_from"], retried["carried"]) == (old, "second", ["first", "hold"])
    linked: dict[str, Any] = (await whole.http.get(f"/executions/{old}")).json()
    assert linked["retries"] == [retried["execution_id"]]
    assert (await whole.told(retried["execution_id"], "runbook.planned"))["retry_of"] == old
    assert (await whole.told(old, "runbook.paused"))["rationale"] == "somebody looks"
