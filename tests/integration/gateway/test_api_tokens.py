"""API tokens: made by their owner for themselves, shown once, never wider than what made them, and revoked at once."""

import asyncio
from typing import Any, Final

import httpx
import orjson
import pytest

from libs.common.database import Database
from libs.common.ids import new_id
from services.gateway.principals.reception import Reception
from tests.integration.gateway.conftest import EVERYWHERE, OPERATOR, SENDER, TWO_TENANTS, VIEWER, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.support.eventually import eventually
from tests.support.servers import Servers

HOUR: Final = 3600
ASKED: Final = {"name": "ci", "expires_in_seconds": HOUR}


@pytest.fixture
async def made(http: httpx.AsyncClient) -> dict[str, Any]:
    """A token of olga's."""
    answer = await http.post("/tokens", json=ASKED)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def facts(database: Database, kind: str) -> list[dict[str, Any]]:
    """Payloads of the facts of a kind, as they wait for the relay."""
    rows = await database.pool.fetch("SELECT payload FROM outbox WHERE subject = $1 ORDER BY id", kind)
    return [orjson.loads(row["payload"]) for row in rows]


async def test_a_token_speaks_for_whoever_made_it(
    http: httpx.AsyncClient, made: dict[str, Any], services: FakeServices
) -> None:
    await services.answer("incident.list", {"items": []})

    answer = await http.get("/incidents", headers=bearer(made["token"]))

    assert answer.status_code == 200
    principal = services.last.request["principal"]
    assert (principal["actor"], principal["tenants"], principal["roles"]) == ("olga", ["default"], ["admin"])
    assert (made["owner"], made["state"], made["made_with"]) == ("olga", "live", None)


async def test_whoever_asks_is_the_credential_and_no_body_says_otherwise(http: httpx.AsyncClient) -> None:
    for name in ("user", "actor", "owner", "principal", "token_id", "token", "digest", "clearance", "groups"):
        refused = await http.post("/tokens", json=ASKED | {name: "root"})

        assert (refused.status_code, refused.json()["code"]) == (422, "invalid"), name


async def test_the_secret_is_in_one_answer_and_nowhere_else(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database
) -> None:
    secret = made["token"].rpartition("_")[2]

    listed = (await http.get("/tokens")).json()["items"]
    tables = ("api_token", "command", "outbox", "denial")
    stored = [str(await database.pool.fetch(f"SELECT t::text, t FROM {table} t")) for table in tables]

    assert [item["token_id"] for item in listed] == [made["token_id"]]
    assert "token" not in listed[0]
    assert secret not in str(listed)
    assert not [table for table, text in zip(tables, stored, strict=True) if secret in text]
    assert len(secret) == 64
    assert len(await facts(database, "access.token_created")) == 1


async def test_a_creation_that_is_repeated_with_its_key_is_refused_and_makes_nothing(
    http: httpx.AsyncClient, database: Database
) -> None:
    key = {"Idempotency-Key": new_id()}
    first = await http.post("/tokens", json=ASKED, headers=key)
    again = await http.post("/tokens", json=ASKED, headers=key)
    other = await http.post("/tokens", json=ASKED | {"name": "cd"}, headers=key)

    assert (again.status_code, again.json()["code"]) == (409, "secret_shown_once")
    assert again.json()["data"]["token_id"] == first.json()["token_id"]
    assert (other.status_code, other.json()["code"]) == (409, "request_key_reused")
    assert await database.pool.fetchval("SELECT count(*) FROM api_token") == 1
    assert first.json()["token"] not in again.text


async def test_two_creations_at_once_with_one_key_make_one_token(http: httpx.AsyncClient, database: Database) -> None:
    key = {"Idempotency-Key": new_id()}

    answers = await asyncio.gather(*(http.post("/tokens", json=ASKED, headers=key) for _ in range(8)))

    assert sorted(answer.status_code for answer in answers) == [201, *[409] * 7]
    assert await database.pool.fetchval("SELECT count(*) FROM api_token") == 1


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"roles": ["admin"]}, "policy.widened"),
        ({"roles": ["operator", "system"]}, "policy.widened"),
        ({"tenants": ["victim"]}, "policy.widened"),
        ({"tenants": ["*"]}, "policy.widened"),
    ],
)
async def test_a_token_does_no_more_than_what_makes_it(
    http: httpx.AsyncClient, database: Database, asked: dict[str, Any], code: str
) -> None:
    tim = bearer(TWO_TENANTS) | {"Rr-Tenant": "acme"}

    refused = await http.post("/tokens", json=ASKED | asked, headers=tim)

    assert (refused.status_code, refused.json()["code"]) == (403, code)
    assert await database.pool.fetchval("SELECT count(*) FROM api_token") == 0


async def test_scopes_only_ever_narrow(http: httpx.AsyncClient, services: FakeServices) -> None:
    await services.answer("incident.list", {"items": []})
    scopes = ["incident.*", "token.create", "token.view"]
    narrow = (await http.post("/tokens", json=ASKED | {"scopes": scopes})).json()
    held = bearer(narrow["token"])

    same = await http.post("/tokens", json=ASKED, headers=held)
    less = await http.post("/tokens", json=ASKED | {"scopes": ["incident.view"]}, headers=held)
    wider = [
        await http.post("/tokens", json=ASKED | {"scopes": [scope]}, headers=held)
        for scope in ("*", "token.*", "token.revoke", "execution.start")
    ]

    assert (same.status_code, same.json()["scopes"]) == (201, sorted(scopes))
    assert (less.status_code, less.json()["scopes"]) == (201, ["incident.view"])
    assert [(answer.status_code, answer.json()["code"]) for answer in wider] == [(403, "policy.widened")] * 4
    await http.get("/incidents", headers=bearer(less.json()["token"]))
    assert services.last.request["principal"]["scopes"] == ["incident.view"]
    refused = await http.post("/tokens", json=ASKED, headers=bearer(less.json()["token"]))
    assert refused.status_code == 403


@pytest.mark.parametrize("scope", ["everything", "incident.", "incident.delete", "no.such", "*.view", "incident.view "])
async def test_a_scope_that_means_nothing_is_refused(http: httpx.AsyncClient, scope: str) -> None:
    assert (await http.post("/tokens", json=ASKED | {"scopes": [scope]})).status_code == 422


@pytest.mark.parametrize("seconds", [None, 0, 59, -1, 366 * 86400 + 1, 91 * 86400, "3600", 3600.5, True])
async def test_every_token_ends_and_none_late(http: httpx.AsyncClient, seconds: Any) -> None:
    body = {"name": "ci"} if seconds is None else {"name": "ci", "expires_in_seconds": seconds}

    assert (await http.post("/tokens", json=body)).status_code == 422


async def test_a_token_made_with_a_token_ends_no_later_and_is_revoked_with_it(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database
) -> None:
    child = (
        await http.post("/tokens", json=ASKED | {"expires_in_seconds": 86400}, headers=bearer(made["token"]))
    ).json()
    grandchild = (await http.post("/tokens", json=ASKED, headers=bearer(child["token"]))).json()

    ended = (await http.post(f"/tokens/{made['token_id']}/revoke")).json()

    assert child["expires_at"] == made["expires_at"]
    assert (child["made_with"], grandchild["made_with"]) == (made["token_id"], child["token_id"])
    assert set(ended["ended"]) == {made["token_id"], child["token_id"], grandchild["token_id"]}
    for token in (made, child, grandchild):
        assert (await http.get("/principals/me", headers=bearer(token["token"]))).status_code == 401
    told = {fact["token_id"]: fact.get("because_of") for fact in await facts(database, "access.token_revoked")}
    assert told == {
        made["token_id"]: None,
        child["token_id"]: made["token_id"],
        grandchild["token_id"]: child["token_id"],
    }


async def test_a_revocation_is_felt_at_once_and_may_be_repeated(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database
) -> None:
    assert (await http.get("/principals/me", headers=bearer(made["token"]))).status_code == 200

    first = await http.post(f"/tokens/{made['token_id']}/revoke")
    refused = await http.get("/principals/me", headers=bearer(made["token"]))
    again = await http.post(f"/tokens/{made['token_id']}/revoke")

    assert (first.status_code, first.json()["state"], first.json()["revoked_by"]) == (200, "revoked", "olga")
    assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert (again.status_code, again.json()["revoked_at"]) == (200, first.json()["revoked_at"])
    assert again.json()["ended"] == []
    assert len(await facts(database, "access.token_revoked")) == 1


async def test_a_revocation_elsewhere_is_heard_by_notification(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database
) -> None:
    """As another gateway does it: a change of the row that notifies."""
    held = bearer(made["token"])
    assert (await http.get("/principals/me", headers=held)).status_code == 200

    began = asyncio.get_running_loop().time()
    await database.pool.execute("UPDATE api_token SET revoked_at = now(), revoked_by = 'x'")
    await database.pool.execute("SELECT pg_notify('api_token', '')")

    async def shut() -> bool:
        return (await http.get("/principals/me", headers=held)).status_code == 401

    assert await eventually(shut, timeout=5)
    assert asyncio.get_running_loop().time() - began < 1.5


async def test_a_revocation_that_nobody_tells_of_is_felt_within_two_seconds(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database
) -> None:
    held = bearer(made["token"])
    assert (await http.get("/principals/me", headers=held)).status_code == 200
    await database.pool.execute("UPDATE api_token SET revoked_at = now(), revoked_by = 'x'")

    async def shut() -> bool:
        return (await http.get("/principals/me", headers=held)).status_code == 401

    assert await eventually(shut, timeout=2.5)


async def test_an_expired_token_opens_nothing(
    http: httpx.AsyncClient, made: dict[str, Any], database: Database, reception: Reception
) -> None:
    await database.pool.execute("UPDATE api_token SET created_at = now() - interval '2 h', expires_at = now()")
    assert reception.door.book is not None
    reception.door.book.forget()

    refused = await http.get("/principals/me", headers=bearer(made["token"]))

    assert (refused.status_code, refused.json()["detail"]) == (401, "This token has expired.")
    assert (await http.get("/tokens")).json()["items"][0]["state"] == "expired"


async def test_what_is_not_the_whole_token_opens_nothing_and_says_the_same(
    http: httpx.AsyncClient, made: dict[str, Any]
) -> None:
    token = made["token"]
    _, token_id, secret = token.split("_")
    guesses = [
        *(token[:-1], token + "0", token.upper(), f"rr_{token_id}_{'0' * 64}", f"rr_{'0' * 32}_{secret}"),
        *(f"rr_{token_id}_", f"rr__{secret}", "rr_", secret, token_id, f"rr_{secret}_{token_id}"),
        f"rr_{token_id}_{secret[:-1]}{'0' if secret[-1] != '0' else '1'}",
    ]

    answers = [await http.get("/incidents", headers=bearer(guess)) for guess in guesses]

    assert {answer.status_code for answer in answers} == {401}
    assert len({(answer.json()["detail"], answer.json()["fix"]) for answer in answers}) == 1
    assert not [answer for answer in answers if secret in answer.text]


async def test_others_tokens_are_not_there_but_for_administrators_of_their_tenants(http: httpx.AsyncClient) -> None:
    acme = bearer(TWO_TENANTS) | {"Rr-Tenant": "acme"}
    everywhere = bearer(EVERYWHERE)
    tims = (await http.post("/tokens", json=ASKED | {"tenants": ["acme", "globex"]}, headers=acme)).json()
    inas = (await http.post("/tokens", json=ASKED | {"tenants": ["*"]}, headers=everywhere)).json()
    veras = (await http.post("/tokens", json=ASKED, headers=bearer(VIEWER))).json()

    async def seen(headers: dict[str, str], **query: Any) -> set[str]:
        answer = await http.get("/tokens", headers=headers, params=query)
        return {item["token_id"] for item in answer.json()["items"]}

    assert await seen(acme) == {tims["token_id"]}
    assert await seen(bearer(VIEWER)) == {veras["token_id"]}
    assert await seen(bearer(OPERATOR)) == set()
    assert await seen(bearer(OPERATOR), everyone=True) == {veras["token_id"]}
    assert await seen(everywhere, everyone=True) == {tims["token_id"], inas["token_id"], veras["token_id"]}
    assert (await http.get("/tokens?everyone=true", headers=bearer(VIEWER))).status_code == 403
    for stranger in (bearer(OPERATOR), bearer(VIEWER)):
        for foreign in (tims, inas):
            answer = await http.post(f"/tokens/{foreign['token_id']}/revoke", headers=stranger)
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await http.post(f"/tokens/{new_id()}/revoke", headers=bearer(VIEWER))).status_code == 404
    assert (await http.post(f"/tokens/{veras['token_id']}/revoke", headers=acme)).status_code == 404
    assert (await http.post(f"/tokens/{veras['token_id']}/revoke")).status_code == 200


async def test_pages_follow_each_other(http: httpx.AsyncClient) -> None:
    made = [(await http.post("/tokens", json=ASKED)).json()["token_id"] for _ in range(5)]

    first = (await http.get("/tokens?limit=3")).json()
    second = (await http.get(f"/tokens?limit=3&after={first['next']}")).json()

    assert [item["token_id"] for item in first["items"] + second["items"]] == made[::-1]
    assert second["next"] is None


async def test_a_sender_of_alerts_makes_no_token(http: httpx.AsyncClient) -> None:
    assert (await http.post("/tokens", json=ASKED, headers=bearer(SENDER))).status_code == 403


async def test_when_a_token_was_last_used_is_written_down_later(
    http: httpx.AsyncClient, made: dict[str, Any], reception: Reception
) -> None:
    held = bearer(made["token"])
    for _ in range(3):
        await http.get("/principals/me", headers=held)
    assert (await http.get("/tokens")).json()["items"][0]["last_used_at"] is None

    assert reception.door.book is not None
    await reception.door.book.write()

    assert (await http.get("/tokens")).json()["items"][0]["last_used_at"] is not None


async def test_without_the_database_a_token_is_not_known_and_not_eternal(
    http: httpx.AsyncClient, made: dict[str, Any], servers: Servers
) -> None:
    held = bearer(made["token"])

    async def answered(status: int) -> bool:
        return (await http.get("/principals/me", headers=held)).status_code == status

    servers.kill(servers.postgres)
    try:
        assert await eventually(lambda: answered(503), timeout=10)
        assert (await http.get("/principals/me")).status_code == 200
    finally:
        servers.restart(servers.postgres)
    assert await eventually(lambda: answered(200), timeout=20)


async def test_no_disguise_of_the_new_paths_goes_around_the_credential(http: httpx.AsyncClient, base_url: str) -> None:
    async with httpx.AsyncClient(base_url=base_url) as stranger:
        for path in (
            "/tokens",
            "/tokens/",
            "/tokens.json",
            "//tokens",
            "/tokens;x",
            "/principals/me",
            "/principals/%6de",
        ):
            for method in ("GET", "POST", "DELETE", "PUT"):
                assert (await stranger.request(method, path)).status_code == 401, (method, path)
    assert (await http.delete("/tokens")).status_code == 405


async def test_the_caller_is_told_who_it_is(http: httpx.AsyncClient, made: dict[str, Any]) -> None:
    me = (await http.get("/principals/me", headers=bearer(made["token"]))).json()

    assert (me["actor"], me["tenant"], me["method"], me["token_id"]) == ("olga", "default", "token", made["token_id"])
    assert me["expires_at"] == made["expires_at"]
    assert (await http.get("/principals/me")).json()["expires_at"] is None
