"""The substrate under examination: real servers, facts to tell, consumers and relays that a test starts and ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats.js.errors
import orjson
from nats.aio.client import Client

from libs.common.bus import Bus, Outgoing, Stored
from libs.common.consumer import EventConsumer, FactReceived, Handler, decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.incident import IncidentCreated
from libs.common.database import Database
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox, OutboxEvent
from libs.common.pulse import Pulse
from libs.common.relay import Relay
from libs.common.streams import Epochs
from tests.support import forked
from tests.support.consumed import consumed
from tests.support.eventually import eventually
from tests.support.probe_service import prepare, tally
from tests.support.servers import Servers, StackEnv

NOW = datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)
CAUSE = Cause(tenant="acme", actor="ada", correlation="c-1")
OUTBOX = Outbox("incident", "incident")


def fact(aggregate: str, version: int, *, size: int = 0, event_id: str = "") -> OutboxEvent:
    """`incident.created` as the given version of an aggregate, `size` bytes longer than it need be."""
    created = IncidentCreated(
        incident_id=aggregate, title="t" * size, severity="high", status="new", fingerprint="f", alert_id="a",
        alert_name="n", labels={}, annotations={}, firing=True,
    )  # fmt: skip
    return OUTBOX.event(
        created, aggregate_id=aggregate, aggregate_version=version, cause=CAUSE, now=NOW, event_id=event_id
    )


def facts(aggregates: int, versions: int, *, size: int = 0) -> list[OutboxEvent]:
    """Versions 1 to `versions` of each aggregate, the aggregates interleaved."""
    names = [new_id() for _ in range(aggregates)]
    return [fact(name, version, size=size) for version in range(1, versions + 1) for name in names]


def outgoing(event: OutboxEvent) -> Outgoing:
    """As the relay sends it."""
    return Outgoing(event.envelope.type, event.payload, event.envelope.to_headers())


@asynccontextmanager
async def running(*parts: Callable[[], Coroutine[Any, Any, None]]) -> AsyncIterator[list[asyncio.Task[None]]]:
    """Parts that run until the block ends; one that failed is the test's failure."""
    tasks = [asyncio.create_task(part()) for part in parts]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome


@dataclass
class Probe:
    """A running `tests.support.probe_service`."""

    process: forked.Process
    health: str
    output: Path

    async def status(self, path: str = "/readyz") -> tuple[int, str]:
        """HTTP status and body; (0, "") while nobody listens."""
        try:
            async with httpx.AsyncClient(trust_env=False, timeout=10) as client:
                answer = await client.get(self.health + path)
                return answer.status_code, answer.text
        except httpx.TransportError:
            return 0, ""

    async def ready(self) -> bool:
        """Whether it says so; the test fails with its log when it has ended."""
        assert self.process.returncode is None, self.output.read_text()
        return (await self.status())[0] == 200

    async def exit_code(self) -> int:
        """How it ended by itself."""
        return await asyncio.wait_for(self.process.wait(), 30)

    async def end(self) -> None:
        """kill -9."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        await self.process.wait()


@dataclass
class Lab:
    """One test's servers, and what it opened on them."""

    env: StackEnv
    servers: Servers
    folder: Path
    bus: Bus
    admin: asyncpg.Connection[asyncpg.Record]
    incident: Database
    catalog: Database
    open: AsyncExitStack = field(default_factory=AsyncExitStack)

    async def another_bus(self, name: str = "another") -> Bus:
        """One more connection, as another process has."""
        bus = Bus(self.env["RR_NATS_URL"], name=name)
        await bus.connect()
        self.open.push_async_callback(_hang_up, bus, self.servers)
        return bus

    async def another_database(self, service: str) -> Database:
        """One more pool with a service's role."""
        url = self.env.service(service)["RR_POSTGRES_URL"]
        database = Database(url, schema=service, instance=f"{service}-test", pool_size=4)
        await database.open()
        self.open.push_async_callback(database.close)
        return database

    def consumer(
        self,
        handler: Handler[FactReceived] = tally,
        *,
        bus: Bus | None = None,
        durable: str = "catalog",
        batch: int = 256,
        max_failures: int = 3,
        check_seconds: float = 60,
    ) -> EventConsumer[FactReceived]:
        """The catalog's durable, applied in this process."""
        own = bus or self.bus
        return EventConsumer(
            bus=own, database=self.catalog, epochs=Epochs(own), stream=EVENTS, durable=durable, decode=decode_fact,
            handler=handler, batch=batch, max_failures=max_failures, check_seconds=check_seconds,
        )  # fmt: skip

    def relay(self, *, bus: Bus | None = None, database: Database | None = None, poll_seconds: float = 600) -> Relay:
        """A relay of the incident service's outbox; by default only a notification wakes it."""
        schema = database or self.incident
        pulse = Pulse(schema)
        self.open.callback(asyncio.create_task(pulse.run()).cancel)
        return Relay(schema, bus or self.bus, pulse, poll_seconds=poll_seconds)

    async def probe(self, service: str, *, wait: bool = True, **more: str) -> Probe:
        """A real process with the substrate of a service."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        output = self.folder / f"{service}-{port}.log"
        env = {"PATH": os.environ["PATH"], **self.env.service(service), "RR_HEALTH_PORT": str(port), **more}
        with output.open("ab") as file:
            process = forked.start("tests.support.probe_service", service, env=env, output=file)
        probe = Probe(process, f"http://127.0.0.1:{port}", output)
        self.open.push_async_callback(probe.end)
        if wait:
            await eventually(probe.ready, timeout=30)
        return probe

    async def publish(self, events: Sequence[OutboxEvent]) -> list[Stored]:
        """Straight onto the stream, in windows."""
        found: list[Stored] = []
        for start in range(0, len(events), 250):
            outcomes = await self.bus.publish([outgoing(event) for event in events[start : start + 250]])
            found += [outcome for outcome in outcomes if isinstance(outcome, Stored)]
        assert len(found) == len(events)
        return found

    async def tell(self, events: Sequence[OutboxEvent]) -> None:
        """Into the incident service's outbox, in one transaction."""
        async with self.incident.transaction("tell") as tx:
            await OUTBOX.add(tx, events)

    async def unpublished(self) -> int:
        """Rows of the outbox that no relay has marked."""
        return int(await self.admin.fetchval("SELECT count(*) FROM incident.outbox WHERE published_at IS NULL"))

    async def published(self) -> bool:
        """Whether the outbox is done with."""
        return await self.unpublished() == 0

    async def tallied(self) -> list[tuple[str, int]]:
        """(aggregate, version) as they were applied."""
        rows = await self.admin.fetch("SELECT aggregate_id, version FROM catalog.tally ORDER BY n")
        return [(row["aggregate_id"], row["version"]) for row in rows]

    async def count(self, table: str) -> int:
        """Rows of a table."""
        return int(await self.admin.fetchval(f"SELECT count(*) FROM {table}"))

    async def until(self, table: str, rows: int, timeout: float = 20) -> None:
        """Wait until a table has at least so many rows."""

        async def enough() -> bool:
            return await self.count(table) >= rows

        await eventually(enough, timeout=timeout)

    async def on_stream(self) -> list[tuple[str, int]]:
        """(aggregate, version) of every fact on EVENTS, in its order."""
        found = []
        for seq in range(1, (await self.bus.js.stream_info(EVENTS)).state.last_seq + 1):
            message = await self.bus.js.get_msg(EVENTS, seq, direct=True)
            envelope = Envelope.from_headers(message.headers)
            found.append((envelope.aggregate_id, envelope.aggregate_version))
        return found

    async def lose_stream(self, *, keeping: int) -> None:
        """EVENTS as a server has it that lost all but the first messages: the same stream, as far as anybody knows."""
        config = (await self.bus.js.stream_info(EVENTS)).config
        kept = [await self.bus.js.get_msg(EVENTS, seq, direct=True) for seq in range(1, keeping + 1)]
        await self.bus.js.delete_stream(EVENTS)
        await self.bus.js.add_stream(config)
        for message in kept:
            await self.bus.js.publish(message.subject or "", message.data or b"", headers=message.headers)

    async def settled(self, durable: str = "catalog") -> None:
        """Wait until the durable has nothing left, neither to deliver nor to acknowledge."""
        await eventually(lambda: consumed(self.bus.js, EVENTS, durable), timeout=20)

    async def bounce_nats(self) -> None:
        """Kill the server and start it again; returns when the lab's connection has lost it and is back."""
        self.servers.kill(self.servers.nats)
        await eventually(lambda: not self.bus.nc.is_connected)
        self.servers.restart(self.servers.nats)
        await eventually(lambda: bool(self.bus.nc.is_connected))

    async def readmitted(self) -> None:
        """Open the administrator's connection again after Postgres was restarted; the pools mend themselves."""
        self.admin = await asyncpg.connect(self.env["RR_POSTGRES_URL"])
        self.open.push_async_callback(_leave, self.admin.close)

    async def impatient(self, name: str = "catalog", seconds: float = 1.0) -> None:
        """Make a durable that delivers again after `seconds`, in place of the provisioned one."""
        with suppress(nats.js.errors.NotFoundError):
            await self.bus.js.delete_consumer(EVENTS, name)
        config = {
            "durable_name": name, "name": name, "ack_policy": "explicit", "ack_wait": int(seconds * 1e9),
            "filter_subject": "incident.created", "max_ack_pending": 2000,
        }  # fmt: skip
        request = {"stream_name": EVENTS, "config": config}
        await manage(self.bus.nc, f"CONSUMER.CREATE.{EVENTS}.{name}.incident.created", request)

    async def resize(self, max_bytes: int) -> None:
        """Change how much EVENTS takes."""
        config = (await manage(self.bus.nc, f"STREAM.INFO.{EVENTS}", {}))["config"]
        await manage(self.bus.nc, f"STREAM.UPDATE.{EVENTS}", {**config, "max_bytes": max_bytes})


async def manage(client: Client, verb: str, request: dict[str, Any]) -> dict[str, Any]:
    """One request to JetStream's management."""
    reply = await client.request(f"$JS.API.{verb}", orjson.dumps(request), timeout=5)
    answer: dict[str, Any] = orjson.loads(reply.data)
    assert "error" not in answer, answer
    return answer


@asynccontextmanager
async def laboratory(env: StackEnv, servers: Servers, folder: Path) -> AsyncIterator[Lab]:
    """A lab; whatever a test opens in it is closed after it."""
    async with AsyncExitStack() as stack:
        admin = await asyncpg.connect(env["RR_POSTGRES_URL"])
        stack.push_async_callback(_leave, admin.close)
        await prepare(admin)
        bus = Bus(env["RR_NATS_URL"], name="lab")
        await bus.connect()
        stack.push_async_callback(_hang_up, bus, servers)
        databases = {}
        for service in ("incident", "catalog"):
            url = env.service(service)["RR_POSTGRES_URL"]
            databases[service] = Database(url, schema=service, instance=f"{service}-lab", pool_size=6)
            await databases[service].open()
            stack.push_async_callback(databases[service].close)
        yield Lab(env, servers, folder, bus, admin, databases["incident"], databases["catalog"], stack)


async def _hang_up(bus: Bus, servers: Servers) -> None:
    """Close a connection that is up or closed: ended in the middle of reconnecting, the client leaks its socket."""
    if not _steady(bus):
        if servers.nats.process is None or servers.nats.process.poll() is not None:
            servers.restart(servers.nats)
        await eventually(lambda: _steady(bus), timeout=30)
    await bus.close()


def _steady(bus: Bus) -> bool:
    return bool(bus.nc.is_closed or bus.nc.is_connected)


async def _leave(close: Callable[[], Awaitable[None]]) -> None:
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
        await close()
