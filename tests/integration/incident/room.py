"""The incident service as others meet it: processes, posts on INGRESS, facts on EVENTS, questions over the bus."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats.errors
import nats.js.errors
import orjson

from libs.common.bus import Bus, Outgoing, Stored
from libs.common.contracts.alert import SUBJECT_EVENT
from libs.common.contracts.choreography import BY_SUBJECT, EVENTS, INGRESS
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionFact
from libs.common.database import SEES_ALL
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from tests.support import forked
from tests.support.consumed import consumed
from tests.support.eventually import eventually

START = datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)
OPERATOR = Principal("pat", frozenset({"default"}), frozenset({"operator"}))
ADMIN = Principal("ada", frozenset({"default"}), frozenset({"admin"}))
VIEWER = Principal("vic", frozenset({"default"}), frozenset({"viewer"}))


@dataclass
class Instance:
    """A running `python -m services.incident`."""

    process: forked.Process
    health: str
    output: Path

    @classmethod
    def start(cls, env: Mapping[str, str], folder: Path) -> "Instance":
        """Start one, whose log goes into `folder`."""
        port = _free_port()
        output = folder / f"{env['RR_INSTANCE']}.log"
        with output.open("ab") as file:
            own = {"PATH": os.environ["PATH"], **env, "RR_HEALTH_PORT": str(port)}
            process = forked.start("services.incident", env=own, output=file)
        return cls(process, f"http://127.0.0.1:{port}", output)

    async def ready(self) -> bool:
        """Whether it says that it is."""
        assert self.process.returncode is None, self.output.read_text()
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.health}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def metric(self, line: str) -> float:
        """The value of a line of `/metrics`; 0 where it is not there yet."""
        async with httpx.AsyncClient() as client:
            lines = (await client.get(f"{self.health}/metrics")).text.splitlines()
        return next((float(text.rpartition(" ")[2]) for text in lines if text.startswith(f"{line} ")), 0.0)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@dataclass
class Room:
    """What a test does to the incident service, and what it sees of it."""

    env: Mapping[str, str]
    folder: Path
    bus: Bus
    instances: list[Instance] = field(default_factory=list)

    async def start(self, name: str, **more: str) -> Instance:
        """One more instance, ready."""
        instance = await self.launch(name, **more)
        await eventually(instance.ready, timeout=30)
        return instance

    async def launch(self, name: str, **more: str) -> Instance:
        """One more instance, not waited for."""
        instance = Instance.start({**self.env, "RR_INSTANCE": name, **more}, self.folder)
        self.instances.append(instance)
        return instance

    def connected(self) -> bool:
        """Whether this test's own connection to the bus stands."""
        return self.bus.nc.is_connected

    async def impatient(self) -> None:
        """Have what a dead instance held delivered again after one second instead of thirty."""
        for stream in (INGRESS, EVENTS):
            config = (await self.bus.js.consumer_info(stream, "incident")).config
            await self.bus.js.add_consumer(stream, replace(config, ack_wait=1.0))

    async def stop(self) -> None:
        """kill -9 all that still run; that they stop in order is examined elsewhere."""
        for instance in self.instances:
            await instance.end(signal.SIGKILL)

    async def post(self, *bodies: bytes, subject: str = SUBJECT_EVENT, tenant: str = "", trace: str = "") -> list[int]:
        """Post bodies as the gateway does; returns their places in the stream."""
        more = {"Rr-Tenant": tenant} if tenant else {}
        more |= {"traceparent": trace} if trace else {}
        outcomes = await self.bus.publish(
            [Outgoing(subject, body, {"Nats-Msg-Id": new_id(), **more}) for body in bodies]
        )
        assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes
        return [outcome.seq for outcome in outcomes if isinstance(outcome, Stored)]

    async def execution(self, fact: ExecutionFact, version: int, *, tenant: str = "default") -> None:
        """Publish a fact as the executor does."""
        cause = Cause(
            tenant=tenant, actor="svc_executor", correlation=fact.execution_id, execution_id=fact.execution_id
        )
        event = Outbox("executor", "executor").event(
            fact, aggregate_id=fact.execution_id, aggregate_version=version, cause=cause, now=datetime.now(UTC)
        )
        await self.bus.publish([Outgoing(fact.subject, event.payload, event.envelope.to_headers())])

    async def ask(
        self, verb: str, *, who: Principal = OPERATOR, tenant: str = "default", key: str = "", **body: Any
    ) -> dict[str, Any]:
        """The service's answer.

        Raises:
            RangerError: what it refused with.
        """
        client = RpcClient(self.bus, timeout=5.0)
        return await client.ask("incident", verb, body, principal=who, tenant=tenant, request_key=key)

    async def facts(self) -> list[tuple[Envelope, Any]]:
        """The incident service's facts, in the order of the stream."""
        found: list[tuple[Envelope, Any]] = []
        for seq in range(1, (await self.bus.js.stream_info(EVENTS)).state.last_seq + 1):
            try:
                message = await self.bus.js.get_msg(EVENTS, seq)
            except nats.js.errors.NotFoundError:
                continue
            if message.subject is not None and message.subject.startswith("incident."):
                row = BY_SUBJECT[message.subject]
                found.append((Envelope.from_headers(message.headers), row.fact.decode(message.data or b"")))
        return found

    async def subjects(self) -> list[str]:
        """What was told, in order."""
        return [envelope.type for envelope, _ in await self.facts()]

    async def told(self, *subjects: str) -> list[tuple[Envelope, Any]]:
        """The facts, once they are exactly these, in this order."""

        async def same() -> bool:
            return await self.subjects() == list(subjects)

        try:
            await eventually(same, timeout=20)
        except AssertionError:
            assert await self.subjects() == list(subjects)
        return await self.facts()

    async def settled(self) -> None:
        """Wait until everything posted and told is consumed, and every fact is on the stream."""

        async def quiet() -> bool:
            for stream in (INGRESS, EVENTS):
                try:
                    done = await consumed(self.bus.js, stream, "incident")
                except nats.errors.TimeoutError:
                    return False  # a server that has just been started again
                if not done:
                    return False
            return await self.rows("SELECT 1 FROM outbox WHERE published_at IS NULL LIMIT 1") == []

        await eventually(quiet, timeout=30)

    async def rows(self, query: str) -> Sequence[dict[str, Any]]:
        """Rows of the service's schema, over a connection of their own: the server may have gone in between."""
        connection = await asyncpg.connect(self.env["RR_POSTGRES_URL"], server_settings=SEES_ALL)
        try:
            return [dict(row) for row in await connection.fetch(query)]
        finally:
            await connection.close()


def event(number: int = 0, *, start: datetime = START, turn: int = 0, **more: Any) -> bytes:
    """An alert in our own form, with an id of its own and its keys turned by `turn` places."""
    body = {
        "id": f"post-{number}",
        "name": "storage_latency_high",
        "severity": "high",
        "labels": {"service": "evidence", "zone": "a"},
        "starts_at": start.isoformat(),
        "status": "firing",
        **more,
    }
    items = list(body.items())
    turned = items[turn % len(items) :] + items[: turn % len(items)]
    return orjson.dumps(
        {key: dict(reversed(value.items())) if turn % 2 and key == "labels" else value for key, value in turned}
    )


def webhook(*alerts: dict[str, Any], receiver: str = "am-0") -> bytes:
    """Alertmanager's webhook, version 4."""
    return orjson.dumps({"version": "4", "receiver": receiver, "groupKey": receiver, "alerts": list(alerts)})


def prometheus(status: str = "firing", *, hours: int = 0, **labels: str) -> dict[str, Any]:
    """One alert of a webhook."""
    start = START + timedelta(hours=hours)
    end = (start + timedelta(minutes=30)).isoformat() if status == "resolved" else "0001-01-01T00:00:00Z"
    return {
        "status": status,
        "labels": {"alertname": "StorageLatencyHigh", "severity": "page", **labels},
        "annotations": {"summary": "Storage is slow"},
        "startsAt": start.isoformat(),
        "endsAt": end,
        "fingerprint": f"fp{labels.get('shard', '')}",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number
