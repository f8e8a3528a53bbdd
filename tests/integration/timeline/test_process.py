"""The service as it is started: its own process, its own role, its verbs."""

import base64
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from nats.aio.client import Client

from libs.common.bus import Bus, Outgoing
from libs.common.contracts.choreography import ADMIN, EVENTS
from libs.common.contracts.envelope import Envelope
from libs.common.errors import Denied, InvalidInput
from libs.common.ids import new_id
from libs.common.policy import RESTRICTED, Principal
from libs.common.rpc import RpcClient
from libs.tlog.chain import Head
from libs.tlog.verify import StoredEntry, StoredState, verify
from runbook_ranger.stack.ports import Ports
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

VIEWER = Principal("usr_view", frozenset({"t_a1"}), frozenset({"viewer"}))
AUDITOR = Principal("usr_audit", frozenset({"*"}), frozenset({"admin"}), clearance=RESTRICTED)
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Process:
    """A running timeline and somebody who asks it."""

    def __init__(self, bus: Bus, health: str, trace_file: Path, process: forked.Process) -> None:
        self.bus = bus
        self.health = health
        self.trace_file = trace_file
        self.process = process
        self._client = RpcClient(bus, timeout=5)

    async def ask(self, verb: str, body: dict[str, Any], principal: Principal = VIEWER, tenant: str = "t_a1") -> Any:
        return await self._client.ask("timeline", verb, body, principal=principal, tenant=tenant)

    async def publish(self, incident: str, *payloads: bytes, tenant: str = "t_a1") -> None:
        await self.bus.publish(
            [
                Outgoing("incident.created", payload, _fact(incident, number, tenant).to_headers())
                for number, payload in enumerate(payloads, 1)
            ]
        )

    async def entries(self, incident: str, count: int) -> list[Any]:
        async def enough() -> list[Any]:
            found: list[Any] = []
            after: int | None = -1
            while after is not None:
                page = await self.ask("list", {"incident_id": incident, "after": after})
                found, after = [*found, *page["entries"]], page["next"]
            return found if len(found) >= count else []

        return await eventually(enough, timeout=20)


def _fact(incident: str, number: int, tenant: str) -> Envelope:
    return Envelope(
        id=new_id(),
        type="incident.created",
        source="/svc/incident",
        time="2026-03-01T09:59:50.000000Z",
        aggregate_type="incident",
        aggregate_id=incident,
        aggregate_version=number,
        tenant=tenant,
        actor="usr_7f3a",
        correlation="c-1",
        incident_id=incident,
        traceparent=f"00-{TRACE}-b7ad6b7169203331-01",
    )


@asynccontextmanager
async def running(stack: StackEnv, folder: Path) -> AsyncIterator[Process]:
    port, traces = Ports.load(folder / "ports.json").claim("timeline"), folder / "traces.jsonl"
    environment = os.environ | stack.service("timeline", RR_HEALTH_PORT=str(port), RR_TRACE_FILE=str(traces))
    process = forked.start("services.timeline", env=environment)
    bus = Bus(stack["RR_NATS_URL"], name="asker", identity=ADMIN)
    await bus.connect()
    try:
        started = Process(bus, f"http://127.0.0.1:{port}", traces, process)
        await eventually(lambda: _ready(started.health), timeout=30)
        yield started
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await bus.close()


@pytest.fixture
async def timeline(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Process]:
    async with running(stack_env, tmp_path) as process:
        yield process


async def _ready(url: str) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return (await client.get(f"{url}/readyz")).status_code == 200
        except httpx.TransportError:
            return False


async def test_an_incidents_entries_are_listed_in_order_page_by_page(timeline: Process) -> None:
    incident = new_id()
    await timeline.publish(incident, b'{"n":1}', b'{"n":2.50}', b"not JSON")

    entries = await timeline.entries(incident, 3)

    assert [entry["payload"] for entry in entries] == [{"n": 1}, {"n": 2.5}, None]
    assert [entry["payload_length"] for entry in entries] == [7, 10, 8]
    assert {entry["type"] for entry in entries} == {"incident.created"}
    page = await timeline.ask("list", {"incident_id": incident, "limit": 2})
    rest = await timeline.ask("list", {"incident_id": incident, "after": page["next"]})
    assert [entry["index"] for entry in (*page["entries"], *rest["entries"])] == [entry["index"] for entry in entries]


async def test_another_tenant_sees_nothing_of_it(timeline: Process) -> None:
    incident = new_id()
    await timeline.publish(incident, b"{}")
    await timeline.entries(incident, 1)
    other = Principal("usr_other", frozenset({"t_b2"}), frozenset({"viewer"}))

    assert (await timeline.ask("list", {"incident_id": incident}, other, "t_b2"))["entries"] == []
    with pytest.raises(Denied):
        await timeline.ask("list", {"incident_id": incident}, other, "t_a1")
    with pytest.raises(Denied):
        await timeline.ask("leaves", {}, VIEWER)
    with pytest.raises(InvalidInput):
        await timeline.ask("list", {"text": "?!"})


async def test_the_exported_log_verifies_from_its_pages_alone(timeline: Process) -> None:
    incident, long = new_id(), b'{"text":"' + b"x" * 600_000 + b'"}'
    await timeline.publish(incident, b'{"n":1}', long, *(b'{"n":3}' for _ in range(40)))
    await timeline.entries(incident, 42)

    told = (await timeline.ask("state", {}, AUDITOR))["log"]
    entries = [entry async for entry in _exported(timeline, told["size"])]
    heads = (await timeline.ask("heads", {}, AUDITOR))["heads"]

    state = StoredState(
        told["origin"], told["size"], bytes.fromhex(told["root"]), told["stream"], told["epoch"], told["seq"]
    )
    known = {(head["kind"], head["id"]): Head(head["n"], bytes.fromhex(head["event_hash"])) for head in heads}
    assert verify(entries, state, known).size == told["size"]


async def _exported(timeline: Process, size: int) -> AsyncIterator[StoredEntry]:
    first = 0
    while first < size:
        page = await timeline.ask("leaves", {"first": first}, AUDITOR)
        for row in page["leaves"]:
            payload = row["payload"] and base64.b64decode(row["payload"])
            if payload is None and row["payload_length"] is not None:
                payload = await _sliced(timeline, row["index"], row["payload_length"])
            salt = row["salt"] and base64.b64decode(row["salt"])
            leaf = base64.b64decode(row["leaf"])
            yield StoredEntry(row["index"], leaf, bytes.fromhex(row["event_hash"]), payload, salt)
        first = page["next"]


async def _sliced(timeline: Process, index: int, length: int) -> bytes:
    found = b""
    while len(found) < length:
        answer = await timeline.ask("payload", {"index": index, "offset": len(found)}, AUDITOR)
        found += base64.b64decode(answer["part"])
    return found


async def test_one_trace_runs_on_into_the_log(timeline: Process) -> None:
    await timeline.publish(new_id(), b"{}")

    spans = await eventually(lambda: list(_spans(timeline.trace_file, "timeline chains incident.created")), timeout=20)

    assert spans[0]["context"]["trace_id"] == f"0x{TRACE}"
    assert spans[0]["parent_id"] == "0xb7ad6b7169203331"


def _spans(path: Path, name: str) -> Iterator[Any]:
    for line in path.read_bytes().splitlines() if path.exists() else []:
        span = orjson.loads(line)
        if span["name"] == name:
            yield span


async def test_metrics_say_how_far_the_log_has_come(timeline: Process) -> None:
    incident = new_id()
    await timeline.publish(incident, b"{}")
    await timeline.entries(incident, 1)

    async with httpx.AsyncClient() as client:
        text = (await client.get(f"{timeline.health}/metrics")).text

    assert "ranger_timeline_writer 1.0" in text
    assert 'ranger_timeline_appended_total{kind="event"}' in text
    assert "ranger_timeline_frozen 0.0" in text


async def test_a_process_that_is_killed_leaves_a_log_that_the_next_one_continues(
    timeline: Process, stack_env: StackEnv, client: Client, tmp_path: Path
) -> None:
    incident = new_id()
    await timeline.publish(incident, *(b"{}" for _ in range(100)))
    timeline.process.kill()
    await timeline.process.wait()

    async with running(stack_env, tmp_path) as successor:
        entries = await successor.entries(incident, 100)
        successor.process.terminate()
        assert await successor.process.wait() == 0

    assert len({entry["event_id"] for entry in entries}) == 100
    info = await client.jetstream().stream_info(EVENTS)
    assert entries[-1]["seq"] == info.state.last_seq
