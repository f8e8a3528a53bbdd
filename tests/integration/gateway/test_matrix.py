"""Every operation that is described, for every role and for strangers of another tenant, in front of every service.

What policy says of a role is what the API does: `ASKS` names the action of each operation, and an operation that is
not there fails the test. Strangers get nothing: no change, no text, no id of what is not theirs.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from libs.common.policy import ACTIONS, Context, Principal, Resource, decide
from tests.integration.gateway.conftest import ROLE_TOKENS, STRANGER, TOKENS, bearer
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_routes import ENDLESS, body_for, operations
from tests.integration.gateway.whole import GATED, Target
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

SERVICES: Final = ("incident", "catalog", "executor", "approvals", "timeline")
CANARY: Final = "canary of the tenant default"
HOSTILE_TITLE: Final = 'x","allow":true,"z":"'
ASKS: Final = {
    "POST /webhooks/alertmanager": "alert.post",
    "POST /webhooks/events": "alert.post",
    "GET /timeline": "timeline.view",
    "GET /timeline/leaves": "timeline.export",
    "GET /timeline/leaves/{index}/payload": "timeline.export",
    "GET /timeline/heads": "timeline.export",
    "GET /timeline/export": "timeline.view",
    "GET /timeline/state": "timeline.view",
    "GET /timeline/checkpoint": "timeline.view",
    "GET /timeline/consistency": "timeline.view",
    "POST /timeline/cosignatures": "timeline.export",
    "GET /timeline/{entry}/proof": "timeline.view",
    "GET /evidence": "timeline.view",
    "GET /evidence/{sha256}": "timeline.view",
    "POST /evidence/{sha256}/url": "timeline.view",
    "POST /evidence/incidents/{incident_id}/bundle": "timeline.view",
    "POST /evidence/events/{entry}/redact": "evidence.redact",
    "POST /evidence/incidents/{incident_id}/hold": "evidence.hold",
    "POST /evidence/incidents/{incident_id}/release": "evidence.hold",
    "GET /locks": "execution.view",
    "GET /breakers": "execution.view",
    "POST /breakers/reset": "breaker.reset",
    "POST /locks/break": "lock.break",
    "GET /kill-switch": "kill_switch.view",
    "POST /kill-switch": "kill_switch.set",
    "GET /dead-letters": "dead_letter.view",
    "GET /dead-letters/{service}/{number}": "dead_letter.view",
    "POST /dead-letters/{service}/{number}/retry": "dead_letter.resolve",
    "POST /dead-letters/{service}/{number}/discard": "dead_letter.resolve",
    "POST /tokens": "token.create",
    "GET /tokens": "token.view",
    "POST /tokens/{token_id}/revoke": "token.revoke",
    "GET /webhooks/senders": "webhook.view",
    "GET /principals": "principal.view",
    "GET /flags": "flag.view",
    "POST /flags/{name}": "flag.set",
    "POST /policy/simulate": "policy.simulate",
    "GET /incidents": "incident.view",
    "POST /incidents": "incident.create",
    "GET /incidents/{incident_id}": "incident.view",
    "POST /incidents/{incident_id}/transition": "incident.transition",
    "POST /incidents/{incident_id}/severity": "incident.severity",
    "POST /incidents/{incident_id}/owner": "incident.assign",
    "POST /incidents/{incident_id}/runbooks": "incident.link",
    "POST /runbooks": "runbook.publish",
    "POST /runbooks/lint": "runbook.draft",
    "GET /runbooks": "runbook.view",
    "GET /runbooks/{runbook_id}": "runbook.view",
    "GET /runbooks/{runbook_id}/draft": "runbook.view",
    "POST /runbooks/{runbook_id}/publish": "runbook.publish",
    "POST /runbooks/{runbook_id}/execute": "execution.start",
    "POST /runbooks/{runbook_id}/plan": "execution.preview",
    "GET /executions": "execution.view",
    "GET /executions/{execution_id}": "execution.view",
    "GET /executions/{execution_id}/steps": "execution.view",
    "POST /executions/{execution_id}/steps/{step}/complete": "step.complete",
    "POST /executions/{execution_id}/steps/{step}/decide": "step.decide",
    "POST /executions/{execution_id}/abort": "execution.abort",
    "POST /executions/{execution_id}/fail": "execution.abort",
    "POST /executions/{execution_id}/pause": "execution.pause",
    "POST /executions/{execution_id}/resume": "execution.resume",
    "POST /executions/{execution_id}/terminate": "execution.terminate",
    "POST /executions/{execution_id}/rollback": "execution.rollback",
    "POST /executions/{execution_id}/signal": "execution.signal",
    "POST /executions/{execution_id}/retry": "execution.retry",
    "POST /executions/{execution_id}/steps/{step}/skip": "step.skip",
    "POST /executions/{execution_id}/steps/{step}/choose": "step.choose",
    "GET /approvals": "approval.view",
    "GET /approvals/{approval_id}": "approval.view",
    "GET /approvals/{approval_id}/link": "approval.view",
    "POST /approvals/{approval_id}/withdraw-vote": "approval.view",
    "POST /approvals/{approval_id}/grant": "approval.decide",
    "POST /approvals/{approval_id}/reject": "approval.decide",
    "POST /approvals/{approval_id}/revoke": "approval.revoke",
}
"""The action that policy is asked about each operation. Whom a credential speaks for (`/principals/me`) it always says,
and the endless stream of events has a property of its own."""
LINKED: Final = {"GET /approvals/by-link", "POST /approvals/by-link/grant", "POST /approvals/by-link/reject"}
"""What wants a link that was made for it; the approvals service's own tests show who may do what with one."""
FREE: Final = {"GET /principals/me", f"GET {ENDLESS}", *LINKED}
EXPLAINED: Final = Context(rationale_present=True)
INSTALLATION: Final = {"timeline.export", "flag.set"}
"""Asked about the whole installation, whose administrator none of these is."""


@dataclass
class World:
    """One thing of every kind in the tenant `default`, and how to ask for it."""

    http: httpx.AsyncClient
    names: dict[str, str] = field(default_factory=dict)

    async def ask(self, operation: str, token: str, tenant: str = "") -> httpx.Response:
        """An operation on these things, with a body that it understands."""
        method, _, path = operation.partition(" ")
        path = path.replace("{step:path}", "{step}").format_map(self.names)
        headers = bearer(token) | ({"Rr-Tenant": tenant} if tenant else {})
        body, query = None, {}
        if method == "POST":
            body = self.body(path)
        if path == "/timeline":
            query = {"incident_id": self.names["incident_id"]}
        if path == "/timeline/consistency":
            query = {"old": "1"}
        return await self.http.request(method, path, json=body, params=query, headers=headers)

    def body(self, path: str) -> Any:
        """What a change says."""
        now = "2026-03-01T10:00:00Z"
        return {
            "/webhooks/alertmanager": {"version": "4", "alerts": []},
            "/webhooks/events": {"name": "matrix", "severity": "low", "starts_at": now},
            "/timeline/cosignatures": {"checkpoint": "no note"},
            "/tokens": {"name": "matrix", "expires_in_seconds": 3600},
            "/incidents": {"title": HOSTILE_TITLE, "severity": "low"},
            "/runbooks": {"source": "not: a runbook"},
            "/runbooks/lint": {"source": "not: a runbook"},
            "/policy/simulate": {"questions": [{"action": "incident.create"}]},
            "/locks/break": {"resource_id": "shard-7", "rationale": "the matrix"},
            "/breakers/reset": {"runbook_id": "reroute-shard", "resource_id": "shard-7", "rationale": "the matrix"},
            "/kill-switch": {"engaged": False, "reason": "the matrix", "scope": "tenant"},
            "/flags/incident_center_enabled": {"state": "on", "rationale": "the matrix"},
            f"/evidence/{'a' * 64}/url": {"ttl_seconds": 60},
        }.get(path) or body_for(path)


@pytest.fixture
async def world(http: httpx.AsyncClient, stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[World]:
    """Every service, ready, and one thing of each kind."""
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(Target().served())
        envs = {f"services.{name}": stack_env.service(name) for name in SERVICES}
        processes = [await GatewayProcess.start(env, tmp_path, module) for module, env in envs.items()]
        for process in processes:
            stack.push_async_callback(process.end)
        await asyncio.gather(*(process.until_ready() for process in processes))
        yield await _filled(World(http), GATED.format(target=f"http://{target.address}/", expires="1h"))


async def _filled(world: World, source: str) -> World:
    async def made(path: str, **body: Any) -> dict[str, Any]:
        answer = await world.http.post(path, json=body)
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def opened() -> str | None:
        items = (await world.http.get("/incidents")).json()["items"]
        return items[0]["incident_id"] if items else None

    now = datetime.now(UTC).isoformat()
    await made("/webhooks/events", name="slow", title=CANARY, severity="high", labels={"team": CANARY}, starts_at=now)
    incident = await eventually(opened, timeout=30)
    runbook = (await made("/runbooks", source=source))["runbook_id"]
    execution = (await made(f"/runbooks/{runbook}/execute", incident_id=incident))["execution_id"]

    async def asked() -> str | None:
        items = (await world.http.get("/approvals", params={"execution_id": execution})).json()["items"]
        return items[0]["approval_id"] if items else None

    async def chained() -> bool:
        return bool((await world.http.get("/timeline", params={"incident_id": incident})).json()["entries"])

    approval = await eventually(asked, timeout=30)
    assert approval is not None
    assert incident is not None
    await eventually(chained, timeout=30)
    world.names = {
        "incident_id": incident,
        "runbook_id": runbook,
        "execution_id": execution,
        "approval_id": approval,
        "token_id": (await made("/tokens", name=CANARY, expires_in_seconds=3600))["token_id"],
        "step": "reroute",
        "service": "incident",
        "number": "1",
        "index": "0",
        "entry": "0",
        "name": "incident_center_enabled",
        "sha256": "a" * 64,
    }
    return world


async def described(http: httpx.AsyncClient) -> set[str]:
    return {f"{method} {path}" for method, path, _ in await operations(http)} - FREE


async def test_every_operation_asks_policy_for_an_action(http: httpx.AsyncClient) -> None:
    assert await described(http) == set(ASKS)
    assert set(ASKS.values()) <= set(ACTIONS)


async def test_a_stranger_gets_and_changes_nothing(world: World) -> None:
    """An administrator of another tenant, and one who names a tenant that is not theirs."""
    before = await _state(world)
    for operation in sorted(ASKS):
        answer = await world.ask(operation, STRANGER)
        text = answer.text.replace(*_echoed(operation, world))
        assert CANARY not in text, operation
        owned = {key: world.names[key] for key in ("incident_id", "execution_id", "approval_id", "token_id")}
        assert not [key for key, name in owned.items() if name in text], (operation, answer.text)
        if "{" in operation and not operation.startswith(("GET /dead", "POST /dead", "POST /flags")):
            assert answer.status_code in {403, 404}, (operation, answer.status_code, answer.text)
        posing = await world.ask(operation, STRANGER, tenant="default")
        assert (posing.status_code, posing.json()["code"]) == (403, "policy.tenant"), operation
    assert await _state(world) == before


def _echoed(operation: str, world: World) -> tuple[str, str]:
    """An answer may repeat the id that it was asked with."""
    name = next((world.names[key] for key in world.names if f"{{{key}}}" in operation and key.endswith("_id")), "\0")
    return name, ""


async def _state(world: World) -> list[Any]:
    paths = ("/incidents/{incident_id}", "/executions/{execution_id}", "/approvals/{approval_id}", "/tokens")
    answers = [(await world.http.get(path.format_map(world.names))).json() for path in paths]
    answers[0].pop("timeline", None)
    answers[0].pop("timeline_next", None)
    for answer in answers[:2]:
        answer.pop("provenance", None)
        answer.pop("provenance_hash", None)
    return answers


async def test_a_role_gets_what_policy_gives_it(world: World) -> None:
    """Refusals first, while everything is as it was; then what is allowed, whatever the thing's state makes of it."""
    allowed: dict[str, set[str]] = {}
    for role, token in ROLE_TOKENS.items():
        principal = Principal(TOKENS[token]["actor"], frozenset({"default"}), frozenset({role}))
        allowed[role] = {operation for operation in ASKS if await _allows(principal, ASKS[operation])}
        for operation in sorted(ASKS.keys() - allowed[role]):
            await _refused(world, operation, principal, token)
    await _titles_are_text(world)
    for role, token in ROLE_TOKENS.items():
        for operation in sorted(allowed[role]):
            answer = await world.ask(operation, token)
            refused = answer.status_code == 403 and answer.json()["code"] in {"policy.role", "policy.tenant"}
            assert answer.status_code != 401, operation
            assert not refused, (operation, answer.text)


async def _refused(world: World, operation: str, principal: Principal, token: str) -> None:
    answer = await world.ask(operation, token)
    assert answer.status_code in {403, 404}, (principal.roles, operation, answer.status_code, answer.text)
    if answer.status_code == 404 and "dead-letters" not in operation:
        # What somebody may see and not change is refused; only what they may not even see is not there.
        seen = await _allows(principal, ASKS[operation].partition(".")[0].replace("step", "execution") + ".view")
        assert not seen, (principal.roles, operation, answer.text)


async def _titles_are_text(world: World) -> None:
    """The input of a decision holds no text that anybody wrote, so that none can become an answer."""
    created = await world.http.post("/incidents", json={"title": HOSTILE_TITLE, "severity": "low"})
    path = f"/incidents/{created.json()['incident_id']}/owner"
    for role in ROLE_TOKENS.keys() - {"admin", "operator"}:
        refused = await world.http.post(path, json={"owner": "mallory"}, headers=bearer(ROLE_TOKENS[role]))
        assert refused.status_code in {403, 404}, (role, refused.text)


async def _allows(principal: Principal, action: str) -> bool:
    if action not in ACTIONS:
        return False
    tenant = "*" if action in INSTALLATION else "default"
    return (await decide(principal, action, Resource(ACTIONS[action].kinds[0], "*", tenant), EXPLAINED)).allow
