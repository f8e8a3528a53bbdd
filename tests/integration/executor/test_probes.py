"""Probes on real rows: asked when a doubt arises, carried out by a worker, and never in the way of a person."""

from typing import Any

import pytest

from services.executor.commands import AbortExecution, PauseExecution, ResumeExecution, TerminateExecution
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.samples import due, told_step

pytestmark = pytest.mark.stack
PROBE = {
    "action": "http.request",
    "with": {"url": "http://127.0.0.1:9/state"},
    "took_effect": "outputs.status == 200",
}


async def doubtful(bench: Bench, **more: Any) -> str:
    """An execution whose first step nobody knows about."""
    first = step(effect="unsafe", probe=PROBE, **more)
    execution = await bench.execution(runbook(first, step("after", effect="read")))
    await bench.expire(await bench.running(execution))
    return execution


async def test_a_lost_worker_is_followed_by_a_probe_that_takes_no_lock_of_its_own(bench: Bench) -> None:
    execution = await doubtful(bench)

    [probe] = await bench.ready(execution)

    assert (probe.path, probe.effect, probe.resource_id, probe.requires_firing) == ("fix?", "read", None, False)
    assert (await bench.show(execution))["blocked_reason"] == "unknown"


async def test_what_the_probe_saw_ends_the_doubt(bench: Bench) -> None:
    execution = await doubtful(bench)

    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert told_step(await bench.show(execution), "fix")["state"] == "succeeded"
    assert [attempt.path for attempt in await bench.ready(execution)] == ["after"]
    assert (await bench.told(execution))[-4:] == ["step_unknown", "blocked", "unblocked", "step_completed"]


async def test_what_the_probe_did_not_see_fails_the_step(bench: Bench) -> None:
    execution = await doubtful(bench)

    await bench.settle(await bench.running(execution), outputs={"status": 404})

    assert told_step(await bench.show(execution), "fix")["error_code"] == "no_effect"
    assert await bench.lock() is None


async def test_a_probe_that_fails_or_dies_is_asked_again(bench: Bench) -> None:
    execution = await doubtful(bench)
    await bench.settle(await bench.running(execution), "fail", error_code="unreachable", retryable=True)
    assert await bench.ready(execution) == []

    await due(bench, "probe")
    await bench.expire(await bench.running(execution))
    await due(bench, "probe")
    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert told_step(await bench.show(execution), "fix")["state"] == "succeeded"
    attempts = [row["attempt"] for row in await bench.attempts(execution) if row["path"] == "fix?"]
    assert attempts == [1, 2, 3]


async def test_the_late_answer_of_the_worker_comes_before_the_probes(bench: Bench) -> None:
    first = step(effect="unsafe", probe=PROBE)
    execution = await bench.execution(runbook(first, step("after", effect="read")))
    running = await bench.running(execution)
    await bench.expire(running)
    probe = await bench.running(execution)

    await bench.settle(running, outputs={"late": True})
    await bench.settle(probe, outputs={"status": 404})

    assert told_step(await bench.show(execution), "fix")["outputs"] == {"late": True}
    assert [attempt.path for attempt in await bench.ready(execution)] == ["after"]


async def test_a_probe_is_held_by_a_pause_and_let_go_by_the_resumption(bench: Bench) -> None:
    execution = await doubtful(bench)
    await bench.tell("pause", PauseExecution(execution_id=execution, rationale="a drill"))
    assert await bench.claim(execution) is None
    await bench.hinted()

    await bench.tell("resume", ResumeExecution(execution_id=execution, rationale="a drill"))

    assert len(await bench.hinted()) == 1
    await bench.settle(await bench.running(execution), outputs={"status": 200})
    assert told_step(await bench.show(execution), "fix")["state"] == "succeeded"


async def test_force_ends_a_probe_under_way_and_names_the_step_that_it_is_about(bench: Bench) -> None:
    execution = await doubtful(bench)
    await bench.running(execution)

    answer = await bench.tell("terminate", TerminateExecution(execution_id=execution, rationale="a drill"))

    assert (answer["state"], answer["freed"]) == ("aborted", ["shard"])
    assert (await bench.fact(execution, "terminated"))["unstopped"] == ["fix"]


async def test_a_probe_under_way_does_not_keep_an_execution_from_being_aborted(bench: Bench) -> None:
    execution = await doubtful(bench)
    probe = await bench.running(execution)

    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="not wanted"))
    await bench.settle(probe, outputs={"status": 200})

    assert (await bench.show(execution))["state"] == "aborted"
