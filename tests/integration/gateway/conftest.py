"""The gateway's HTTP face on a real port, in front of real NATS, with fake services behind it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.database import Database
from libs.common.health import server
from libs.common.objectstore import ObjectStore
from libs.common.rpc import RpcClient
from services.gateway.application import application
from services.gateway.evidence.desk import EvidenceDesk
from services.gateway.evidence.downloads import Downloads
from services.gateway.evidence.holds import HoldDesk
from services.gateway.evidence.links import Links
from services.gateway.evidence.redactions import RedactionDesk
from services.gateway.flags.book import FlagBook
from services.gateway.flags.desk import FlagDesk
from services.gateway.principals.reception import Reception
from services.gateway.settings import GatewaySettings
from services.gateway.tail import Tail
from tests.integration.gateway.fakes import FakeServices
from tests.integration.gateway.process import GatewayProcess
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

OPERATOR = "canary-operator-7d1e9c52aa40"
VIEWER = "canary-viewer-11c0ffee5eed"
SENDER = "canary-sender-0badcafe4242"
TWO_TENANTS = "canary-several-5150f00dbabe"
EVERYWHERE = "canary-everywhere-90deadbeef"
TOKENS: dict[str, Any] = {
    OPERATOR: {"actor": "olga", "tenants": ["default"], "roles": ["admin"]},
    VIEWER: {"actor": "vera", "tenants": ["default"], "roles": ["viewer"]},
    SENDER: {"actor": "alertmanager", "tenants": ["acme"], "roles": ["alerting"]},
    TWO_TENANTS: {"actor": "tim", "tenants": ["acme", "globex"], "roles": ["operator"]},
    EVERYWHERE: {"actor": "ina", "tenants": ["*"], "roles": ["admin"], "clearance": 3},
}
STRANGER = "canary-stranger-0ddba11c0de5"
ROLE_TOKENS: dict[str, Any] = {
    role: f"canary-role-{role}-5eed5eed5eed"
    for role in ("viewer", "operator", "author", "approver", "auditor", "alerting", "admin")
}
TOKENS[STRANGER] = {"actor": "steve", "tenants": ["elsewhere"], "roles": ["admin"]}
TOKENS |= {
    token: {"actor": f"{role}-1", "tenants": ["default"], "roles": [role]} for role, token in ROLE_TOKENS.items()
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def bus(stack_env: StackEnv) -> AsyncIterator[Bus]:
    bus = Bus(stack_env["RR_NATS_URL"], name="gateway-test", identity="gateway")
    await bus.connect()
    yield bus
    await bus.close()


@pytest.fixture
async def services(stack_env: StackEnv) -> AsyncIterator[FakeServices]:
    services = await FakeServices.connect(stack_env["RR_NATS_URL"])
    yield services
    await services.client.close()


@pytest.fixture
async def tail(bus: Bus) -> AsyncIterator[Tail]:
    """The end of EVENTS, followed while somebody listens; it keeps little, so that falling behind is quick."""
    tail = Tail(bus, keep=64, listeners=8)
    following = asyncio.create_task(tail.run())
    yield tail
    following.cancel()
    await asyncio.wait({following})


@pytest.fixture
def more_settings() -> dict[str, Any]:
    """Settings of the face beyond its servers'; a module that needs some has a fixture of this name."""
    return {}


@pytest.fixture
async def database(stack_env: StackEnv) -> AsyncIterator[Database]:
    """The gateway's schema, in the gateway's role."""
    url = stack_env.service("gateway")["RR_POSTGRES_URL"]
    database = Database(url, schema="gateway", instance="gateway-test", pool_size=4)
    await database.open()
    yield database
    await database.close()


@pytest.fixture
async def reception(
    stack_env: StackEnv, database: Database, more_settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Reception]:
    """Who stands at the door, with what runs beside."""
    monkeypatch.setenv("RR_TOKENS", orjson.dumps(TOKENS).decode())
    reception = Reception.open(settings_for(stack_env, more_settings), database)
    running = {asyncio.create_task(part.run(), name=name) for name, part in reception.parts}
    yield reception
    for part in running:
        part.cancel()
    ended, _ = await asyncio.wait(running)
    assert not [part for part in ended if not part.cancelled()]


@pytest.fixture
async def flags(database: Database) -> AsyncIterator[FlagBook]:
    """The feature flags, read once; they are kept fresh beside."""
    book = FlagBook(database)
    await book.read()
    running = asyncio.create_task(book.run())
    yield book
    running.cancel()
    await asyncio.wait({running})


def settings_for(stack_env: StackEnv, more: dict[str, Any]) -> GatewaySettings:
    return GatewaySettings(
        nats_url=SecretStr(stack_env["RR_NATS_URL"]),
        postgres_url=SecretStr("postgresql://nobody@/nowhere"),
        gateway_body_seconds=0.5,
        **more,
    )


EVIDENCE_SECRET = "a-secret-of-evidence-for-tests"


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    """Where artefacts are; a module whose are elsewhere has a fixture of this name."""
    return ObjectStore.open((tmp_path / "objects").as_uri())


@pytest.fixture
async def base_url(
    stack_env: StackEnv,
    bus: Bus,
    tail: Tail,
    reception: Reception,
    flags: FlagBook,
    database: Database,
    store: ObjectStore,
    more_settings: dict[str, Any],
) -> AsyncIterator[str]:
    """The face on a free port, within this process."""
    settings = settings_for(stack_env, more_settings)
    links = Links.of(EVIDENCE_SECRET)
    evidence = (
        EvidenceDesk(database, store, links, via_gateway=settings.evidence_via_gateway),
        HoldDesk(database),
        RedactionDesk(database),
        Downloads(store, links),
    )
    desk = FlagDesk(database, flags)
    app = application(settings, reception, bus, RpcClient(bus, timeout=1.0), tail, (flags, desk), evidence)
    face = server(app, host="127.0.0.1", port=0)
    serving = asyncio.create_task(face.serve())
    await eventually(lambda: face.started)
    port = face.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    tail.close()
    face.leave()
    await serving


@pytest.fixture
async def http(base_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the operator's token."""
    async with httpx.AsyncClient(base_url=base_url, headers=bearer(OPERATOR), timeout=10) as client:
        yield client


@pytest.fixture
async def gateway(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    """A gateway process that is ready, with spans in `traces.jsonl`."""
    more = {
        "RR_TOKENS": orjson.dumps(TOKENS).decode(),
        "RR_TRACE_FILE": str(tmp_path / "traces.jsonl"),
        "RR_LOG_LEVEL": "DEBUG",
    }
    process = await GatewayProcess.start(stack_env.service("gateway", **more), tmp_path)
    try:
        yield await process.until_ready()
    finally:
        await process.end()
