"""Signed posts, passwords and tokens of senders: into the credential's tenant, each signature once."""

import base64
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from libs.common.bus import Bus
from libs.common.contracts.alert import MAX_BODY_BYTES
from libs.common.database import Database
from services.gateway.principals.reception import Reception
from services.gateway.principals.upkeep import Upkeep
from tests.integration.gateway.conftest import EVERYWHERE, bearer
from tests.integration.gateway.test_webhooks import ALERTMANAGER, EVENT, stored
from tests.support.servers import Servers
from tests.unit.gateway.test_senders import NEW, OLD, PASSWORD, SENDERS, TOKEN, sign

BODY = orjson.dumps(EVENT | {"tenant": "victim", "sender": "victim"})


@pytest.fixture
def more_settings(tmp_path: Path) -> dict[str, Any]:
    path = tmp_path / "webhooks.json"
    path.write_bytes(orjson.dumps({"senders": SENDERS}))
    return {"webhooks_file": str(path)}


@pytest.fixture
async def sender(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client without any credential."""
    kind = {"Content-Type": "application/json"}
    async with httpx.AsyncClient(base_url=base_url, headers=kind, timeout=10) as client:
        yield client


def headers(body: bytes = BODY, secret: str = OLD, *, off: int = 0, sender: str = "pager") -> dict[str, str]:
    stamp = int(time.time()) + off
    return {"Rr-Sender": sender, "Rr-Timestamp": str(stamp), "Rr-Signature": sign(secret, stamp, body)}


async def test_a_signed_alert_is_stored_in_its_senders_tenant_whatever_it_says(
    sender: httpx.AsyncClient, bus: Bus
) -> None:
    for off, secret in enumerate((OLD, NEW)):
        answer = await sender.post("/webhooks/events", content=BODY, headers=headers(secret=secret, off=off))
        assert answer.status_code == 202, answer.text
        message = await stored(bus, answer.json()["seq"])
        assert message.data == BODY
        assert (message.headers["Rr-Tenant"], message.headers["Rr-Actor"]) == ("acme", "sender:pager")


async def test_the_tenant_of_another_cannot_be_named(sender: httpx.AsyncClient, bus: Bus) -> None:
    answer = await sender.post("/webhooks/events", content=BODY, headers=headers() | {"Rr-Tenant": "globex"})

    assert (answer.status_code, answer.json()["code"]) == (403, "policy.tenant")
    assert (await bus.js.stream_info("INGRESS")).state.messages == 0


async def test_a_signature_is_taken_once(sender: httpx.AsyncClient, bus: Bus, database: Database) -> None:
    signed = headers()

    first = await sender.post("/webhooks/events", content=BODY, headers=signed)
    again = await sender.post("/webhooks/events", content=BODY, headers=signed)
    elsewhere = await sender.post("/webhooks/alertmanager", content=BODY, headers=signed)
    fresh = await sender.post("/webhooks/events", content=BODY, headers=headers(off=1))

    assert [answer.status_code for answer in (first, again, elsewhere, fresh)] == [202, 409, 409, 202]
    assert again.json()["code"] == "replayed"
    assert (await bus.js.stream_info("INGRESS")).state.messages == 2

    await database.pool.execute("UPDATE signed_post SET seen_at = now() - interval '901 s'")
    await Upkeep(database).once()
    assert await database.pool.fetchval("SELECT count(*) FROM signed_post") == 0


async def test_what_could_not_be_kept_may_come_again_as_it_was(sender: httpx.AsyncClient, bus: Bus) -> None:
    config = (await bus.js.stream_info("INGRESS")).config
    await bus.js.delete_stream("INGRESS")
    signed = headers()
    assert (await sender.post("/webhooks/events", content=BODY, headers=signed)).status_code == 503

    await bus.js.add_stream(config)

    assert (await sender.post("/webhooks/events", content=BODY, headers=signed)).status_code == 202


async def test_without_the_database_a_signature_cannot_be_known_to_be_fresh_and_a_password_can(
    sender: httpx.AsyncClient, servers: Servers
) -> None:
    by_password = {"Authorization": "Basic " + base64.b64encode(f"am-acme:{PASSWORD}".encode()).decode()}
    servers.kill(servers.postgres)
    try:
        refused = await sender.post("/webhooks/events", content=BODY, headers=headers())
        taken = await sender.post("/webhooks/events", content=BODY, headers=by_password)
    finally:
        servers.restart(servers.postgres)

    assert (refused.status_code, taken.status_code) == (503, 202)


async def test_alertmanager_sends_a_password_or_a_token(sender: httpx.AsyncClient, bus: Bus) -> None:
    posted = orjson.dumps(ALERTMANAGER)
    password = base64.b64encode(f"am-acme:{PASSWORD}".encode()).decode()

    for scheme, tenant in ((f"Basic {password}", "acme"), (f"Bearer {TOKEN}", "globex")):
        answer = await sender.post("/webhooks/alertmanager", content=posted, headers={"Authorization": scheme})
        assert answer.status_code == 202, answer.text
        assert (await stored(bus, answer.json()["seq"])).headers["Rr-Tenant"] == tenant


async def test_every_failure_is_the_same_401_and_is_counted(
    sender: httpx.AsyncClient, bus: Bus, reception: Reception, database: Database
) -> None:
    wrong = [
        headers(secret="canary-of-nobody-0123456789abcdef01234567"),
        headers(sender="nobody"),
        headers(off=-400),
        headers(b"another body"),
        {"Authorization": "Basic " + base64.b64encode(b"am-acme:wrong").decode()},
        {"Authorization": "Basic " + base64.b64encode(b"nobody:wrong").decode()},
    ]

    answers = [await sender.post("/webhooks/events", content=BODY, headers=one) for one in wrong]

    bodies = [{**answer.json(), "trace_id": ""} for answer in answers]
    assert [answer.status_code for answer in answers] == [401] * len(wrong)
    assert bodies == [bodies[0]] * len(wrong)
    assert {tuple(sorted(answer.headers)) for answer in answers} == {tuple(sorted(answers[0].headers))}
    assert (await bus.js.stream_info("INGRESS")).state.messages == 0
    assert reception.denials is not None
    await reception.denials.write()
    told = [orjson.loads(row["payload"]) for row in await database.pool.fetch("SELECT payload FROM outbox")]
    assert {(fact["actor"], fact["action"], fact["reason"]) for fact in told} == {
        ("anonymous", "authenticate", reason) for reason in ("signature", "stale", "password")
    }


async def test_a_body_over_the_limit_is_refused_before_it_is_hashed(sender: httpx.AsyncClient) -> None:
    huge = b" " * (MAX_BODY_BYTES + 1)

    for credential in (headers(huge), headers(sender="nobody")):
        answer = await sender.post("/webhooks/events", content=huge, headers=credential)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_sender_does_nothing_but_send(sender: httpx.AsyncClient) -> None:
    for method, path in (("GET", "/incidents"), ("POST", "/tokens"), ("GET", "/webhooks/senders"), ("GET", "/events")):
        for credential in (headers(b""), {"Authorization": f"Bearer {TOKEN}"}):
            answer = await sender.request(method, path, headers=credential)
            assert answer.status_code == 401, (method, path)


async def test_who_may_send_is_listed_without_a_secret(http: httpx.AsyncClient) -> None:
    acme = bearer(EVERYWHERE) | {"Rr-Tenant": "acme"}

    answer = await http.get("/webhooks/senders", headers=acme)

    assert answer.json()["items"] == [
        {"sender": "am-acme", "tenant": "acme", "method": "basic", "live_secrets": 1},
        {"sender": "pager", "tenant": "acme", "method": "hmac", "live_secrets": 2},
    ]
    assert "canary" not in answer.text
    assert (await http.get("/webhooks/senders")).json()["items"] == []
