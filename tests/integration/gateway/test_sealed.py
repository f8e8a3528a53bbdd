"""The sealed account: opened with a reason, for a time, told once; and nothing else opens with it."""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from prometheus_client import REGISTRY

from libs.common.database import Database
from services.gateway.principals.reception import Reception
from tests.integration.gateway.conftest import bearer
from tests.integration.gateway.fakes import FakeServices

SECRET = "rrbg_" + "0123456789abcdef" * 4
OTHER = "rrbg_" + "fedcba9876543210" * 4
WHY = {"Rr-Rationale": "the identity provider is down: ärgerlich, INC-7"}


def seal(of: str = SECRET, **more: Any) -> bytes:
    found = {"sha256": hashlib.sha256(of.encode()).hexdigest(), "tenants": ["acme"], "actor": "envelope", **more}
    return orjson.dumps(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "seal.json"
    path.write_bytes(seal())
    return path


@pytest.fixture
def more_settings(file: Path) -> dict[str, Any]:
    return {"break_glass_file": str(file)}


@pytest.fixture
async def stranger(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=base_url, timeout=10) as client:
        yield client


def why(text: str) -> list[tuple[bytes, bytes]]:
    return [(b"Authorization", f"Bearer {SECRET}".encode()), (b"Rr-Rationale", text.encode())]


def sealed_anew(file: Path) -> None:
    file.write_bytes(seal(OTHER))


async def told(database: Database) -> list[dict[str, Any]]:
    rows = await database.pool.fetch("SELECT payload FROM outbox WHERE subject = 'access.break_glass_used'")
    return [orjson.loads(row["payload"]) for row in rows]


def opened() -> float:
    return REGISTRY.get_sample_value("ranger_gateway_break_glass_total") or 0


async def test_it_opens_with_a_reason_and_is_told_once(
    stranger: httpx.AsyncClient, services: FakeServices, database: Database
) -> None:
    await services.answer("incident.list", {"items": []})
    before = opened()

    for _ in range(3):
        assert (await stranger.get("/incidents", headers=why(WHY["Rr-Rationale"]))).status_code == 200

    principal = services.last.request["principal"]
    assert (principal["actor"], principal["tenants"], principal["roles"]) == ("envelope", ["acme"], ["break_glass"])
    assert (principal["method"], principal["clearance"]) == ("break_glass", 3)
    [fact] = await told(database)
    assert (fact["actor"], fact["tenants"], fact["rationale"]) == ("envelope", ["acme"], WHY["Rr-Rationale"])
    assert opened() == before + 1
    rows = str([tuple(row) for row in await database.pool.fetch("SELECT * FROM break_glass")])
    assert SECRET not in rows + str(fact)


@pytest.mark.parametrize("reason", [None, "", "no", "x" * 501, "hidden \u202e text", "\u2028" * 5])
async def test_without_a_reason_it_stays_shut(
    stranger: httpx.AsyncClient, database: Database, reason: str | None
) -> None:
    headers = why(reason) if reason is not None else why("")[:1]
    answer = await stranger.get("/incidents", headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "rationale_missing")
    assert await told(database) == []


async def test_two_reasons_are_none(stranger: httpx.AsyncClient) -> None:
    answer = await stranger.get("/incidents", headers=[*why("one reason"), (b"Rr-Rationale", b"another")])

    assert answer.status_code == 403


async def test_what_is_not_the_secret_is_nobody(stranger: httpx.AsyncClient, database: Database) -> None:
    digest = hashlib.sha256(SECRET.encode()).hexdigest()
    for guess in (OTHER, SECRET[:-1], SECRET + "0", SECRET.upper(), "rrbg_", "rrbg_" + digest, digest):
        answer = await stranger.get("/incidents", headers=bearer(guess) | {"Rr-Rationale": "guessing"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert await told(database) == []


async def test_its_time_is_over_and_then_it_is_sealed_anew(
    stranger: httpx.AsyncClient, database: Database, reception: Reception, services: FakeServices, file: Path
) -> None:
    await services.answer("incident.list", {"items": []})
    assert (await stranger.get("/incidents", headers=why("the first night"))).status_code == 200
    await database.pool.execute("UPDATE break_glass SET until = now()")
    assert reception.door.seal is not None
    reception.door.seal._known = None

    spent = await stranger.get("/incidents", headers=why("the second night"))
    sealed_anew(file)
    reception.door.seal.watched.look()
    old = await stranger.get("/incidents", headers=why("the second night"))
    new = await stranger.get("/incidents", headers=bearer(OTHER) | {"Rr-Rationale": "the second night"})

    assert (spent.status_code, spent.json()["code"]) == (403, "break_glass_spent")
    assert (old.status_code, new.status_code) == (401, 200)
    assert [fact["rationale"] for fact in await told(database)] == ["the first night", "the second night"]


async def test_another_gateway_finds_the_activation_under_way(
    stranger: httpx.AsyncClient, database: Database, reception: Reception, services: FakeServices
) -> None:
    await services.answer("incident.list", {"items": []})
    await stranger.get("/incidents", headers=why("the first"))
    assert reception.door.seal is not None
    reception.door.seal._known = None

    assert (await stranger.get("/incidents", headers=why("the second"))).status_code == 200
    assert len(await told(database)) == 1


async def test_it_makes_no_token_and_leaves_its_tenants_alone(stranger: httpx.AsyncClient) -> None:
    made = await stranger.post(
        "/tokens", json={"name": "for later", "expires_in_seconds": 3600}, headers=why("a spare key")
    )
    foreign = await stranger.get("/incidents", headers=[*why("looking around"), (b"Rr-Tenant", b"victim")])

    assert made.status_code == 403
    assert (foreign.status_code, foreign.json()["code"]) == (403, "policy.tenant")


@pytest.mark.parametrize(
    "more",
    [
        {"sha256": "0" * 63},
        {"tenants": []},
        {"tenants": ["*", "acme"]},
        {"minutes": 0},
        {"minutes": 481},
        {"activations": 0},
        {"actor": "svc_incident"},
        {"secret": SECRET},
        {"roles": ["admin"]},
    ],
)
def test_a_file_that_cannot_be_meant_ends_the_start_and_is_not_quoted(file: Path, more: dict[str, Any]) -> None:
    from services.gateway.principals.sealed import Seal

    file.write_bytes(seal(**more))
    with pytest.raises(SystemExit, match="RR_BREAK_GLASS_FILE") as refused:
        Seal(str(file), Database("", schema="gateway", instance="x", pool_size=1), tenant="default")

    assert SECRET not in str(refused.value)
