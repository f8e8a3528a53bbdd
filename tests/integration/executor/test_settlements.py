"""A worker's second commit, and what becomes of results that come late."""

import asyncio
from typing import Any

import pytest

from services.executor.commands import AbortExecution
from services.executor.errors import ExecutionEnded
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack


async def test_a_result_leads_on_to_the_next_step_in_the_same_transaction(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    await bench.hinted()

    await bench.settle(await bench.running(execution))

    [following] = await bench.ready(execution)
    assert following.path == "two"
    assert await bench.hinted() == [following.action_id]
    assert await bench.told(execution) == ["planned", "started", "step_completed"]


async def test_an_older_fence_cannot_settle_and_its_result_is_kept_as_evidence(bench: Bench) -> None:
    execution = await bench.execution()
    old = await bench.running(execution)
    await bench.expire(old)
    new = await bench.running(execution, "worker-2")

    await bench.settle(old, outputs={"status": 200}, evidence={"status": 200})

    first, second = await bench.attempts(execution)
    assert (first["state"], second["state"]) == ("failed", "running")
    assert '"worker-1"' in first["late"]
    await bench.settle(new)
    assert states(await bench.attempts(execution)) == ["failed", "succeeded"]
    assert (await bench.told(execution)).count("step_completed") == 1


async def test_a_late_result_resolves_an_unknown(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="unsafe")))
    lost = await bench.running(execution)
    await bench.expire(lost)
    assert (await bench.show(execution))["blocked_reason"] == "unknown"

    await bench.settle(lost, outputs={"status": 200})

    shown = await bench.show(execution)
    assert (shown["state"], shown["phase"]) == ("running", "verify")
    assert states(await bench.attempts(execution)) == ["succeeded"]
    assert (await bench.told(execution))[-2:] == ["unblocked", "step_completed"]


async def test_a_result_settles_once(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)

    await asyncio.gather(*(bench.settle(running) for _ in range(5)))

    assert (await bench.told(execution)).count("step_completed") == 1
    assert len(await bench.attempts(execution)) == 2


async def test_a_passing_failure_waits_for_its_timer_and_keeps_its_key(bench: Bench) -> None:
    retry: dict[str, Any] = {"retry": {"attempts": 2, "backoff": "constant", "delay": "100ms"}}
    execution = await bench.execution(runbook(step(**retry)))
    first = await bench.running(execution)

    await bench.settle(first, "fail", error_code="status_503", retryable=True)
    assert await bench.ready(execution) == []
    await eventually(bench.timers().fire_due)

    [second] = await bench.ready(execution)
    assert (second.attempt, second.idem_key) == (2, first.idem_key)
    await bench.settle(await bench.running(execution), "fail", error_code="status_503", retryable=True)
    assert (await bench.show(execution))["state"] == "failed"
    assert await bench.lock() is None


async def test_an_unsafe_step_whose_answer_never_came_is_unknown(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="unsafe")))

    await bench.settle(await bench.running(execution), "doubt", error_code="connection_lost")

    shown = await bench.show(execution)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "unknown")
    assert await bench.lock() == (execution, "suspect")
    assert (await bench.fact(execution, "step_unknown"))["reason"] == "connection_lost"


async def test_an_abort_of_what_is_ready_leaves_nothing_done(bench: Bench) -> None:
    execution = await bench.execution()

    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))

    assert states(await bench.attempts(execution)) == ["cancelled"]
    assert (await bench.show(execution))["state"] == "aborted"
    with pytest.raises(ExecutionEnded):
        await bench.tell("abort", AbortExecution(execution_id=execution, rationale="once more"))


async def test_an_abort_of_what_runs_asks_its_worker_to_stop_and_wins_over_its_result(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)

    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))
    [row] = await bench.attempts(execution)
    assert (row["state"], row["cancel_requested"]) == ("running", True)
    await bench.settle(running)

    assert states(await bench.attempts(execution)) == ["succeeded"]
    assert (await bench.show(execution))["state"] == "aborted"
    assert (await bench.told(execution))[-2:] == ["aborted", "step_outlived"]


async def test_a_resource_stays_locked_until_what_an_abort_left_running_has_ended(bench: Bench) -> None:
    holder, waiter = await bench.execution(), await bench.execution()
    running = await bench.running(holder)
    await bench.claim(waiter)

    await bench.tell("abort", AbortExecution(execution_id=holder, rationale="enough"))
    assert await bench.claim(waiter) is None
    await bench.hinted()
    await bench.settle(running, "fail", error_code="cancelled")

    assert len(await bench.hinted()) == 1
    assert await bench.claim(waiter) is not None


async def test_a_resource_stays_locked_when_nobody_knows_how_what_was_aborted_ended(bench: Bench) -> None:
    holder, waiter = await bench.execution(runbook(step(effect="unsafe"))), await bench.execution()
    running = await bench.running(holder)

    await bench.tell("abort", AbortExecution(execution_id=holder, rationale="enough"))
    await bench.expire(running)

    assert states(await bench.attempts(holder)) == ["unknown"]
    assert await bench.claim(waiter) is None
    assert await bench.lock() == (holder, "suspect")


async def test_an_end_of_the_alert_and_a_settlement_at_once_complete_the_execution_once(bench: Bench) -> None:
    for number in range(20):
        incident = f"incident-{number}"
        execution = await bench.execution(runbook(step(resource=incident)), incident=incident)
        running = await bench.running(execution)

        await asyncio.gather(bench.settle(running), bench.ends(incident))

        shown = await bench.show(execution)
        assert (shown["state"], shown["reason"]) == ("completed", "alert_resolved")
        assert (await bench.told(execution))[-2:] == ["step_completed", "completed"]
        assert await bench.lock(incident) is None


async def test_the_alerts_end_after_the_last_step_verifies_the_execution(bench: Bench) -> None:
    execution = await bench.execution(incident="incident-1")
    await bench.settle(await bench.running(execution))
    assert (await bench.show(execution))["phase"] == "verify"

    await bench.ends("incident-1")

    assert (await bench.fact(execution, "completed"))["verified"] == "alert_resolved"


async def test_a_plan_that_is_refused_is_a_failed_execution_with_its_reasons(bench: Bench) -> None:
    spec = runbook(inputs={"host": {"type": "string", "from": "${{ alert.labels.host }}"}})

    execution = await bench.execution(spec)

    shown = await bench.show(execution)
    assert shown["state"] == "failed"
    assert "inputs.host" in shown["reason"]
    assert await bench.told(execution) == ["failed"]
    assert await bench.attempts(execution) == []


async def test_a_match_that_is_told_twice_is_one_execution(bench: Bench) -> None:
    incident = "incident-1"
    execution = await bench.execution(incident=incident)

    assert await bench.execution(incident=incident) == execution

    assert len(await bench.attempts(execution)) == 1
    assert await bench.told(execution) == ["planned", "started"]
