"""What users of other systems complain of, as acceptance tests: each is named after the complaint."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from libs.common.crash import EXIT_CODE
from libs.common.ids import new_id
from services.executor.commands import AbortExecution, BreakLock
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import another, begun, limited, seen, settled, states_of
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
RACERS = 16


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second executor."""
    async with another(stack_env, bench) as found:
        yield found


async def moved(env: Mapping[str, str]) -> tuple[int, str]:
    """One round of another process's queue: its exit code, and how many it moved."""
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **env}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.support.queue_mover", env=own, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode().strip()


# ── line 3 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("point", "after"), [("queue_before_commit", "pending"), ("queue_after_commit", "running")])
async def test_a_process_that_dies_while_it_gives_a_place_away_leaks_none(
    bench: Bench, stack_env: StackEnv, point: str, after: str
) -> None:
    """Slots are computed from what lives: after a crash there is one too many nowhere, and one too few nowhere."""
    first, second, third = [await begun(bench, limited()) for _ in range(3)]
    await bench.tell("abort", AbortExecution(execution_id=first, rationale="enough"))

    code, _ = await moved(stack_env.service("executor", RR_CRASH_AT=point))

    assert code == EXIT_CODE
    assert await states_of(bench, [second, third]) == [after, "pending"]
    assert await moved(stack_env.service("executor")) == (0, "1" if after == "pending" else "0")
    assert await states_of(bench, [second, third]) == ["running", "pending"]
    assert len((await seen(bench))["places"][0]["holders"]) == 1


async def test_a_worker_that_dies_gives_its_executions_place_back_with_its_lease(bench: Bench) -> None:
    spec = runbook(step(effect="unsafe"), concurrency={"key": "storage", "policy": "queue"})
    first, second = [await begun(bench, spec) for _ in range(2)]
    lost = await bench.running(first)
    await bench.tell("abort", AbortExecution(execution_id=first, rationale="its worker is gone"))
    await settled(bench)
    assert await states_of(bench, [second]) == ["pending"]  # nobody knows yet that it is not at work

    await bench.expire(lost)
    await settled(bench)

    assert await states_of(bench, [second]) == ["running"]


async def test_a_lock_is_seen_with_holder_and_waiters_and_breaking_it_is_audited(bench: Bench) -> None:
    holder, *waiters = [await begun(bench, runbook(step())) for _ in range(3)]
    await bench.running(holder)
    for waiter in waiters:
        assert await bench.claim(waiter) is None

    [lock] = (await seen(bench, resource_id="shard"))["locks"]

    assert (lock["resource_id"], lock["execution_id"], lock["state"], lock["waiting"]) == ("shard", holder, "held", 2)
    assert [waiter["execution_id"] for waiter in lock["waiters"]] == waiters
    [waits] = (await bench.show(waiters[0]))["waits_for"]
    assert (waits["kind"], waits["held_by"]) == ("lock", [holder])
    await bench.tell("break_lock", BreakLock(resource_id="shard", rationale="its owner is gone"))
    fact = await bench.database.pool.fetchrow(
        "SELECT payload, headers->>'ce-actor' AS actor FROM outbox WHERE subject = 'runbook.lock_broken'"
    )
    assert fact["actor"] == "ada"
    assert b"its owner is gone" in fact["payload"]
    assert holder.encode() in fact["payload"]


# ── line 4 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize(("policy", "rest"), [("queue", "pending"), ("reject", "failed")])
async def test_however_many_come_at_once_no_more_live_than_may(
    bench: Bench, rival: Bench, policy: str, rest: str, limit: int
) -> None:
    executions = await asyncio.gather(
        *(begun(each, limited(policy, limit=limit)) for each in (bench, rival) * (RACERS // 2))
    )

    states = await states_of(bench, executions)
    assert (states.count("running"), states.count(rest)) == (limit, RACERS - limit)


async def test_real_executors_give_every_place_once_and_one_that_is_killed_keeps_none(
    bench: Bench, stack_env: StackEnv, tmp_path: Path
) -> None:
    """Two processes of the service race for one queue; one of them is killed half-way."""
    with (tmp_path / "executors.log").open("ab") as log:
        processes = [
            forked.start(
                "services.executor",
                env={"PATH": os.environ["PATH"], **stack_env.service("executor", RR_INSTANCE=f"executor-{n}")},
                output=log,
            )
            for n in range(2)
        ]
    try:
        executions = [await begun(bench, limited(limit=2)) for _ in range(RACERS)]
        for number in range(RACERS):
            await eventually(lambda n=number: _has_begun(bench, executions[n]), timeout=30)
            living = await states_of(bench, executions)
            assert living.count("running") <= 2
            await bench.tell("abort", AbortExecution(execution_id=executions[number], rationale="next"))
            if number == RACERS // 2:
                processes[0].kill()
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def _has_begun(bench: Bench, execution: str) -> bool:
    return (await states_of(bench, [execution])) == ["running"]


# ── line 5 ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_execution_that_is_killed_in_the_queue_leaves_it_and_never_begins(bench: Bench, rival: Bench) -> None:
    first, second, third = [await begun(bench, limited()) for _ in range(3)]

    await bench.tell("abort", AbortExecution(execution_id=second, rationale="not any more"))
    await settled(bench, rival)
    [place] = (await seen(bench))["places"]
    assert [waiting["execution_id"] for waiting in place["queue"]] == [third]
    await bench.tell("abort", AbortExecution(execution_id=first, rationale="enough"))
    await settled(bench, rival)

    assert await states_of(bench, [first, second, third]) == ["aborted", "aborted", "running"]
    assert await bench.told(second) == ["planned", "aborted"]
    assert await bench.attempts(second) == []


async def test_a_kill_that_meets_the_moment_of_its_turn_wins(bench: Bench, rival: Bench) -> None:
    for number in range(10):
        spec = limited(key=f"storage-{number}")
        first, second = [await begun(bench, spec) for _ in range(2)]
        await bench.tell("abort", AbortExecution(execution_id=first, rationale="enough"))

        await asyncio.gather(
            bench.tell("abort", AbortExecution(execution_id=second, rationale="not any more")), settled(rival, bench)
        )

        await settled(bench, rival)
        assert await states_of(bench, [second]) == ["aborted"]
        assert await bench.claim(second) is None


# ── line 15 ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_two_runbooks_for_one_incident_and_resource_one_acts(bench: Bench, rival: Bench) -> None:
    incident = new_id()
    await bench.fires(incident)
    executions = [await bench.execution(runbook(step(), id=name), incident=incident) for name in ("mend", "restart")]

    won = await asyncio.gather(*(each.claim(e) for each, e in zip((bench, rival), executions, strict=True)))

    assert sum(attempt is not None for attempt in won) == 1
    [held] = [execution for execution, attempt in zip(executions, won, strict=True) if attempt is None]
    assert (await bench.show(held))["blocked_reason"] == "lock"


async def test_with_the_incident_as_their_key_one_remediation_of_it_lives(bench: Bench, rival: Bench) -> None:
    incident = new_id()
    await bench.fires(incident)
    specs = [limited("reject", key="${{ incident.id }}", runbook_id=f"mend-{n}") for n in range(4)]

    executions = await asyncio.gather(
        *(each.execution(spec, incident=incident) for each, spec in zip((bench, rival) * 2, specs, strict=True))
    )

    assert sorted(await states_of(bench, executions)) == ["failed", "failed", "failed", "running"]
