"""Real Postgres and NATS, started once, and a log of its own for each test."""

import asyncio
import itertools
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import nats
import pytest
from nats.aio.client import Client
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.database import Database
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.prepare import prepare
from runbook_ranger.stack.provision import Targets
from runbook_ranger.stack.roles import service_url
from runbook_ranger.stack.servers.nats import Nats
from runbook_ranger.stack.servers.postgres import Postgres
from services.timeline.settings import TimelineSettings
from tests.integration.timeline.bench import Bench

ROLE_SECRET = "timeline-tests"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Servers:
    """URLs of what the session started: the administrator's, and the service's own."""

    admin: str
    service: str
    nats: str


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    root = Path(tempfile.mkdtemp(prefix="rr-timeline-"))  # pytest's own folders are closed to the servers' account
    root.chmod(0o711)
    layout = Layout.open(root / "stack")
    postgres, bus = Postgres(layout), Nats(layout, Ports.load(layout.root / "ports.json"))
    try:
        postgres.start_and_wait()
        bus.start_and_wait()
        admin = postgres.url("ranger")
        asyncio.run(prepare(Targets(postgres=admin, nats=bus.url(), role_secret=ROLE_SECRET)))
        yield Servers(admin, service_url(admin, "timeline", ROLE_SECRET), bus.url())
    finally:
        bus.stop()
        postgres.stop()
        shutil.rmtree(root)


@pytest.fixture
async def admin(servers: Servers) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """The administrator's connection, to do what the service cannot."""
    connection = await asyncpg.connect(servers.admin, server_settings={"search_path": "timeline"})
    yield connection
    await connection.close()


@pytest.fixture
async def client(servers: Servers) -> AsyncIterator[Client]:
    """A plain connection, as a producer has it."""
    connection = await nats.connect(servers.nats)
    yield connection
    await connection.close()


@pytest.fixture
async def bench(servers: Servers, admin: "asyncpg.Connection[asyncpg.Record]", client: Client) -> AsyncIterator[Bench]:
    """An empty log and a stream of its own, without deny_delete."""
    await admin.execute("TRUNCATE log_state, leaf, payload, chain_head")
    settings = TimelineSettings(
        nats_url=SecretStr(servers.nats),
        postgres_url=SecretStr(servers.service),
        timeline_origin="ranger.test/timeline",
        timeline_standby_seconds=0.1,
        timeline_recheck_seconds=0.1,
    )
    database = Database(servers.service, schema="timeline", instance="timeline-test", pool_size=4)
    bus = Bus(servers.nats, name="timeline-test")
    await database.open()
    await bus.connect()
    async with Bench(client, database, bus, settings, number=next(_numbers)) as bench:
        yield bench
    await bus.close()
    await database.close()
