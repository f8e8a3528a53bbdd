"""The demo target keeps its word: keys, fences, gate, ledger, and all of it after kill -9."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[DemoTarget]:
    async with DemoTarget(tmp_path) as running:
        yield running


def keyed(key: str, fence: int) -> dict[str, str]:
    return {"Idempotency_Key": key, "Rr_Fence": str(fence)}


async def test_the_same_key_gets_the_same_answer_and_one_effect(target: DemoTarget) -> None:
    first = await target.post("/reroute", {"to": "standby"}, **keyed("k1", 7))
    again = await target.post("/reroute", {"to": "standby"}, **keyed("k1", 8))

    assert first.status_code == again.status_code == 200
    assert first.json() == again.json() == {"active": "standby", "previous": "primary", "changed": True}
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"
    ledger = await target.get("/ledger")
    assert ledger["totals"] == {
        "calls": {"/reroute": 2}, "effects": {"/reroute": 1}, "replays": {"/reroute": 1}, "refused": {},
    }  # fmt: skip
    assert ledger["effects"][0]["key"] == "k1"
    assert ledger["effects"][0]["fence"] == 7
    assert ledger["effects"][0]["start"] < ledger["effects"][0]["end"]


async def test_one_key_cannot_carry_two_requests(target: DemoTarget) -> None:
    await target.post("/reroute", {"to": "standby"}, **keyed("k1", 1))

    other = await target.post("/reroute", {"to": "primary"}, **keyed("k1", 1))

    assert other.status_code == 422
    assert (await target.get("/status"))["active"] == "standby"


async def test_an_older_fence_is_refused(target: DemoTarget) -> None:
    await target.post("/reroute", {"to": "standby"}, **keyed("new", 9))

    late = await target.post("/reroute", {"to": "primary"}, **keyed("old", 8))

    assert late.status_code == 409
    totals = (await target.get("/ledger"))["totals"]
    assert totals["effects"] == {"/reroute": 1}
    assert totals["refused"] == {"/reroute": 1}


@pytest.mark.parametrize(
    "headers", [{}, {"Idempotency_Key": "k"}, {"Rr_Fence": "1"}, {"Idempotency_Key": "k", "Rr_Fence": "x"}]
)
async def test_a_reroute_without_key_or_fence_is_refused(target: DemoTarget, headers: dict[str, str]) -> None:
    refused = await target.post("/reroute", {}, **headers)

    assert refused.status_code == 400
    assert (await target.get("/ledger"))["totals"]["effects"] == {}


async def test_a_restart_takes_effect_every_time_whatever_its_key(target: DemoTarget) -> None:
    for _ in range(2):
        assert (await target.post("/restart", **keyed("same", 1))).status_code == 200

    assert (await target.get("/ledger"))["totals"]["effects"] == {"/restart": 2}


async def test_the_ledger_the_answers_and_the_fences_survive_a_kill(target: DemoTarget) -> None:
    await target.post("/latency", {"shard": "primary", "ms": 900})
    await target.post("/tags", {"tags": {"allow-remediation": "false"}})
    first = await target.post("/reroute", {"to": "standby"}, **keyed("k1", 5))
    before = await target.get("/ledger")

    await target.kill()
    await target.start()

    assert await target.get("/ledger") == before
    assert (await target.get("/status"))["shards"] == {"primary": 900, "standby": 20}
    assert await target.get("/tags") == {"allow-remediation": "false"}
    again = await target.post("/reroute", {"to": "standby"}, **keyed("k1", 5))
    assert (again.json(), again.headers["idempotent-replay"]) == (first.json(), "true")
    assert (await target.post("/reroute", {}, **keyed("k0", 4))).status_code == 409


async def test_a_line_torn_by_a_crash_is_cut_off(target: DemoTarget, tmp_path: Path) -> None:
    await target.post("/restart")
    await target.kill()
    with (tmp_path / "target.jsonl").open("ab") as file:
        file.write(b'{"kind":"effect","call":')

    await target.start()
    await target.post("/restart")

    assert (await target.get("/ledger"))["totals"]["effects"] == {"/restart": 2}


async def held(target: DemoTarget, count: int) -> None:
    async def enough() -> bool:
        return bool((await target.get("/gate"))["held"] == count)

    await eventually(enough)


async def test_the_gate_holds_a_call_before_its_effect(target: DemoTarget) -> None:
    await target.post("/gate", {"mode": "hold_before_effect"})
    call = asyncio.ensure_future(target.post("/restart"))
    await held(target, 1)

    assert (await target.get("/ledger"))["totals"]["calls"] == {"/restart": 1}
    assert (await target.get("/ledger"))["totals"]["effects"] == {}
    assert not call.done()

    await target.post("/gate", {"mode": "open"})
    assert (await call).status_code == 200
    assert (await target.get("/ledger"))["totals"]["effects"] == {"/restart": 1}


async def test_the_gate_holds_a_call_between_its_effect_and_its_answer(target: DemoTarget) -> None:
    await target.post("/gate", {"mode": "hold_after_effect"})
    call = asyncio.ensure_future(target.post("/reroute", {"to": "standby"}, **keyed("k", 1)))
    await held(target, 1)

    assert (await target.get("/ledger"))["totals"]["effects"] == {"/reroute": 1}
    assert not call.done()

    await target.post("/gate", {"mode": "open"})
    assert (await call).status_code == 200


async def test_a_held_call_goes_on_although_its_caller_is_gone(target: DemoTarget) -> None:
    await target.post("/gate", {"mode": "hold_before_effect", "count": 1})
    call = asyncio.ensure_future(target.post("/restart"))
    await held(target, 1)
    call.cancel()

    await target.post("/gate", {"mode": "open"})

    async def done() -> bool:
        return bool((await target.get("/ledger"))["totals"]["effects"] == {"/restart": 1})

    await eventually(done)


async def test_a_held_call_with_an_older_fence_is_refused_when_it_was_overtaken(target: DemoTarget) -> None:
    await target.post("/gate", {"mode": "hold_before_effect", "count": 1})
    old = asyncio.ensure_future(target.post("/reroute", {"to": "standby"}, **keyed("k", 1)))
    await held(target, 1)

    new = await target.post("/reroute", {"to": "standby"}, **keyed("k", 2))
    await target.post("/gate", {"mode": "open"})

    assert new.status_code == 200
    assert (await old).status_code == 409
    assert (await target.get("/ledger"))["totals"]["effects"] == {"/reroute": 1}


async def test_calls_with_one_key_at_once_take_effect_once(target: DemoTarget) -> None:
    answers = await asyncio.gather(*(target.post("/reroute", {"to": "standby"}, **keyed("k", 3)) for _ in range(20)))

    assert {answer.status_code for answer in answers} == {200}
    assert sum("idempotent-replay" not in answer.headers for answer in answers) == 1
    assert (await target.get("/ledger"))["totals"]["effects"] == {"/reroute": 1}


async def test_effects_on_one_resource_never_overlap(target: DemoTarget) -> None:
    await asyncio.gather(*(target.post("/restart") for _ in range(10)))

    effects: list[dict[str, Any]] = (await target.get("/ledger"))["effects"]
    assert len(effects) == 10
    assert all(before["end"] <= after["start"] for before, after in itertools.pairwise(effects))


async def test_metrics_show_latency_and_the_active_shard(target: DemoTarget) -> None:
    await target.post("/latency", {"shard": "primary", "ms": 700})
    await target.post("/ingest")
    assert target._client is not None

    text = (await target._client.get("/metrics")).text

    assert 'ingest_storage_latency_milliseconds{shard="primary"} 700.0' in text
    assert 'ingest_active_shard{shard="primary"} 1.0' in text
    assert 'ingest_storage_latency_seconds_bucket{le="1.0",shard="primary"}' in text


@pytest.mark.parametrize(
    ("path", "body"),
    [("/latency", {"shard": "third", "ms": 1}), ("/latency", {"shard": "primary", "ms": -1}),
     ("/gate", {"mode": "ajar"}), ("/reroute", {"to": "nowhere"}), ("/restart", {"surprise": 1})],
)  # fmt: skip
async def test_nonsense_is_refused_without_a_trace(target: DemoTarget, path: str, body: dict[str, Any]) -> None:
    assert (await target.post(path, body)).status_code == 422
    assert (await target.get("/ledger"))["calls"] == []
