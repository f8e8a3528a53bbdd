"""The log through the gateway: what is asked for is found, the live stream tells the same, provenance is the head."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from libs.common.bus import Bus, Outgoing
from libs.common.contracts.envelope import Envelope
from libs.common.ids import new_id
from tests.integration.gateway.conftest import EVERYWHERE, TWO_TENANTS, bearer
from tests.integration.gateway.fakes import FakeServices
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.stream import following, publish
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

INCIDENT: Final = "0192f0c1-0000-7000-8000-00000000000a"
OTHER: Final = "0192f0c1-0000-7000-8000-00000000000b"


@pytest.fixture(autouse=True)
async def log_keeper(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[None]:
    process = await GatewayProcess.start(stack_env.service("timeline"), tmp_path, "services.timeline")
    try:
        await process.until_ready()
        yield
    finally:
        await process.end()


def fact(kind: str, incident: str, number: int, *, payload: bytes = b"{}", **more: Any) -> Outgoing:
    told: dict[str, Any] = {"tenant": "default", "actor": "olga", **more}
    envelope = Envelope(
        id=new_id(),
        type=kind,
        source="/svc/incident",
        time="2026-03-01T10:00:00.000000Z",
        aggregate_type="incident",
        aggregate_id=incident,
        aggregate_version=number,
        correlation=incident,
        incident_id=incident,
        **told,
    )
    return Outgoing(kind, payload, envelope.to_headers())


async def told(bus: Bus, http: httpx.AsyncClient) -> list[int]:
    """A few facts of two incidents and two tenants, once they are in the log."""
    seqs = await publish(
        bus,
        fact("incident.created", INCIDENT, 1, payload=b'{"title":"Storage is slow"}'),
        fact("incident.created", OTHER, 1, actor="ada"),
        fact("runbook.started", INCIDENT, 2, execution_id="e-1", runbook_id="r-1"),
        fact("incident.status_changed", INCIDENT, 3, tenant="acme"),
        fact("runbook.step_completed", INCIDENT, 4, payload=b'{"outputs":{"message":"restarted 3 pods"}}'),
        fact("incident.status_changed", OTHER, 2),
    )

    async def chained() -> bool:
        return len((await http.get("/timeline")).json()["entries"]) == 5

    await eventually(chained, timeout=30)
    return seqs


async def listed(http: httpx.AsyncClient, **asked: Any) -> list[int]:
    answer = await http.get("/timeline", params=asked)
    assert answer.status_code == 200, answer.text
    return [entry["seq"] for entry in answer.json()["entries"]]


async def test_events_are_found_by_what_they_are_about(http: httpx.AsyncClient, bus: Bus) -> None:
    seqs = await told(bus, http)

    assert await listed(http) == [*seqs[:3], *seqs[4:]]
    assert await listed(http, incident_id=INCIDENT, type="runbook.*") == [seqs[2], seqs[4]]
    assert await listed(http, runbook_id="r-1", execution_id="e-1") == [seqs[2]]
    assert await listed(http, actor="ada") == [seqs[1]]
    assert await listed(http, text="RESTARTED pod*") == [seqs[4]]
    assert await listed(http, since="2026-01-01T00:00:00Z", until="2026-01-02T00:00:00+01:00") == []
    assert await listed(http, order="newest", limit=2) == [seqs[5], seqs[4]]
    last = (await http.get("/timeline", params={"order": "newest", "limit": 2})).json()["next"]
    assert await listed(http, order="newest", after=last) == [seqs[2], seqs[1], seqs[0]]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"type": "Runbook.*"}, "query.type"),
        ({"type": "run*book"}, "query.type"),
        ({"since": "yesterday"}, "such as 2026-03-01T10:00:00Z"),
        ({"since": "1795000000"}, "such as 2026-03-01T10:00:00Z"),
        ({"since": "0001-01-01T00:00:00+23:59"}, "query.since"),
        ({"until": "2026-02-30T00:00:00Z"}, "query.until"),
        ({"since": "2026-03-02T00:00:00Z", "until": "2026-03-01T00:00:00Z"}, "`since` must be before `until`"),
        ({"text": "?!"}, "no word"),
        ({"text": " ".join("abcdefghijklmnopqr")}, "18 words"),
        ({"order": "random"}, "query.order"),
        ({"execution_id": "a", "runbook_execution_id": "b"}, "two executions"),
        ({"incident": INCIDENT}, "query.incident"),
    ],
)
async def test_what_cannot_be_asked_is_refused_with_the_reason(
    http: httpx.AsyncClient, asked: dict[str, str], said: str
) -> None:
    answer = await http.get("/timeline", params=asked)

    assert answer.status_code == 422
    assert said in answer.json()["detail"]


async def test_the_live_stream_tells_after_each_id_what_the_log_has_after_it(http: httpx.AsyncClient, bus: Bus) -> None:
    seqs = await told(bus, http)
    everyone = bearer(EVERYWHERE) | {"Rr-Tenant": "default"}

    for asked in ({}, {"incident_id": INCIDENT}, {"type": "incident.*"}, {"type": "runbook.started"},
                  {"type": "incident.*", "incident_id": OTHER}):  # fmt: skip
        in_the_log = await listed(http, **asked)
        for position in (seqs[0] - 1, *seqs):
            async with following(http, f"1-{position}", asked, **everyone) as client:
                await client.until(name="live")
            assert client.seqs == [seq for seq in in_the_log if seq > position], (asked, position)
            assert client.last_id == f"1-{seqs[-1]}"


async def test_provenance_is_the_head_of_the_chain_for_whoever_sees_something_of_it(
    http: httpx.AsyncClient, bus: Bus, services: FakeServices
) -> None:
    await services.answer("incident.get", {"incident_id": INCIDENT})
    seqs = await told(bus, http)
    leaf = (await http.get("/timeline", params={"incident_id": INCIDENT, "order": "newest"})).json()["entries"][0]
    acme = bearer(TWO_TENANTS) | {"Rr-Tenant": "acme"}
    nobody = bearer(TWO_TENANTS) | {"Rr-Tenant": "globex"}

    mine, theirs = await asyncio.gather(*(http.get(f"/incidents/{INCIDENT}", headers=h) for h in ({}, acme)))
    stranger = await http.get(f"/incidents/{INCIDENT}", headers=nobody)

    assert mine.json()["provenance_hash"] == leaf["event_hash"]
    assert mine.json()["provenance"] == {"n": 4, "index": leaf["index"]}
    assert leaf["seq"] == seqs[4]
    assert theirs.json()["provenance"] == mine.json()["provenance"]
    assert stranger.json().get("provenance_hash") is None
