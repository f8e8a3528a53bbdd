"""How often a runbook may begin: what comes too soon ends failed and says when it may; raced by two executors."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common.ids import new_id
from libs.runbook.spec import Runbook
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import another, begun, finish, moment, move_window, states_of
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
RACERS = 12


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second executor."""
    async with another(stack_env, bench) as found:
        yield found


def rated(executions: int = 2, *, runbook_id: str = "mend", **more: Any) -> Runbook:
    """A runbook that begins so often within ten minutes."""
    limit = {"executions": executions, "per": "10m", **more}
    return runbook(step(effect="read"), id=runbook_id, rate_limit=limit)


async def test_one_too_many_is_rejected_and_told_when_it_may_run_again(bench: Bench) -> None:
    executions = [await begun(bench, rated()) for _ in range(3)]

    assert await states_of(bench, executions) == ["running", "running", "failed"]
    shown = await bench.show(executions[2])
    said = re.fullmatch(r"rejected: 2 executions have begun within 10m; it may run again at (\S+)", shown["reason"])
    assert said is not None
    again = datetime.fromisoformat(said[1]) - await moment(bench)
    assert timedelta(minutes=9, seconds=30) < again <= timedelta(minutes=10)
    assert await bench.told(executions[2]) == ["planned", "failed"]


async def test_of_two_executors_that_plan_at_once_no_more_begin_than_the_rate_lets(bench: Bench, rival: Bench) -> None:
    spec = rated(3)

    executions = await asyncio.gather(*(begun(each, spec) for each in (bench, rival) * (RACERS // 2)))

    states = await states_of(bench, executions)
    assert (states.count("running"), states.count("failed")) == (3, RACERS - 3)


async def test_it_may_run_again_when_the_window_has_moved_on_and_what_was_rejected_does_not_count(
    bench: Bench,
) -> None:
    for _ in range(2):
        await begun(bench, rated(1))
    await move_window(bench, 301)
    assert await states_of(bench, [await begun(bench, rated(1))]) == ["failed"]
    await move_window(bench, 301)

    assert await states_of(bench, [await begun(bench, rated(1))]) == ["running"]


async def test_without_a_key_each_runbook_has_its_own_rate_and_with_one_they_share_it(bench: Bench) -> None:
    await begun(bench, rated(1))
    other = await begun(bench, rated(1, runbook_id="restart"))
    shared = [await begun(bench, rated(1, runbook_id=name, key="${{ alert.name }}")) for name in ("third", "fourth")]

    assert await states_of(bench, [other, *shared]) == ["running", "running", "failed"]


async def test_what_finds_no_place_costs_nothing_of_the_rate(bench: Bench) -> None:
    both = {"concurrency": {"key": "storage", "policy": "reject"}, "rate_limit": {"executions": 2, "per": "10m"}}
    spec = runbook(step(), **both)
    first, *rejected = [await begun(bench, spec) for _ in range(4)]

    for execution in rejected:
        assert first in (await bench.show(execution))["reason"]
    await finish(bench, first)

    assert await states_of(bench, [await begun(bench, spec)]) == ["running"]


async def test_a_match_that_is_reported_again_does_not_count_twice(bench: Bench) -> None:
    incident = new_id()
    for _ in range(3):
        await bench.execution(rated(2), incident=incident)

    assert await states_of(bench, [await begun(bench, rated(2))]) == ["running"]
