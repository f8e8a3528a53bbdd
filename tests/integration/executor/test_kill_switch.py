"""The kill switch: when its toggle is answered, nothing starts; it only holds back and lets go."""

import asyncio
from datetime import datetime

import pytest

from services.executor import kill_switch
from services.executor.claims import Asked
from services.executor.commands import SetKillSwitch
from tests.integration.executor.bench import Bench, runbook, step
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack
ACTIONS = 100
ROUNDS = 20
AT_ONCE = 5
STATES = "SELECT state FROM action_log"


async def test_it_holds_changes_but_not_reads_and_lets_them_go(bench: Bench) -> None:
    change, look = await bench.execution(), await bench.execution(runbook(step(effect="read")))
    await bench.switch(engaged=True)

    assert await bench.claim(change) is None
    assert await bench.claim(look) is not None
    assert (await bench.show(change))["blocked_reason"] == "kill_switch"
    await bench.hinted()
    await bench.switch(engaged=False)

    assert len(await bench.hinted()) == 1
    assert await bench.claim(change) is not None
    assert (await bench.told(change))[-2:] == ["blocked", "unblocked"]


async def test_a_toggle_to_the_state_it_is_in_changes_and_tells_nothing(bench: Bench) -> None:
    on = SetKillSwitch(engaged=True, reason="drill")

    assert (await bench.tell("set_kill_switch", on))["changed"]
    assert not (await bench.tell("set_kill_switch", on))["changed"]

    assert await bench.told("executor/kill_switch/tenant:default") == ["kill_switch_changed"]


async def test_another_tenants_switch_holds_nothing_here_and_the_global_one_does(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.database.pool.execute(
        "INSERT INTO kill_switch VALUES ('tenant:acme', true, 1, 'bo', clock_timestamp(), 'drill')"
    )
    [attempt] = await bench.ready(execution)
    await bench.tell("set_kill_switch", SetKillSwitch(engaged=True, reason="drill", scope="global"))

    running, _ = await bench.claims().claim([Asked(attempt)])
    assert running == {}
    await bench.tell("set_kill_switch", SetKillSwitch(engaged=False, reason="over", scope="global"))

    assert await bench.claim(execution) is not None


async def test_a_toggle_waits_for_claims_in_flight(bench: Bench) -> None:
    await bench.execution()
    async with bench.database.transaction("claim in flight") as tx:
        await tx.execute(kill_switch.SHARE)
        toggle = asyncio.create_task(bench.switch(engaged=True))
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while not await bench.database.pool.fetchval(waiting):
            assert not toggle.done()

    await toggle
    assert await bench.database.pool.fetchval("SELECT engaged FROM kill_switch")


async def test_nothing_starts_after_the_toggle_in_a_storm_of_claims(bench: Bench) -> None:
    for number in range(ACTIONS):
        await bench.execution(runbook(step(resource=f"shard-{number}")))

    for number in range(ROUNDS):
        toggled = await storm(bench, wait_for=number * ACTIONS // ROUNDS)

        late = await bench.database.pool.fetchval("SELECT count(*) FROM action_log WHERE started_at > $1", toggled)
        assert late == 0
        assert {row["state"] for row in await bench.database.pool.fetch(STATES)} <= {"running", "ready"}
        await bench.switch(engaged=False)
        await bench.database.pool.execute(
            "UPDATE action_log SET state = 'ready', started_at = NULL, held_reason = NULL"
        )


async def storm(bench: Bench, *, wait_for: int) -> datetime:
    """Two workers claim everything while the switch is thrown; returns the time at which that was answered."""
    attempts = await bench.ready()
    claimed = 0

    async def claimer(worker: str, mine: list[Asked]) -> None:
        nonlocal claimed
        claims = bench.claims(worker)
        while mine:
            batch, mine = mine[:AT_ONCE], mine[AT_ONCE:]
            running, _ = await claims.claim(batch)
            claimed += len(running)

    async def toggler() -> datetime:
        await eventually(lambda: claimed >= wait_for, interval=0)
        await bench.switch(engaged=True)
        now: datetime = await bench.database.pool.fetchval("SELECT clock_timestamp()")
        return now

    asked = [Asked(attempt) for attempt in attempts]
    found = await asyncio.gather(toggler(), claimer("worker-1", asked), claimer("worker-2", asked[::-1]))
    return found[0]
