"""Guards of changes raced by two real worker processes on a real target: what counts is what the target has seen."""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from libs.runbook.spec import Runbook
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import begun
from tests.support import forked
from tests.support.demo_target import DemoTarget
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
MANY = 12


@pytest.fixture
async def target(tmp_path: Path) -> AsyncIterator[DemoTarget]:
    async with DemoTarget(tmp_path / "target") as found:
        yield found


@asynccontextmanager
async def two_workers(stack_env: StackEnv, folder: Path) -> AsyncIterator[None]:
    """Two processes that take hints from the same streams."""
    env = {"PATH": os.environ["PATH"], "RR_EGRESS_ALLOW": "127.0.0.0/8"}
    with (folder / "workers.log").open("ab") as log:
        workers = [
            forked.start(
                "services.executor.worker",
                env={**env, **stack_env.service("worker", RR_INSTANCE=f"worker-{number}")},
                output=log,
            )
            for number in (1, 2)
        ]
    try:
        yield
    finally:
        for worker in workers:
            if worker.returncode is None:
                worker.kill()
            await worker.wait()


def change(target: DemoTarget, resource: str, *, path: str = "/apply", **guards: Any) -> Runbook:
    """One change of that resource on the target, and the runbook's guards."""
    call = {"method": "POST", "url": f"{target.url}{path}", "json": {"resource": resource, "ms": 30}}
    return runbook(step(resource=resource, **{"with": call}), **guards)


async def hinted(bench: Bench) -> None:
    """Hint everything that is ready, as the sweeper does, to whoever is quicker."""
    await bench.database.pool.execute("UPDATE action_log SET hinted_at = hinted_at - interval '1 hour'")
    await bench.hints.send(await bench.sweeper.rehint())


async def settled(bench: Bench, ready: Callable[[dict[str, int]], bool]) -> dict[str, int]:
    """Wait until the action log has these states, counted; what is held counts by what holds it.

    Whoever met the other worker's lock is hinted again, as the sweeper would.
    """
    query = "SELECT coalesce(CASE WHEN state = 'ready' THEN held_reason END, state) AS found FROM action_log"

    async def looked() -> dict[str, int] | None:
        states = [row["found"] for row in await bench.database.pool.fetch(query)]
        counted = {state: states.count(state) for state in set(states)}
        if ready(counted):
            return counted
        await hinted(bench)
        return None

    return await eventually(looked, timeout=30, interval=0.1) or {}


async def effects(target: DemoTarget) -> list[str]:
    """The resources that the target has seen changed, in order."""
    return [effect["resource"] for effect in (await target.get("/ledger"))["effects"]]


async def raced(bench: Bench, specs: list[Runbook], work: Callable[[], Awaitable[Any]]) -> list[str]:
    """Executions of these runbooks, hinted at once while both workers listen."""
    executions = [await begun(bench, spec) for spec in specs]
    await hinted(bench)
    await work()
    return executions


async def test_of_many_resources_no_more_are_changed_than_the_budget_lets(
    bench: Bench, stack_env: StackEnv, tmp_path: Path, target: DemoTarget
) -> None:
    budget = {"budget": {"resources": 3, "window": "1h"}}
    async with two_workers(stack_env, tmp_path):
        specs = [change(target, f"r-{number}", **budget) for number in range(MANY)]
        await raced(bench, specs, lambda: settled(bench, lambda c: c.get("succeeded", 0) + c.get("budget", 0) == MANY))

    assert len(set(await effects(target))) == len(await effects(target)) == 3


async def test_a_resource_rests_whichever_worker_comes_next(
    bench: Bench, stack_env: StackEnv, tmp_path: Path, target: DemoTarget
) -> None:
    async with two_workers(stack_env, tmp_path):
        first = await begun(bench, change(target, "shard", cooldown="1h"))
        await hinted(bench)
        await settled(bench, lambda counted: counted.get("succeeded") == 1)
        incident = await bench.database.pool.fetchval(
            "SELECT incident_id FROM execution WHERE execution_id::text = $1", first
        )
        await bench.ends(incident)
        await eventually(lambda: _ended(bench, first))
        specs = [change(target, "shard", cooldown="1h") for _ in range(MANY)]
        await raced(bench, specs, lambda: settled(bench, lambda c: c.get("cooldown", 0) == MANY))

    assert await effects(target) == ["shard"]


async def test_a_breaker_opens_for_both_workers(
    bench: Bench, stack_env: StackEnv, tmp_path: Path, target: DemoTarget
) -> None:
    breaker = {"breaker": {"failures": 2, "window": "1h"}}
    async with two_workers(stack_env, tmp_path):
        specs = [change(target, "shard", path="/nowhere", **breaker) for _ in range(MANY)]
        await raced(bench, specs, lambda: settled(bench, lambda c: c.get("failed", 0) + c.get("breaker", 0) == MANY))

    states = [row["state"] for row in await bench.database.pool.fetch("SELECT state FROM action_log")]
    assert states.count("failed") == 2


async def _ended(bench: Bench, execution: str) -> bool:
    return (await bench.show(execution))["state"] == "completed"
