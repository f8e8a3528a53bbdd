"""A worker's first commit: who may begin, and who is turned away."""

import asyncio

import pytest

from services.executor.claims import Asked
from services.executor.commands import AbortExecution, BreakLock
from services.executor.errors import NoSuchLock
from services.executor.settings import ExecutorSettings
from tests.integration.executor.bench import Bench, runbook, states, step

pytestmark = pytest.mark.stack


async def test_of_two_claimers_that_race_for_an_action_one_wins(bench: Bench) -> None:
    for number in range(20):
        execution = await bench.execution(runbook(step(resource=f"shard-{number}")))

        won = await asyncio.gather(*(bench.claim(execution, worker) for worker in ("worker-1", "worker-2")))

        assert sum(attempt is not None for attempt in won) == 1
        [row] = await bench.attempts(execution)
        assert row["worker_id"] == next(attempt.worker_id for attempt in won if attempt)


async def test_each_claim_has_a_newer_fence_and_a_lease_by_the_databases_clock(bench: Bench) -> None:
    first = await bench.running(await bench.execution(runbook(step(resource="a"))))
    second = await bench.running(await bench.execution(runbook(step(resource="b"))))

    assert second.fence > first.fence
    left = await bench.database.pool.fetchval("SELECT min(lease_until) - clock_timestamp() FROM action_log")
    assert 25 < left.total_seconds() <= 30


async def test_a_lock_held_by_another_execution_holds_and_its_end_hints(bench: Bench) -> None:
    holder, waiter = await bench.execution(), await bench.execution()
    running = await bench.running(holder)

    assert await bench.claim(waiter) is None

    shown = await bench.show(waiter)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "lock")
    await bench.hinted()
    await bench.settle(running)
    assert await bench.hinted() == []  # nobody comes between a change and its verification
    await bench.tell("abort", AbortExecution(execution_id=holder, rationale="enough"))
    [waiting] = await bench.ready(waiter)
    assert await bench.hinted() == [waiting.action_id]
    assert await bench.claim(waiter) is not None
    assert (await bench.told(waiter))[-2:] == ["blocked", "unblocked"]
    assert await bench.lock() == (waiter, "held")


async def test_of_two_executions_in_one_batch_the_first_gets_the_resource(bench: Bench) -> None:
    executions = [await bench.execution(), await bench.execution()]
    attempts = [attempt for execution in executions for attempt in await bench.ready(execution)]

    running, _ = await bench.claims().claim([Asked(attempt) for attempt in attempts])

    assert len(running) == 1
    assert sorted([(await bench.show(execution))["state"] for execution in executions]) == ["blocked", "running"]


async def test_reading_needs_no_lock(bench: Bench) -> None:
    await bench.running(await bench.execution())

    assert await bench.claim(await bench.execution(runbook(step(effect="read")))) is not None


async def test_a_broken_lock_hints_who_waits(bench: Bench) -> None:
    await bench.running(await bench.execution())
    waiter = await bench.execution()
    await bench.claim(waiter)
    await bench.hinted()

    answer = await bench.tell("break_lock", BreakLock(resource_id="shard", rationale="its owner is gone"))

    assert answer["was_held_by"] != waiter
    assert len(await bench.hinted()) == 1
    assert await bench.claim(waiter) is not None


async def test_a_lock_that_nobody_holds_cannot_be_broken(bench: Bench) -> None:
    with pytest.raises(NoSuchLock):
        await bench.tell("break_lock", BreakLock(resource_id="shard", rationale="just in case"))


async def test_an_alert_that_ended_before_the_claim_makes_the_step_unneeded(bench: Bench) -> None:
    incident = "incident-1"
    execution = await bench.execution(incident=incident)
    [attempt] = await bench.ready(execution)
    # The claim alone knows: the execution hears of it later, and by then the worker must not have begun.
    await bench.database.pool.execute("UPDATE alert_state SET firing = false")

    running, _ = await bench.claims().claim([Asked(attempt)])

    assert running == {}
    assert states(await bench.attempts(execution)) == ["cancelled"]
    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"]) == ("completed", "alert_resolved")
    assert await bench.lock() is None


async def test_a_step_that_was_held_when_the_alert_ended_is_not_begun_when_it_is_let_go(bench: Bench) -> None:
    holder, incident = await bench.execution(), "incident-1"
    await bench.running(holder)
    waiter = await bench.execution(incident=incident)
    await bench.claim(waiter)

    await bench.ends(incident)
    await bench.tell("abort", AbortExecution(execution_id=holder, rationale="enough"))

    assert await bench.claim(waiter) is None
    assert (await bench.show(waiter))["reason"] == "alert_resolved"


async def test_an_action_that_drifted_is_refused_and_nothing_is_done(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.database.pool.execute("UPDATE action_log SET rendered = rendered || ' '::bytea")

    assert await bench.claim(execution) is None

    shown = await bench.show(execution)
    assert shown["state"] == "failed"
    assert shown["steps"][0]["error_code"] == "action_drift"
    assert states(await bench.attempts(execution)) == ["failed"]


async def test_a_target_that_does_not_allow_remediation_is_refused_without_effect(bench: Bench) -> None:
    execution = await bench.execution()

    assert await bench.claim(execution, refusal=("tag_not_allowed", "the tag is missing")) is None

    assert (await bench.show(execution))["steps"][0]["error_code"] == "tag_not_allowed"
    [row] = await bench.attempts(execution)
    assert (row["state"], row["fence"]) == ("failed", None)
    assert (await bench.told(execution))[-2:] == ["step_failed", "failed"]


async def test_a_kill_switch_of_the_process_holds_changes_but_not_reads(bench: Bench) -> None:
    forced = bench.claims(settings=ExecutorSettings(kill_switch=True))
    change, look = await bench.execution(), await bench.execution(runbook(step(effect="read")))

    asked = [Asked(attempt) for execution in (change, look) for attempt in await bench.ready(execution)]
    running, _ = await forced.claim(asked)

    assert [attempt.execution_id for attempt in running.values()] == [look]
    assert (await bench.show(change))["blocked_reason"] == "kill_switch"
    assert await bench.claim(change) is not None  # a process without it


async def test_an_attempt_that_is_ready_no_more_is_not_claimed(bench: Bench) -> None:
    execution = await bench.execution()
    [attempt] = await bench.ready(execution)
    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))

    running, _ = await bench.claims().claim([Asked(attempt)])

    assert running == {}
    assert states(await bench.attempts(execution)) == ["cancelled"]
