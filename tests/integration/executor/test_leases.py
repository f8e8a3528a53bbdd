"""What the sweeper finds: leases that ran out, hints that were lost, entries whose reader died."""

import asyncio
import uuid
from datetime import datetime

import pytest

from libs.common.cancelling import ended
from libs.common.pulse import Pulse
from runbook_ranger.stack.servers.valkey import ADMIN
from services.executor.commands import AbortExecution
from services.executor.hints import GROUP, STREAMS
from services.executor.settings import ExecutorSettings
from services.executor.sweeper import Sweeper
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


@pytest.mark.parametrize("effect", ["read", "idempotent", "keyed"])
async def test_a_lost_step_that_may_repeat_is_ready_again_with_the_same_key(bench: Bench, effect: str) -> None:
    execution = await bench.execution(runbook(step(effect=effect)))
    lost = await bench.running(execution)
    await bench.hinted()

    await bench.expire(lost)

    first, second = await bench.attempts(execution)
    assert (first["state"], first["error_code"]) == ("failed", "lease_lost")
    assert (second["state"], second["idem_key"], second["attempt"]) == ("ready", lost.idem_key, 2)
    assert await bench.hinted() == [str(second["action_id"])]


async def test_a_lost_unsafe_step_is_unknown_and_its_resource_suspect(bench: Bench) -> None:
    execution, waiter = await bench.execution(runbook(step(effect="unsafe"))), await bench.execution()

    await bench.expire(await bench.running(execution))

    assert states(await bench.attempts(execution)) == ["unknown"]
    assert await bench.lock() == (execution, "suspect")
    assert (await bench.show(execution))["blocked_reason"] == "unknown"
    fact = await bench.fact(execution, "step_unknown")
    assert (fact["reason"], fact["resource_id"]) == ("lease_lost", "shard")
    assert await bench.claim(waiter) is None


async def test_a_step_that_is_lost_again_and_again_fails_in_the_end(bench: Bench) -> None:
    execution = await bench.execution()

    for _ in range(6):
        await bench.expire(await bench.running(execution))

    assert await bench.ready(execution) == []
    assert (await bench.show(execution))["reason"] == "step_failed"
    assert len({row["idem_key"] for row in await bench.attempts(execution)}) == 1


async def test_a_lease_that_was_renewed_is_left_alone(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.running(execution)

    assert await bench.sweeper.lose_expired() == 0
    assert states(await bench.attempts(execution)) == ["running"]


async def test_sweepers_that_race_lose_a_lease_once(bench: Bench) -> None:
    execution = await bench.execution()
    running = await bench.running(execution)
    await bench.database.pool.execute("UPDATE action_log SET lease_until = clock_timestamp() - interval '1 second'")

    await asyncio.gather(*(bench.sweeper.lose_expired() for _ in range(4)))

    assert states(await bench.attempts(execution)) == ["failed", "ready"]
    assert (await bench.told(execution)).count("step_failed") == 1
    assert running.attempt == 1


@pytest.mark.parametrize("effect", ["keyed", "unsafe"])
async def test_a_claim_that_let_go_what_was_held_and_then_died_is_found(bench: Bench, effect: str) -> None:
    execution = await bench.execution(runbook(step(effect=effect)))
    await bench.switch(engaged=True)
    assert await bench.claim(execution) is None
    await bench.switch(engaged=False)
    [held] = await bench.ready(execution)
    await bench.database.pool.execute(  # the claim's commit; its worker ends before it tells the execution
        "UPDATE action_log SET state = 'running', fence = nextval('fence'), held_reason = NULL,"
        " lease_until = clock_timestamp() WHERE action_id = $1",
        uuid.UUID(held.action_id),
    )

    await bench.sweeper.lose_expired()

    shown = await bench.show(execution)
    expected = ("blocked", "unknown") if effect == "unsafe" else ("running", None)
    assert (shown["state"], shown["blocked_reason"]) == expected
    assert "unblocked" in await bench.told(execution)


async def test_an_aborted_step_whose_worker_died_stays_aborted(bench: Bench) -> None:
    execution = await bench.execution()
    running = await bench.running(execution)
    await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))

    await bench.expire(running)

    assert states(await bench.attempts(execution)) == ["failed"]
    assert (await bench.show(execution))["state"] == "aborted"
    assert await bench.lock() is None


async def test_a_ready_action_whose_hint_was_lost_is_hinted_again(bench: Bench, servers: Servers) -> None:
    execution = await bench.execution()
    servers.valkey.ask("FLUSHALL", user=ADMIN)
    await bench.database.pool.execute("UPDATE action_log SET hinted_at = hinted_at - interval '1 minute'")

    await bench.sweeper.sweep()

    [attempt] = await bench.ready(execution)
    assert await bench.hinted() == [attempt.action_id]
    assert [group["name"] for group in await bench.redis.xinfo_groups(STREAMS[0])] == [GROUP.encode()]


async def test_an_action_that_the_kill_switch_holds_is_not_hinted_until_it_lets_go(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.switch(engaged=True)
    await bench.claim(execution)
    await bench.hinted()
    await bench.database.pool.execute("UPDATE action_log SET hinted_at = hinted_at - interval '1 minute'")

    assert await bench.sweeper.rehint() == []
    await bench.switch(engaged=False)

    assert len(await bench.hinted()) == 1


async def test_entries_of_a_reader_that_died_before_its_claim_are_taken_over(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.redis.xreadgroup(GROUP, "worker-9", dict.fromkeys(STREAMS, ">"))
    impatient = Sweeper(
        bench.database,
        bench.outbox,
        bench.hints,
        ExecutorSettings(rehint_seconds=0.001),
        Pulse(bench.database),
        clock=bench.people._clock,
    )

    await impatient.sweep()

    assert sum([(await bench.redis.xpending(stream, GROUP))["pending"] for stream in STREAMS]) == 0
    [attempt] = await bench.ready(execution)
    assert await bench.hinted() == [attempt.action_id]


async def test_locks_are_renewed_in_time_however_seldom_hints_are_repeated(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    await bench.settle(await bench.running(execution))
    settings = ExecutorSettings(lock_seconds=2, rehint_seconds=600)
    sweeper = Sweeper(
        bench.database, bench.outbox, bench.hints, settings, Pulse(bench.database), clock=bench.people._clock
    )
    task = asyncio.create_task(sweeper.run())
    renewals = set[datetime]()

    async def renewed() -> bool:
        renewals.add(await bench.database.pool.fetchval("SELECT lease_until FROM resource_lock"))
        return len(renewals) > 3

    await eventually(renewed, timeout=20)

    await ended({task})
    assert await bench.lock() == (execution, "held")


async def test_a_lock_that_nobody_renewed_is_suspect_and_its_owner_may_go_on(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    await bench.settle(await bench.running(execution))
    await bench.database.pool.execute("UPDATE resource_lock SET lease_until = clock_timestamp()")

    await bench.sweeper.sweep()

    assert await bench.lock() == (execution, "suspect")
    assert await bench.claim(execution) is not None
    assert await bench.lock() == (execution, "held")
