"""Real servers for tests: started once a session (and xdist worker), made clean for each test in milliseconds.

`servers` is the session's Postgres, Valkey and NATS, with ways to kill and restart each. `stack_env` is a clean
database, clean streams and an empty Valkey for one test, as the `RR_…` variables that name them.
"""

import asyncio
import shutil
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from runbook_ranger.stack import keyring
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.provision import Purpose, Targets, provision, provision_streams
from runbook_ranger.stack.provision.hints import hint_streams
from runbook_ranger.stack.provision.wanted import StreamSettings
from runbook_ranger.stack.roles import service_url
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.servers.nats import Nats
from runbook_ranger.stack.servers.postgres import Postgres
from runbook_ranger.stack.servers.valkey import ADMIN, Valkey
from tests.support import scratch

T = TypeVar("T")

TEMPLATE = "ranger_template"
# A killed process loses nothing of all this; only a power failure would.
FAST = {"fsync": "off", "full_page_writes": "off", "max_wal_size": "128MB", "wal_recycle": "off"}
SMALL = StreamSettings(events_max_bytes=256 << 20)


class Servers:
    """The three servers of a test session, below a short folder that the servers' account can reach."""

    def __init__(self, root: Path) -> None:
        root.chmod(0o711)
        self.layout = Layout.open(root)
        self.postgres = Postgres(self.layout, FAST)
        self.valkey = Valkey(self.layout)
        self.nats = Nats(self.layout, Ports.load(root / "ports.json"), guest="guest")
        self.all: tuple[Server, ...] = (self.nats, self.valkey, self.postgres)

    def start(self) -> None:
        """Start all at once and return when each answers."""
        for server, process in [(server, server.start()) for server in self.all]:
            server.wait(process)

    def stop(self) -> None:
        """Stop all in order."""
        for server in self.all:
            server.stop()

    def kill(self, server: Server) -> None:
        """End one as a crash would; it stays down until `restart`."""
        server.kill()

    def restart(self, server: Server) -> None:
        """Start one again on its own data, at the same address, after stopping it if it still runs."""
        if server.process is not None and server.process.poll() is None:
            server.stop()
        server.start_and_wait()

    def targets(self, database: str) -> Targets:
        """Where to provision one database and the bus, as administrator."""
        return Targets(
            postgres=self.postgres.url(database),
            nats=self.nats.guest_url(),
            redis=self.valkey.url(),
            role_secret=self.layout.secret("roles"),
            settings=SMALL,
        )


class StackEnv(dict[str, str]):
    """`RR_…` variables of a clean stack, with the administrator's database URL and a way to the bus that may do all.

    `service` gives a service's own.
    """

    def service(self, name: str, **more: str) -> dict[str, str]:
        """The variables of one service, or of a worker: its own role and key, a free health port, others by name."""
        owner = "executor" if name == "worker" else name
        own = {
            "RR_POSTGRES_URL": service_url(self["RR_POSTGRES_URL"], owner, self["RR_ROLE_SECRET"]),
            "RR_NATS_URL": f"nats://{self['RR_NATS_URL'].rpartition('@')[2]}",
            "RR_NATS_NKEY_FILE": str(keyring.path(Path(self["RR_NATS_KEYS"]), name)),
            "RR_INSTANCE": name,
            "RR_HEALTH_PORT": "0",
        }
        shared = {key: value for key, value in self.items() if key not in {"RR_ROLE_SECRET", "RR_NATS_KEYS"}}
        return {**shared, **own, **more}


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """Running servers, with a provisioned and migrated template database."""
    root = scratch.folder("rr-test-")
    found = Servers(root)
    try:
        found.start()
        settled(_make_template(found))
        yield found
    finally:
        found.stop()
        shutil.rmtree(root)


@pytest.fixture
def stack_env(servers: Servers) -> StackEnv:
    """A clean stack for one test."""
    for server in servers.all:
        if server.process is None or server.process.poll() is not None:
            servers.restart(server)
    return settled(_clean(servers, f"ranger_{next(_numbers)}"))


_numbers = count(1)


def settled(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run in a loop of its own that touches no other."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(asyncio.run, work).result()


async def _make_template(servers: Servers) -> None:
    """Without streams: their epochs then begin with each test."""
    await provision(replace(servers.targets(TEMPLATE), nats=""))
    await migrate(servers.postgres.url(TEMPLATE))


async def _clean(servers: Servers, database: str) -> StackEnv:
    await asyncio.gather(_copy_template(servers, database), _clear_bus(servers))
    servers.valkey.ask("FLUSHALL", user=ADMIN)
    for stream in hint_streams():
        servers.valkey.ask("XGROUP", "CREATE", stream, "workers", "0", "MKSTREAM", user=ADMIN)
    targets = servers.targets(database)
    connection = await asyncpg.connect(targets.postgres)
    try:
        await provision_streams(connection, targets, Purpose())
    finally:
        await connection.close()
    return StackEnv(
        RR_POSTGRES_URL=targets.postgres,
        RR_NATS_URL=targets.nats,
        RR_NATS_KEYS=str(servers.nats.keys),
        RR_REDIS_URL=targets.redis,
        RR_ROLE_SECRET=targets.role_secret,
        RR_OBJECTS_DIR=str(servers.layout.objects / database),
        RR_TENANT="default",
        RR_LOG_LEVEL="INFO",
    )


async def _copy_template(servers: Servers, database: str) -> None:
    connection = await asyncpg.connect(servers.postgres.url())
    try:
        old = await connection.fetch("select datname from pg_database where datname ~ '^ranger_[0-9]+$'")
        for row in old:
            await connection.execute(f'drop database "{row["datname"]}" with (force)')
        # Copying files takes half of what writing a log of their pages does.
        await connection.execute(f'create database "{database}" template {TEMPLATE} strategy file_copy')
    finally:
        await connection.close()


async def _clear_bus(servers: Servers) -> None:
    import nats

    client = await nats.connect(servers.nats.guest_url(), allow_reconnect=False)
    try:
        manager = client.jetstream()
        for info in await manager.streams_info():
            await manager.delete_stream(str(info.config.name))
    finally:
        await client.close()
