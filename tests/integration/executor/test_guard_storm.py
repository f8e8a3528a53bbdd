"""All guards at once under two executors and their workers: nothing waits in a circle, and all of it ends."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import suppress
from typing import Any

import pytest

from libs.common.clock import utc_now
from libs.runbook.spec import Runbook
from services.executor.claims import Asked
from services.executor.commands import AbortExecution
from services.executor.errors import BreakerNotOpen, ExecutionEnded
from services.executor.guards.questions import ResetBreaker
from services.executor.guards.resets import Resets
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import another, begun, queue, settled, states_of
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
ROUNDS = 25
"""At least; and as many changes get through all guards."""
POLICIES = ("queue", "queue", "reject", "replace")


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second executor, and a worker of it."""
    async with another(stack_env, bench) as found:
        yield found


def spec(number: int) -> Runbook:
    """A runbook with every guard; keys, limits and resources are shared in different ways."""
    guards: dict[str, Any] = {
        "concurrency": {"key": f"key-{number % 3}", "policy": POLICIES[number % 4], "limit": 1 + number % 2},
        "rate_limit": {"executions": 500, "per": "10m"},
        "budget": {"resources": 3, "window": "500ms", "key": "all"},
        "cooldown": "100ms",
        "breaker": {"failures": 2, "window": "1m"},
    }
    return runbook(step(resource=f"shard-{number % 4}"), id=f"mend-{number}", verify=None, **guards)


async def work(bench: Bench, dice: random.Random) -> None:
    """Claim some of what is ready, and carry it out well or badly."""
    ready = await bench.ready()
    running, _ = await bench.claims(f"worker-{id(bench)}").claim(
        [Asked(attempt) for attempt in dice.sample(ready, min(8, len(ready)))]
    )
    for attempt in running.values():
        await bench.settle(attempt, "fail" if dice.random() < 0.4 else "succeed", error_code="no")


async def reset_all(bench: Bench) -> None:
    """A person lets every runbook go on."""
    resets = Resets(bench.outbox, bench.hints, utc_now)
    for row in await bench.database.pool.fetch("SELECT runbook_id, resource_id FROM breaker WHERE state = 'open'"):
        with suppress(BreakerNotOpen):
            async with bench.database.transaction("reset") as tx:
                await resets.reset(tx, bench.caller(), ResetBreaker(**dict(row), rationale="once more"))


async def abort(bench: Bench, execution: str) -> None:
    """A person ends it, if it has not ended."""
    with suppress(ExecutionEnded):
        await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))


async def changes(bench: Bench) -> int:
    """How many changes the guards have let through."""
    return int(await bench.database.pool.fetchval("SELECT count(*) FROM guarded_change"))


async def test_in_a_storm_of_everything_nothing_waits_in_a_circle(bench: Bench, rival: Bench) -> None:
    dice = random.Random(7)
    specs = [spec(number) for number in range(12)]
    executions: list[str] = []
    rounds = 0
    while rounds < ROUNDS or await changes(bench) <= ROUNDS:  # a fast machine is held back by the budget for longer
        rounds += 1
        beginnings = [begun(each, dice.choice(specs)) for each in (bench, rival) * 2]
        others: list[Awaitable[Any]] = [reset_all(bench)]
        for each in (bench, rival):
            others += [work(each, dice), work(each, dice), queue(each).move_on()]
            others += [abort(each, execution) for execution in dice.sample(executions, min(2, len(executions)))]
        began = asyncio.gather(*beginnings)
        await asyncio.gather(began, *others)  # Postgres would break a circle, and that would raise here
        executions += await began

    for execution in executions:
        await abort(bench, execution)
    await settled(bench, rival)

    assert set(await states_of(bench, executions)) <= {"aborted", "failed", "completed"}
    assert await bench.ready() == []
    assert await bench.database.pool.fetchval("SELECT count(*) FROM resource_lock") == 0
    assert await bench.database.pool.fetchval("SELECT count(*) FROM admission WHERE state = 'queued'") == 0
