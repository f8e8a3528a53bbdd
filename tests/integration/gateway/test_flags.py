"""Feature flags: a part of the product comes and goes for a tenant at run time, and each change is told."""

from typing import Any, Final

import httpx
import orjson
import pytest

from libs.common.database import Database
from services.gateway.flags.book import FlagBook
from services.gateway.flags.model import FLAGS, Flag
from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR, TWO_TENANTS, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.support.eventually import eventually

WHY: Final = "the pilot is over"
PATHS: Final = {
    "incident_center_enabled": "/incidents",
    "runbook_center_enabled": "/runbooks",
    "approval_center_enabled": "/approvals",
}


async def switch(http: httpx.AsyncClient, name: str, state: str, *tenants: str, **headers: str) -> httpx.Response:
    body = {"state": state, "rationale": WHY} | ({"tenants": list(tenants)} if tenants else {})
    return await http.post(f"/flags/{name}", json=body, headers=bearer(EVERYWHERE) | headers)


async def told(database: Database) -> list[dict[str, Any]]:
    rows = await database.pool.fetch("SELECT payload FROM outbox WHERE subject = 'access.flag_changed' ORDER BY id")
    return [orjson.loads(row["payload"]) for row in rows]


async def test_everything_is_on_until_somebody_says_otherwise(http: httpx.AsyncClient) -> None:
    found = (await http.get("/flags", headers=bearer(VIEWER))).json()["items"]

    assert [(item["name"], item["enabled"]) for item in found] == [(name, True) for name in FLAGS]
    assert all("tenants" not in item for item in found)


@pytest.mark.parametrize("name", FLAGS)
async def test_a_part_that_is_off_is_refused_and_says_so_and_the_others_go_on(
    http: httpx.AsyncClient, services: FakeServices, name: str
) -> None:
    await services.answer("*.list", {"items": [], "runbooks": [], "next": None})
    await services.answer("executor.kill_switch_get", {"items": []})

    assert (await switch(http, name, "off")).json()["enabled"] is False

    refused = await http.get(PATHS[name])
    assert (refused.status_code, refused.json()["code"]) == (403, "feature_disabled")
    assert name in refused.json()["fix"]
    others = [path for flag, path in PATHS.items() if flag != name]
    assert [(await http.get(path)).status_code for path in [*others, "/kill-switch", "/flags"]] == [200] * 4
    assert (await switch(http, name, "on")).json()["enabled"] is True
    assert (await http.get(PATHS[name])).status_code == 200


async def test_a_list_of_tenants_has_it_alone(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("incident.list", {"items": [], "next": None})

    done = await switch(http, "incident_center_enabled", "listed", "acme")

    assert (done.json()["state"], done.json()["tenants"], done.json()["enabled"]) == ("listed", ["acme"], False)
    allowed = {
        tenant: (await http.get("/incidents", headers=bearer(TWO_TENANTS) | {"Rr-Tenant": tenant})).status_code
        for tenant in ("acme", "globex")
    }
    assert allowed == {"acme": 200, "globex": 403}
    assert (await http.get("/incidents")).status_code == 403


async def test_each_change_is_told_once_with_who_and_why(http: httpx.AsyncClient, database: Database) -> None:
    for state in ("off", "off", "on"):
        assert (await switch(http, "runbook_center_enabled", state)).status_code == 200

    facts = await told(database)
    assert [(fact["flag"], fact["state"], fact["rationale"]) for fact in facts] == [
        ("runbook_center_enabled", "off", WHY),
        ("runbook_center_enabled", "on", WHY),
    ]
    headers = await database.pool.fetch("SELECT headers FROM outbox WHERE subject = 'access.flag_changed'")
    assert {orjson.loads(row["headers"])["ce-actor"] for row in headers} == {"ina"}
    shown = (await http.get("/flags", headers=bearer(EVERYWHERE))).json()["items"]
    changed = next(item for item in shown if item["name"] == "runbook_center_enabled")
    assert (changed["changed_by"], changed["rationale"]) == ("ina", WHY)


@pytest.mark.parametrize("token", [OPERATOR, VIEWER, TWO_TENANTS])
async def test_no_tenant_switches_for_all(http: httpx.AsyncClient, database: Database, token: str) -> None:
    tenant = {"Rr-Tenant": "acme"} if token == TWO_TENANTS else {}
    body = {"state": "off", "rationale": WHY}
    refused = await http.post("/flags/incident_center_enabled", json=body, headers=bearer(token) | tenant)

    assert refused.status_code == 403
    assert refused.json()["code"] in {"policy.tenant", "policy.role"}
    assert await told(database) == []


async def test_what_cannot_be_meant_is_refused(http: httpx.AsyncClient) -> None:
    name = "incident_center_enabled"
    refused = [
        await switch(http, name, "listed"),
        await switch(http, name, "on", "acme"),
        await switch(http, name, "listed", "*"),
        await switch(http, name, "maybe"),
        await switch(http, "everything_enabled", "off"),
    ]

    assert [answer.status_code for answer in refused] == [422, 422, 422, 422, 404]


async def test_another_gateway_knows_at_once(http: httpx.AsyncClient, database: Database, flags: FlagBook) -> None:
    """The book listens: what another process writes is known here without a request."""
    await database.pool.execute(
        "INSERT INTO feature_flag VALUES ('incident_center_enabled', 'off', '{}', 1, 'ina', clock_timestamp(), 'x')"
    )
    await database.pool.execute("SELECT pg_notify('feature_flag', '')")

    await eventually(lambda: not flags.flag("incident_center_enabled").enabled("default"))
    assert (await http.get("/incidents")).status_code == 403


async def test_an_outage_switches_nothing_on(database: Database) -> None:
    book = FlagBook(database)
    with pytest.raises(Exception, match="not read yet"):
        book.flag("incident_center_enabled")
    await book.read()
    assert book.flag("incident_center_enabled") == Flag("incident_center_enabled")
