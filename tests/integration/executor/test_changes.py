"""How much is changed, and how soon again: budgets and cool-downs, asked at the claim and raced by two workers."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.runbook.spec import Runbook
from services.executor.claims import Asked
from services.executor.commands import AbortExecution, BreakLock
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import another, begun, claimed, finish, moment, move_window, seen, states_of
from tests.integration.executor.samples import due
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
ROUNDS = 10


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second worker."""
    async with another(stack_env, bench) as found:
        yield found


def within(resources: int, resource: str, *, runbook_id: str = "mend", **more: Any) -> Runbook:
    """A runbook that changes one resource, of at most so many within an hour."""
    budget = {"resources": resources, "window": "1h", **more}
    return runbook(step(resource=resource), id=runbook_id, budget=budget)


def resting(resource: str = "shard", *, runbook_id: str = "mend", **more: Any) -> Runbook:
    """A runbook that lets a resource rest for half an hour."""
    return runbook(step(resource=resource), id=runbook_id, cooldown="30m", **more)


# ── the budget ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_resource_too_many_waits_and_says_for_what_and_until_when(bench: Bench) -> None:
    one, two, three = [await begun(bench, within(2, f"shard-{n}")) for n in range(3)]
    await finish(bench, one)
    await bench.running(two)

    assert await bench.claim(three) is None

    shown = await bench.show(three)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "budget")
    [waits] = shown["waits_for"]
    assert (waits["kind"], waits["name"]) == ("budget", "shard-2")
    assert "2 of 2 resources were changed within 1h (shard-0, shard-1)" in waits["detail"]
    until = datetime.fromisoformat(waits["until"]) - await moment(bench)
    assert timedelta(minutes=59) < until <= timedelta(hours=1)
    assert await bench.lock("shard-2") is None  # what waits for a budget keeps nobody else away
    assert (await seen(bench))["held"][0]["execution_id"] == three
    assert (await bench.told(three))[-1] == "blocked"


async def test_of_two_workers_that_race_for_the_last_of_a_budget_one_gets_it(bench: Bench, rival: Bench) -> None:
    for number in range(ROUNDS):
        spec = [within(1, f"shard-{number}-{n}", runbook_id=f"mend-{number}") for n in range(2)]
        executions = [await begun(bench, each) for each in spec]

        won = await claimed((bench, executions[0]), (rival, executions[1]))

        assert sum(attempt is not None for attempt in won) == 1, number


async def test_however_many_workers_claim_at_once_no_more_is_changed_than_may(bench: Bench, rival: Bench) -> None:
    executions = [await begun(bench, within(3, f"shard-{n}")) for n in range(12)]

    won = await claimed(*((bench if n % 2 else rival, execution) for n, execution in enumerate(executions)))

    assert sum(attempt is not None for attempt in won) == 3
    states = await states_of(bench, executions)
    assert (states.count("running"), states.count("blocked")) == (3, 9)


async def test_branches_of_one_execution_share_its_budget(bench: Bench) -> None:
    branches = {name: [step(f"fix-{name}", resource=name)] for name in "abc"}
    fan = {"id": "fan", "type": "parallel", "branches": branches}
    execution = await begun(bench, runbook(fan, budget={"resources": 2, "window": "1h"}))
    attempts = await bench.ready(execution)

    running, _ = await bench.claims().claim([Asked(attempt) for attempt in attempts])

    assert len(running) == 2
    shown = await bench.show(execution)
    assert [waits["kind"] for waits in shown["waits_for"]] == ["budget"]
    for attempt in running.values():
        await bench.settle(attempt)
    assert (await bench.show(execution))["blocked_reason"] == "budget"
    await move_window(bench, 3601)
    assert len(await bench.sweeper.rehint()) == 1
    assert await bench.claim(execution) is not None


async def test_what_was_changed_may_be_taken_back_whatever_the_guards_say(bench: Bench) -> None:
    back = {"action": "http.request", "with": {"method": "POST", "url": "http://127.0.0.1:9/back"}}
    guards = {"budget": {"resources": 1, "window": "1m"}, "cooldown": "1h", "breaker": {"failures": 1, "window": "1h"}}
    spec = runbook(step("one", resource="a", rollback=back), step("two", resource="a"), on_failed="rollback", **guards)
    execution = await begun(bench, spec)
    await bench.settle(await bench.running(execution))
    await bench.settle(await bench.running(execution), "fail", error_code="status_500")
    await move_window(bench, 61)
    await finish(bench, await begun(bench, runbook(step(resource="b"), budget={"resources": 1, "window": "1m"})))

    taken_back = await bench.running(execution)

    assert (taken_back.path, taken_back.resource_id) == ("rollback:1", "a")
    await bench.settle(taken_back)
    assert await states_of(bench, [execution]) == ["failed"]


async def test_the_same_resource_is_no_further_one(bench: Bench) -> None:
    first = await begun(bench, within(1, "shard"))
    await finish(bench, first)

    assert await bench.claim(await begun(bench, within(1, "shard"))) is not None


async def test_it_is_left_alone_until_the_window_has_moved_on_and_then_hinted(bench: Bench) -> None:
    first, second = [await begun(bench, within(1, f"shard-{n}")) for n in range(2)]
    await finish(bench, first)
    assert await bench.claim(second) is None
    await bench.database.pool.execute("UPDATE action_log SET hinted_at = hinted_at - interval '1 minute'")
    assert await bench.sweeper.rehint() == []

    await move_window(bench, 3600)

    assert len(await bench.sweeper.rehint()) == 1
    assert await bench.claim(second) is not None
    assert (await bench.told(second))[-2:] == ["blocked", "unblocked"]


async def test_a_change_that_runs_counts_however_long_it_takes(bench: Bench) -> None:
    first, second = [await begun(bench, within(1, f"shard-{n}")) for n in range(2)]
    running = await bench.running(first)
    await move_window(bench, 7200)
    assert await bench.claim(second) is None

    await bench.settle(running)
    await move_window(bench, 3500)
    assert await bench.claim(second) is None
    await move_window(bench, 101)

    assert await bench.claim(second) is not None


async def test_a_change_that_failed_or_was_lost_counts_too(bench: Bench) -> None:
    first, second, third = [await begun(bench, within(2, f"shard-{n}")) for n in range(3)]
    await finish(bench, first, well=False)
    await bench.expire(await bench.running(second))

    assert await bench.claim(third) is None


async def test_a_key_is_shared_between_runbooks_and_each_goes_by_its_own_number(bench: Bench) -> None:
    for n in range(2):
        await finish(bench, await begun(bench, within(2, f"shard-{n}", runbook_id=f"mend-{n}", key="eu")))

    assert await bench.claim(await begun(bench, within(2, "shard-2", runbook_id="mend-2", key="eu"))) is None
    assert await bench.claim(await begun(bench, within(3, "shard-3", runbook_id="mend-3", key="eu"))) is not None
    assert await bench.claim(await begun(bench, within(2, "shard-4", runbook_id="mend-4", key="us"))) is not None


async def test_reading_needs_no_budget(bench: Bench) -> None:
    steps = [step("look", effect="read", resource="x"), step("fix", resource="y")]
    spec = runbook(*steps, budget={"resources": 1, "window": "1h"})
    await finish(bench, await begun(bench, within(1, "shard-0")))

    execution = await begun(bench, spec)

    looked = await bench.claim(execution)
    assert looked is not None
    await bench.settle(looked)
    assert await bench.claim(execution) is None


async def test_an_execution_changes_again_what_it_has_begun_to_change(bench: Bench) -> None:
    spec = runbook(
        step("one", resource="a"), step("two", resource="a"), budget={"resources": 1, "window": "1m"}, cooldown="1h"
    )
    execution = await begun(bench, spec)
    await bench.settle(await bench.running(execution))
    await move_window(bench, 120)
    other = runbook(step(resource="b"), budget={"resources": 1, "window": "1m"})
    await finish(bench, await begun(bench, other))

    assert await bench.claim(execution) is not None
    assert await bench.lock("a") == (execution, "held")


async def test_a_crash_after_the_claim_leaves_no_part_of_the_budget_taken_for_ever(bench: Bench) -> None:
    first, second = [await begun(bench, within(1, f"shard-{n}")) for n in range(2)]
    lost = await bench.running(first)  # and never heard of again
    assert await bench.claim(second) is None

    await bench.expire(lost)
    await bench.tell("abort", AbortExecution(execution_id=first, rationale="its worker is gone"))
    await move_window(bench, 3601)

    assert await bench.claim(second) is not None


async def test_whoever_waits_for_a_budget_is_ended_by_abort_and_by_the_deadline(bench: Bench) -> None:
    await finish(bench, await begun(bench, within(1, "shard-0")))
    aborted, late = [await begun(bench, within(1, f"shard-{n}")) for n in (1, 2)]
    for execution in (aborted, late):
        assert await bench.claim(execution) is None

    await bench.tell("abort", AbortExecution(execution_id=aborted, rationale="by hand, then"))
    await due(bench, "deadline")

    assert (await states_of(bench, [aborted, late])) == ["aborted", "failed"]
    assert (await bench.show(late))["reason"] == "deadline_exceeded"
    await move_window(bench, 3601)
    assert await bench.sweeper.rehint() == []


# ── the cool-down ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_resource_rests_after_a_successful_change(bench: Bench) -> None:
    first = await begun(bench, resting())
    await finish(bench, first)
    second = await begun(bench, resting())

    assert await bench.claim(second) is None

    shown = await bench.show(second)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "cooldown")
    [waits] = shown["waits_for"]
    assert f"execution {first} has changed shard, which rests for 30m, until " in waits["detail"]
    assert await bench.lock() is None
    await move_window(bench, 1800)
    assert len(await bench.sweeper.rehint()) == 1
    assert await bench.claim(second) is not None


async def test_a_change_that_failed_needs_no_rest(bench: Bench) -> None:
    await finish(bench, await begun(bench, resting()), well=False)

    assert await bench.claim(await begun(bench, resting())) is not None


async def test_other_resources_and_other_runbooks_need_not_wait(bench: Bench) -> None:
    await finish(bench, await begun(bench, resting()))

    assert await bench.claim(await begun(bench, resting("other"))) is not None
    assert await bench.claim(await begun(bench, resting(runbook_id="restart"))) is not None


async def test_of_two_workers_that_race_for_a_resource_the_second_finds_it_resting(bench: Bench, rival: Bench) -> None:
    """The lock is let go of with the success: whoever gets it next sees that, however the two meet."""
    for number in range(ROUNDS):
        spec = resting(f"shard-{number}", verify=None)
        executions = [await begun(bench, spec) for _ in range(2)]
        won = await claimed((bench, executions[0]), (rival, executions[1]))
        [running] = [attempt for attempt in won if attempt is not None]
        other = executions[1 - executions.index(running.execution_id)]

        _, *claims = await asyncio.gather(bench.settle(running), *(rival.claim(other) for _ in range(3)))

        assert claims == [None] * 3, number
        assert await rival.claim(other) is None
        assert (await bench.show(other))["blocked_reason"] == "cooldown"


async def test_a_broken_lock_is_no_way_around_a_cool_down(bench: Bench) -> None:
    first = await begun(bench, resting())
    await bench.settle(await bench.running(first))  # verified not yet: it holds the lock
    second = await begun(bench, resting())
    assert await bench.claim(second) is None
    await bench.tell("break_lock", BreakLock(resource_id="shard", rationale="in a hurry"))

    assert await bench.claim(second) is None

    assert (await bench.show(second))["blocked_reason"] == "cooldown"
