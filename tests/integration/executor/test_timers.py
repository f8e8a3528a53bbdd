"""Timers: each fires once, never early; cancelled ones never."""

import asyncio
from typing import Any

import pytest

from services.executor.commands import AbortExecution
from tests.integration.executor.bench import Bench, runbook, step

pytestmark = pytest.mark.stack
RETRY: dict[str, Any] = {"retry": {"attempts": 2, "backoff": "constant", "delay": "150ms"}}


async def test_with_two_executors_each_fires_once_and_never_early(bench: Bench) -> None:
    executions = [await bench.execution(runbook(step(resource=f"shard-{n}", **RETRY))) for n in range(20)]
    for execution in executions:
        await bench.settle(await bench.running(execution), "fail", error_code="status_503", retryable=True)

    async def fire_all() -> None:
        timers = bench.timers()
        while len(await bench.ready()) < len(executions):
            await timers.fire_due()

    await asyncio.wait_for(asyncio.gather(fire_all(), fire_all()), 20)

    rows = await bench.database.pool.fetch("SELECT state, due_at, fired_at FROM timer WHERE kind = 'retry'")
    assert [row["state"] for row in rows] == ["fired"] * len(executions)
    assert all(row["fired_at"] >= row["due_at"] for row in rows)
    for execution in executions:
        assert [row["attempt"] for row in await bench.attempts(execution)] == [1, 2]


async def test_the_timers_of_an_execution_that_ended_never_fire(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))
    await bench.database.pool.execute("UPDATE timer SET due_at = clock_timestamp() - interval '1 minute'")

    assert await bench.timers().fire_due() == 0

    assert await bench.database.pool.fetchval("SELECT array_agg(DISTINCT state) FROM timer") == ["cancelled"]


async def test_an_alert_that_goes_on_fails_the_verification_when_its_time_is_over(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.settle(await bench.running(execution))
    await due(bench, "verify_due")

    await bench.timers().fire_due()

    assert (await bench.show(execution))["reason"] == "verification_failed"
    assert await bench.lock() is None


async def test_a_deadline_stops_what_has_not_begun(bench: Bench) -> None:
    execution = await bench.execution()
    await due(bench, "deadline")

    await bench.timers().fire_due()

    assert (await bench.show(execution))["reason"] == "deadline_exceeded"
    assert await bench.claim(execution) is None


async def test_a_deadline_waits_for_what_runs(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)
    await due(bench, "deadline")
    await bench.timers().fire_due()
    assert (await bench.show(execution))["state"] == "running"

    await bench.settle(running)

    assert (await bench.show(execution))["reason"] == "deadline_exceeded"
    assert (await bench.told(execution))[-2:] == ["step_completed", "failed"]


async def due(bench: Bench, kind: str) -> None:
    """Let the timers of a kind be due now."""
    await bench.database.pool.execute("UPDATE timer SET due_at = clock_timestamp() WHERE kind = $1", kind)
