"""What users of other systems complain of about approvals and rights, as acceptance tests named after the complaints.

The whole composition behind the API: olga asks, others answer.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.integration.gateway.conftest import ROLE_TOKENS, VIEWER, bearer
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.whole import GATED, INA, Target, Whole, yes
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

SERVICES: Final = ("incident", "catalog", "executor", "approvals", "timeline")
LINKS: Final = {"RR_LINK_SECRET": "a-secret-of-links-for-tests"}
APPROVER: Final = bearer(ROLE_TOKENS["approver"])
OPERATOR: Final = bearer(ROLE_TOKENS["operator"])
ASKING: Final = """
apiVersion: ranger/v1
id: drain-node
name: Drain a node
risk: high
mode: auto
inputs: {{node: {{default: n7}}}}
verify: {{alert: resolved, within: 10m}}
steps:
  - id: agree
    type: approval
    prompt: Drain it?
    quorum: 2
    approvers: [approver, admin]
    form: {{window: {{type: integer, one_of: [30, 60]}}, note: {{required: false}}}}
  - id: drain
    type: action
    action: http.request
    with: {{method: POST, url: "{target}", json: {{window: "${{{{ steps.agree.outputs.window }}}}"}}}}
    effect: keyed
    resource: node-7
    risk: medium
"""


@pytest.fixture
async def whole(http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Whole]:
    """Every service that has a part in it, and a worker, ready."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(Target().served())
        envs = {f"services.{name}": stack_env.service(name) for name in SERVICES}
        envs["services.approvals"] = stack_env.service("approvals", **LINKS)
        allow = {"RR_INSTANCE": "worker-1", "RR_EGRESS_ALLOW": target.address, "RR_REHINT_SECONDS": "0.5"}
        envs["services.executor.worker"] = stack_env.service("worker", **allow)
        processes = [await GatewayProcess.start(env, tmp_path, module) for module, env in envs.items()]
        for process in processes:
            stack.push_async_callback(process.stop)
        await asyncio.gather(*(process.until_ready() for process in processes))
        yield Whole(http, stack_env, target)


async def begun(whole: Whole, *, token: dict[str, str] | None = None, source: str = ASKING) -> str:
    """An execution of that runbook, which olga began, or whoever has that token."""
    text = source.format(target=f"http://{whole.target.address}/", expires="1h")
    runbook = (await whole.done("/runbooks", source=text))["runbook_id"]
    incident = {"incident_id": await whole.incident()}
    answer = await whole.http.post(f"/runbooks/{runbook}/execute", json=incident, headers=token or {})
    assert answer.is_success, answer.text
    execution: str = answer.json()["execution_id"]
    return execution


async def says(whole: Whole, path: str, headers: dict[str, str], **body: Any) -> httpx.Response:
    """What somebody says of an approval."""
    return await whole.http.post(f"/approvals/{path}", json={"rationale": "seen and agreed"} | body, headers=headers)


async def entries(whole: Whole, execution: str, *facts: str) -> list[dict[str, Any]]:
    """What the timeline says of an execution's approvals, once it says this."""

    async def look() -> list[dict[str, Any]] | None:
        found = (await whole.http.get("/timeline", params={"execution_id": execution})).json()["entries"]
        told = [entry for entry in found if entry["type"].startswith("approval.")]
        return told if len(told) == len(facts) else None

    found = await eventually(look, timeout=30)
    assert found is not None
    assert [entry["type"] for entry in found] == list(facts)
    return list(found)


async def own_token(whole: Whole, *scopes: str) -> dict[str, str]:
    """Another credential of olga's."""
    wanted = {"name": "another", "expires_in_seconds": 600, **({"scopes": list(scopes)} if scopes else {})}
    return bearer((await whole.done("/tokens", **wanted))["token"])


async def test_approval_is_by_a_second_person_and_everybody_sees_who_how_and_why(whole: Whole) -> None:
    """Line 9: built in; actor, channel and reason mandatory; self-approval off; a form with a comment."""
    execution = await begun(whole)
    asked = await whole.asked(execution)
    key, agreed = asked["approval_id"], yes(asked) | {"values": {"window": 30}}

    for own in ({}, await own_token(whole)):  # whoever asked is the same person with another credential
        refused = await says(whole, f"{key}/grant", own, **agreed)
        assert (refused.status_code, refused.json()["code"]) == (403, "policy.four_eyes")
    nameless = await whole.http.post(f"/approvals/{key}/grant", json=agreed | {"rationale": ""}, headers=INA)
    assert nameless.status_code == 422
    wrong = await says(whole, f"{key}/grant", INA, **agreed | {"values": {"window": 45}})
    assert (wrong.status_code, wrong.json()["code"]) == (422, "form_faults")
    assert (await says(whole, f"{key}/grant", INA, **agreed, channel="chat")).json()["votes"] == 1
    link = (await whole.http.get(f"/approvals/{key}/link", headers=APPROVER)).json()
    shown = (await whole.http.get(link["path"], headers=APPROVER)).json()
    assert (shown["state"], shown["votes"][0]["approver"], shown["plan_hash"]) == (
        "requested",
        "ina",
        asked["plan_hash"],
    )
    assert whole.target.calls == 0
    linked = {"token": link["token"], "values": {"window": 30}, "rationale": "from the train"}
    assert (await says(whole, "by-link/grant", APPROVER, **linked)).json()["state"] == "granted"

    await whole.shown(execution, lambda found: found["phase"] == "verify")
    _, one, two, granted = await entries(
        whole, execution, "approval.requested", "approval.voted", "approval.voted", "approval.granted"
    )
    assert whole.target.calls == 1
    told = [
        (entry["actor"], entry["payload"]["channel"], entry["payload"]["rationale"]) for entry in (one, two, granted)
    ]
    assert told == [
        ("ina", "chat", "seen and agreed"),
        ("approver-1", "link", "from the train"),
        ("approver-1", "link", "from the train"),
    ]
    for entry in (one, two, granted):
        assert entry["payload"]["method"] == "token"
        assert entry["payload"]["policy_revision"]
        assert entry["payload"]["decision_id"]
    assert (granted["payload"]["approvers"], granted["payload"]["values"]) == (["ina", "approver-1"], {"window": 30})
    assert link["token"] not in str([one, two, granted])


async def test_who_may_decide_and_why_not_is_no_riddle(whole: Whole) -> None:
    """Line 19: opaque ACLs; simulate and explain. The list, the simulation and the answer agree, for everybody."""
    execution = await begun(whole)
    key = (await whole.asked(execution))["approval_id"]
    question = {"questions": [{"action": "approval.decide", "resource": {"kind": "approval", "id": key}}]}

    for who, allowed, code in (
        ({}, False, "four_eyes"),
        (OPERATOR, False, "group"),
        (bearer(VIEWER), False, "role"),
        (APPROVER, True, ""),
        (INA, True, ""),
    ):
        mine = (await whole.http.get("/approvals", params={"mine": "true"}, headers=who)).json()["items"]
        simulated = (await whole.http.post("/policy/simulate", json=question, headers=who)).json()["decisions"][0]
        assert ([item["approval_id"] for item in mine] == [key], simulated["allow"]) == (allowed, allowed)
        if not allowed:
            asked = yes(await whole.asked(execution)) | {"values": {"window": 30}}
            refused = (await says(whole, f"{key}/grant", who, **asked)).json()
            reasons = {reason["code"] for reason in refused["data"]["reasons"]}
            assert code in reasons
            assert reasons == {reason["code"] for reason in simulated["reasons"]}
            assert refused["fix"]
    [item] = (await whole.http.get("/approvals", params={"mine": "true"}, headers=INA)).json()["items"]
    assert item["may_decide"] == {"names": ["admin", "approver"], "not": ["olga"], "missing": 2}


async def test_a_runbook_is_no_way_around_the_right_to_run_an_action(whole: Whole) -> None:
    """Line 26: each step is checked as its initiator, at its claim, whoever has approved it."""
    narrow = await own_token(whole, "execution.start", "execution.view", "incident.view", "runbook.view")
    execution = await begun(whole, token=narrow, source=GATED)

    await whole.grant(await whole.asked(execution))

    [step] = (await whole.shown(execution, lambda found: found["state"] == "failed"))["steps"]
    assert step["error_code"] == "policy.scope"
    assert "olga" in step["message"]
    assert whole.target.calls == 0
