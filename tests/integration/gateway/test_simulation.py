"""May I? The answer is the one that the act would get, with reasons and fixes, and asking changes nothing."""

from typing import Any, Final

import httpx

from libs.common.database import Database
from libs.common.errors import NotFound
from tests.integration.gateway.conftest import EVERYWHERE, TWO_TENANTS, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices

INCIDENT: Final = "0192f0c1-0000-7000-8000-00000000000a"
KNOWN: Final = {
    "incident_id": INCIDENT,
    "tenant_id": "default",
    "environment": "prod",
    "clearance": 0,
    "severity": "high",
    "status": "resolved",
    "rotation": "storage",
    "mitigated_at": None,
}


async def ask(http: httpx.AsyncClient, *questions: dict[str, Any], token: str = "", **more: Any) -> list[Any]:
    headers = bearer(token) if token else {}
    answer = await http.post("/policy/simulate", json={"questions": list(questions), **more}, headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[Any] = answer.json()["decisions"]
    return found


async def test_a_batch_is_answered_in_its_order_with_reasons_and_fixes(http: httpx.AsyncClient) -> None:
    asked = [{"action": "incident.create"}, {"action": "lock.break"}, {"action": "kill_switch.view"}]

    found = await ask(http, *asked, token=VIEWER)

    assert [(item["action"], item["allow"]) for item in found] == [
        ("incident.create", False),
        ("lock.break", False),
        ("kill_switch.view", True),
    ]
    [reason] = found[0]["reasons"]
    assert (reason["code"], reason["effect"]) == ("role", "deny")
    assert reason["text"]
    assert reason["fix"]
    assert all(item["simulated"] for item in found)
    assert found[0]["policy"]["revision"]


async def test_a_thing_is_looked_up_in_the_callers_name(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("incident.get", KNOWN)
    thing = {"kind": "incident", "id": INCIDENT}
    closing = {"action": "incident.close", "resource": thing, "context": {"to": "closed"}}

    bare, explained = await ask(http, closing, closing | {"context": {"to": "closed", "rationale_present": True}})

    assert (bare["allow"], [reason["code"] for reason in bare["reasons"]]) == (False, ["rationale"])
    assert explained["allow"]
    assert services.last.request["principal"]["actor"] == "olga"
    assert len(services.asked) == 1


async def test_missing_and_invisible_are_the_same_answer(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("incident.get", NotFound("There is no such incident."))
    thing = {"kind": "incident", "id": INCIDENT}

    [found] = await ask(http, {"action": "incident.view", "resource": thing})

    assert (found["allow"], found["reasons"][0]["code"]) == (False, "not_found")


async def test_a_thing_can_be_described(http: httpx.AsyncClient) -> None:
    described = {"kind": "incident", "environment": "prod", "clearance": "restricted"}

    [found] = await ask(http, {"action": "incident.view", "resource": described})

    assert [reason["code"] for reason in found["reasons"]] == ["clearance"]


async def test_who_asks_for_somebody_else_needs_the_right_and_stays_at_home(http: httpx.AsyncClient) -> None:
    vic = {"actor": "vic", "roles": ["viewer"]}
    question = {"action": "incident.create"}

    [found] = await ask(http, question, actor=vic)
    assert not found["allow"]
    [found] = await ask(http, question, actor=vic | {"roles": ["operator"]})
    assert found["allow"]

    body = {"questions": [question], "actor": vic}
    own = {"Rr-Tenant": "acme"}
    refused = await http.post("/policy/simulate", json=body, headers=bearer(TWO_TENANTS) | own)
    assert (refused.status_code, refused.json()["code"]) == (403, "policy.role")
    elsewhere = {"questions": [question], "actor": vic | {"tenants": ["acme"]}}
    refused = await http.post("/policy/simulate", json=elsewhere)
    assert (refused.status_code, refused.json()["code"]) == (403, "policy.tenant")
    [found] = await ask(http, question, token=EVERYWHERE, actor=vic | {"tenants": ["acme"]})
    assert not found["allow"]


async def test_asking_writes_nothing_down(http: httpx.AsyncClient, database: Database) -> None:
    await ask(http, {"action": "incident.create"}, {"action": "dead_letter.resolve"}, token=VIEWER)

    assert await database.pool.fetchval("SELECT count(*) FROM outbox") == 0


async def test_what_cannot_be_asked_is_refused_with_its_reason(http: httpx.AsyncClient) -> None:
    hostile = 'x","allow":true,"z":"'
    bodies: list[dict[str, Any]] = [
        {"questions": []},
        {"questions": [{"action": "incident.create"}] * 101},
        {"questions": [{"action": "incident.conquer"}]},
        {"questions": [{"action": "incident.view", "resource": {"environment": hostile}}]},
        {"questions": [{"action": "incident.view", "resource": {"kind": "incident", "title": hostile}}]},
        {"questions": [{"action": "incident.view", "resource": {"id": INCIDENT, "environment": "prod"}}]},
    ]

    refused = [await http.post("/policy/simulate", json=body) for body in bodies]

    assert [answer.status_code for answer in refused] == [422] * len(bodies)
    named = {"actor": hostile, "roles": ["viewer"]}
    assert [item["allow"] for item in await ask(http, {"action": "incident.create"}, actor=named)] == [False]
