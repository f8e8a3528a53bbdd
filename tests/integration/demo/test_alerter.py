"""The alerter speaks as Alertmanager does: firing while the active shard is slow, resolved when it is not."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually
from tests.support.listening import listening


class Receiver:
    """A webhook endpoint that answers what it is told to and keeps what it was sent."""

    def __init__(self) -> None:
        self.status = 200
        self.bodies: list[dict[str, Any]] = []
        self.authorizations: list[str] = []
        self.url = ""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        headers = dict(line.lower().split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        if self.status == 200:
            self.bodies.append(json.loads(body))
            self.authorizations.append(headers["authorization"])
        writer.write(f"HTTP/1.1 {self.status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()

    def with_status(self, status: str) -> list[dict[str, Any]]:
        return [body for body in self.bodies if body["status"] == status]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    async with listening(receiver.handle) as port:
        receiver.url = f"http://127.0.0.1:{port}/webhooks/alertmanager"
        yield receiver


@pytest.fixture
async def target(tmp_path: Path, receiver: Receiver) -> AsyncIterator[DemoTarget]:
    options = ("--alert-url", receiver.url, "--alert-token", "let-me-in", "--interval", "0.02")
    async with DemoTarget(tmp_path, *options) as running:
        yield running


async def test_a_slow_active_shard_fires_in_alertmanagers_format(target: DemoTarget, receiver: Receiver) -> None:
    await target.post("/latency", {"shard": "primary", "ms": 900})

    body = (await eventually(lambda: receiver.with_status("firing")))[0]

    assert body["version"] == "4"
    assert body["groupKey"] == '{}:{alertname="storage_latency_high"}'
    assert body["groupLabels"] == {"alertname": "storage_latency_high"}
    assert body["externalURL"] == target.url
    assert body.keys() >= {"receiver", "truncatedAlerts", "commonLabels", "commonAnnotations"}
    (alert,) = body["alerts"]
    assert alert["labels"] == body["commonLabels"] == {
        "alertname": "storage_latency_high", "severity": "high", "shard": "primary", "standby": "standby",
        "target": target.url,
    }  # fmt: skip
    assert alert["annotations"]["summary"]
    assert alert["status"] == "firing"
    assert datetime.fromisoformat(alert["startsAt"]).tzinfo is not None
    assert alert["endsAt"] == "0001-01-01T00:00:00Z"
    assert len(alert["fingerprint"]) == 16
    assert receiver.authorizations == ["bearer let-me-in"]


async def test_a_reroute_to_the_healthy_shard_resolves_the_same_alert(target: DemoTarget, receiver: Receiver) -> None:
    await target.post("/latency", {"shard": "primary", "ms": 900})
    firing = (await eventually(lambda: receiver.with_status("firing")))[0]["alerts"][0]

    await target.post("/reroute", {"to": "standby"}, Idempotency_Key="k", Rr_Fence="1")

    (resolved,) = (await eventually(lambda: receiver.with_status("resolved")))[0]["alerts"]
    assert resolved["status"] == "resolved"
    assert resolved["fingerprint"] == firing["fingerprint"]
    assert resolved["startsAt"] == firing["startsAt"]
    assert resolved["endsAt"] > firing["startsAt"]


async def test_a_slow_standby_is_nobodys_concern(target: DemoTarget, receiver: Receiver) -> None:
    await target.post("/latency", {"shard": "standby", "ms": 900})
    await target.post("/latency", {"shard": "primary", "ms": 900})

    body = (await eventually(lambda: receiver.with_status("firing")))[0]

    assert [alert["labels"]["shard"] for alert in body["alerts"]] == ["primary"]


async def test_a_reroute_to_a_slow_shard_ends_one_alert_and_fires_another(
    target: DemoTarget, receiver: Receiver
) -> None:
    await target.post("/latency", {"shard": "standby", "ms": 900})
    await target.post("/latency", {"shard": "primary", "ms": 900})
    await eventually(lambda: receiver.with_status("firing"))

    await target.post("/reroute", {"to": "standby"}, Idempotency_Key="k", Rr_Fence="1")

    def moved() -> bool:
        alerts = [(alert["labels"]["shard"], alert["status"]) for body in receiver.bodies for alert in body["alerts"]]
        return ("primary", "resolved") in alerts and ("standby", "firing") in alerts

    await eventually(moved)


async def test_notices_are_repeated_until_they_are_heard_even_after_a_kill(
    target: DemoTarget, receiver: Receiver
) -> None:
    await target.post("/latency", {"shard": "primary", "ms": 900})
    starts = (await eventually(lambda: receiver.with_status("firing")))[0]["alerts"][0]["startsAt"]
    receiver.status = 503
    await target.post("/latency", {"shard": "primary", "ms": 10})
    journal = target._directory / "target.jsonl"
    await eventually(lambda: '"ended"' in journal.read_text())

    await target.kill()
    receiver.status = 200
    await target.start()

    (resolved,) = (await eventually(lambda: receiver.with_status("resolved")))[0]["alerts"]
    assert resolved["startsAt"] == starts
    await eventually(lambda: '"told"' in journal.read_text())
