"""Refusals at the door become facts, once a minute each; and whatever lasts ends with its credential."""

import asyncio
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from libs.common.database import Database
from services.gateway.principals.denials import Denials
from services.gateway.principals.reception import Reception
from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR, TWO_TENANTS, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.support.eventually import eventually
from tests.unit.gateway import provider
from tests.unit.gateway.provider import claims, key_set, signed

ASKED = {"name": "ci", "expires_in_seconds": 3600}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "directory.yaml"
    path.write_text("groups: {storage: [olga, ada]}\nrotations: {nights: {members: [vera]}}\n")
    return path


@pytest.fixture
def more_settings(tmp_path: Path, directory: Path) -> dict[str, Any]:
    keys = tmp_path / "jwks.json"
    keys.write_bytes(key_set())
    issuers = orjson.dumps([provider.issuer(keys)]).decode()
    return {"directory_file": str(directory), "jwt_issuers": issuers}


def write(path: Path, text: str) -> None:
    path.write_text(text)


async def told(database: Database) -> list[tuple[str, str, str, str]]:
    rows = await database.pool.fetch("SELECT payload, headers FROM outbox WHERE subject = 'access.denied' ORDER BY id")
    facts = [(orjson.loads(row["payload"]), orjson.loads(row["headers"])) for row in rows]
    return [(fact["actor"], fact["action"], fact["reason"], headers["ce-tenant"]) for fact, headers in facts]


@pytest.fixture
def denials(reception: Reception) -> Denials:
    assert reception.denials is not None
    return reception.denials


async def test_what_the_door_refuses_is_told_once_a_minute(
    http: httpx.AsyncClient, database: Database, denials: Denials
) -> None:
    for _ in range(25):
        await http.get("/incidents", headers={"Authorization": "Bearer nobody-knows-this-one"})
        await http.get("/incidents", headers={"Authorization": ""})
        await http.get("/tokens?everyone=true", headers=bearer(VIEWER))
        await http.get("/incidents", headers=bearer(TWO_TENANTS) | {"Rr-Tenant": "victim"})
        await denials.write()

    async def minutes() -> int:
        return len(set(await told(database)))

    assert await minutes() == 4
    assert len(await told(database)) <= 8  # a minute may have passed
    assert {(actor, action, reason) for actor, action, reason, _ in await told(database)} >= {
        ("anonymous", "authenticate", "unknown"),
        ("tim", "tenant.enter", "policy.tenant"),
    }
    assert {tenant for *_, tenant in await told(database)} == {"default", "acme"}


async def test_who_reaches_for_more_is_told_of(http: httpx.AsyncClient, database: Database, denials: Denials) -> None:
    assert (await http.post("/tokens", json=ASKED | {"roles": ["auditor"]})).status_code == 403

    await denials.write()

    assert await told(database) == [("olga", "token.create", "policy.widened", "default")]


async def test_two_gateways_tell_the_same_refusal_once(database: Database) -> None:
    both = [Denials(database, tenant="default", clock=lambda: 1e9) for _ in range(2)]
    for denials in both:
        denials.note(None, "authenticate", "unknown")

    await asyncio.gather(*(denials.write() for denials in both))

    assert await told(database) == [("anonymous", "authenticate", "unknown", "default")]


async def test_more_refusals_than_can_be_meant_are_only_counted(database: Database) -> None:
    denials = Denials(database, tenant="default", clock=lambda: 1e9)
    for number in range(5000):
        denials.note(None, "authenticate", f"reason {number}")
    await denials.write()
    denials.note(None, "authenticate", "one more")
    await denials.write()

    assert len(await told(database)) == 1000


async def test_who_is_disabled_is_let_in_by_no_credential_from_then_on(
    http: httpx.AsyncClient, directory: Path, services: FakeServices, database: Database, denials: Denials
) -> None:
    await services.answer("incident.list", {"items": []})
    token = (await http.post("/tokens", json=ASKED)).json()["token"]
    oidc = signed(claims(tenants=["default"], sub="olga"))
    held = [bearer(OPERATOR), bearer(token), bearer(oidc)]
    assert [(await http.get("/incidents", headers=one)).status_code for one in held] == [200] * 3

    write(directory, "principals: {olga: {disabled: true}}")

    async def shut() -> bool:
        return {(await http.get("/incidents", headers=one)).status_code for one in held} == {401}

    assert await eventually(shut, timeout=5)
    await denials.write()
    assert ("olga", "authenticate", "disabled", "default") in await told(database)
    write(directory, "principals: {}")

    async def open_again() -> bool:
        return {(await http.get("/incidents", headers=one)).status_code for one in held} == {200}

    assert await eventually(open_again, timeout=5)


@pytest.mark.parametrize("how", ["revoked", "disabled"])
async def test_a_stream_ends_with_the_credential_that_opened_it(
    http: httpx.AsyncClient, directory: Path, how: str
) -> None:
    made = (await http.post("/tokens", json=ASKED)).json()
    async with http.stream("GET", "/events", headers=bearer(made["token"]), timeout=10) as stream:
        lines = stream.aiter_lines()
        assert await anext(lines) == "retry: 2000"
        if how == "revoked":
            await http.post(f"/tokens/{made['token_id']}/revoke")
        else:
            write(directory, "principals: {olga: {disabled: true}}")

        async with asyncio.timeout(6):
            rest = [line async for line in lines]

    assert ": your credential has changed or ended" in rest


async def test_groups_rotations_and_rights_reach_the_services_whatever_the_credential(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("incident.list", {"items": []})

    await http.get("/incidents")
    assert services.last.request["principal"]["groups"] == ["storage"]
    await http.get("/incidents", headers=bearer(VIEWER))
    assert services.last.request["principal"]["on_call"] == ["nights"]
    await http.get("/incidents", headers=bearer(signed(claims(groups=["dba"], amr=["mfa"]))))
    principal = services.last.request["principal"]
    assert (principal["actor"], principal["tenants"], principal["method"]) == ("ada", ["acme"], "jwt")
    assert (principal["groups"], principal["mfa"]) == (["dba", "storage"], True)
    assert principal["epoch"] > 0


async def test_a_token_made_with_a_jwt_outlives_it_with_no_more_rights(
    http: httpx.AsyncClient, services: FakeServices
) -> None:
    await services.answer("incident.list", {"items": []})
    oidc = bearer(signed(claims(roles=["viewer"], clearance="internal", environments=["prod"])))

    made = await http.post("/tokens", json=ASKED, headers=oidc)
    wider = await http.post("/tokens", json=ASKED | {"roles": ["admin"]}, headers=oidc)

    assert (made.status_code, wider.status_code) == (201, 403)
    await http.get("/incidents", headers=bearer(made.json()["token"]))
    principal = services.last.request["principal"]
    assert (principal["actor"], principal["roles"], principal["tenants"]) == ("ada", ["viewer"], ["acme"])
    assert (principal["clearance"], principal["environments"]) == (1, ["prod"])
    assert "mfa" not in principal or not principal["mfa"]


async def test_an_administrator_sees_the_directory_and_a_viewer_does_not(http: httpx.AsyncClient) -> None:
    everyone = (await http.get("/principals", headers=bearer(EVERYWHERE))).json()["items"]

    assert {item["actor"]: item["groups"] for item in everyone} == {"ada": ["storage"], "olga": ["storage"]}
    assert (await http.get("/principals")).json()["items"] == []
    assert (await http.get("/principals", headers=bearer(VIEWER))).status_code == 403
