"""Breakers: a runbook that fails again and again on a resource stops changing it, until a person lets it."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from libs.common.clock import utc_now
from libs.common.errors import Denied
from libs.common.ids import new_id
from libs.common.policy import Principal
from libs.common.rpc import Caller
from libs.runbook.spec import Runbook
from services.executor.commands import AbortExecution
from services.executor.errors import BreakerNotOpen
from services.executor.guards.questions import GetBreakers, ResetBreaker
from services.executor.guards.resets import Resets
from services.executor.guards.views import get_breakers
from tests.integration.executor.bench import TENANT, Bench, runbook, step
from tests.integration.executor.guarding import another, begun, claimed, finish, move_window
from tests.integration.executor.samples import due
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
FACTS = "SELECT subject, payload, aggregate_version, headers FROM outbox WHERE aggregate_type = 'breaker' ORDER BY id"
ROUNDS = 10


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second process."""
    async with another(stack_env, bench) as found:
        yield found


def breaking(failures: int = 2, *, resource: str = "shard", runbook_id: str = "mend", **more: Any) -> Runbook:
    """A runbook whose breaker opens after so many failures within an hour."""
    spec = {"breaker": {"failures": failures, "window": "1h"}, **more}
    return runbook(step(resource=resource), id=runbook_id, **spec)


async def reset(bench: Bench, *, resource: str = "shard", caller: Caller | None = None) -> Any:
    """Ada resets a breaker."""
    command = ResetBreaker(runbook_id="mend", resource_id=resource, rationale="the disk was replaced")
    async with bench.database.transaction("reset") as tx:
        answer = await Resets(bench.outbox, bench.hints, utc_now).reset(tx, caller or bench.caller(), command)
    await bench.hints.flush()
    return answer


async def breakers(bench: Bench) -> list[tuple[str, str, str]]:
    """The breakers: state, runbook, resource."""
    async with bench.database.transaction("breakers") as tx:
        found = await get_breakers(tx, bench.caller(), GetBreakers())
    return [(item["state"], item["runbook_id"], item["resource_id"]) for item in found["items"]]


async def test_it_opens_with_the_failure_that_is_one_too_many_and_tells_it(bench: Bench) -> None:
    first, second = [await begun(bench, breaking(resource=f"r{n}")) for n in (0, 0)]
    await finish(bench, first, well=False)
    assert await breakers(bench) == []

    await finish(bench, second, well=False)

    assert await breakers(bench) == [("open", "mend", "r0")]
    [fact] = await bench.database.pool.fetch(FACTS)
    assert fact["subject"] == "runbook.breaker_opened"
    assert second in fact["payload"].decode()


async def test_an_open_one_turns_changes_away_and_waits_for_a_person(bench: Bench) -> None:
    for _ in range(2):
        await finish(bench, await begun(bench, breaking()), well=False)
    waiting = await begun(bench, breaking())

    assert await bench.claim(waiting) is None

    shown = await bench.show(waiting)
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "breaker")
    [waits] = shown["waits_for"]
    assert waits["detail"].startswith("runbook mend has failed 2 times on shard within 1h: find out why, then reset")
    assert waits["until"] is None
    assert await bench.lock() is None
    await bench.database.pool.execute("UPDATE action_log SET hinted_at = hinted_at - interval '1 minute'")
    assert await bench.sweeper.rehint() == []
    await move_window(bench, 7200)  # time alone does not close it
    assert await bench.claim(waiting) is None


async def test_a_person_resets_it_with_a_rationale_and_what_waited_goes_on(bench: Bench) -> None:
    for _ in range(2):
        await finish(bench, await begun(bench, breaking()), well=False)
    waiting = await begun(bench, breaking())
    await bench.claim(waiting)
    await bench.hinted()

    answer = await reset(bench)

    assert (answer["state"], answer["let_go"]) == ("closed", 1)
    assert len(await bench.hinted()) == 1
    assert len(await bench.sweeper.rehint()) <= 1
    assert await bench.claim(waiting) is not None
    assert (await bench.told(waiting))[-2:] == ["blocked", "unblocked"]
    opened, closed = await bench.database.pool.fetch(FACTS)
    assert (opened["aggregate_version"], closed["aggregate_version"]) == (1, 2)
    assert b"the disk was replaced" in closed["payload"]
    assert '"ce-actor": "ada"' in closed["headers"]
    assert await breakers(bench) == [("closed", "mend", "shard")]


async def test_what_failed_before_the_reset_does_not_count_any_more(bench: Bench) -> None:
    for _ in range(2):
        await finish(bench, await begun(bench, breaking()), well=False)
    await reset(bench)
    await finish(bench, await begun(bench, breaking()), well=False)
    assert await breakers(bench) == [("closed", "mend", "shard")]

    await finish(bench, await begun(bench, breaking()), well=False)

    assert await breakers(bench) == [("open", "mend", "shard")]
    versions = [row["aggregate_version"] for row in await bench.database.pool.fetch(FACTS)]
    assert versions == [1, 2, 3]


async def test_one_that_is_not_open_cannot_be_reset(bench: Bench) -> None:
    with pytest.raises(BreakerNotOpen):
        await reset(bench)


async def test_only_who_may_resets_it(bench: Bench) -> None:
    for _ in range(2):
        await finish(bench, await begun(bench, breaking()), well=False)
    viewer = Principal("vic", frozenset({TENANT}), frozenset({"viewer"}))

    with pytest.raises(Denied):
        await reset(bench, caller=Caller(viewer, TENANT, new_id()))

    assert await breakers(bench) == [("open", "mend", "shard")]


async def test_failures_further_apart_than_the_window_do_not_open_it(bench: Bench) -> None:
    await finish(bench, await begun(bench, breaking()), well=False)
    await move_window(bench, 3700)

    await finish(bench, await begun(bench, breaking()), well=False)

    assert await breakers(bench) == []


async def test_another_resource_or_runbook_is_not_concerned(bench: Bench) -> None:
    for _ in range(2):
        await finish(bench, await begun(bench, breaking()), well=False)

    assert await bench.claim(await begun(bench, breaking(resource="other"))) is not None
    assert await bench.claim(await begun(bench, breaking(runbook_id="restart"))) is not None


async def test_a_change_that_did_not_help_is_a_failure_and_an_abort_is_none(bench: Bench) -> None:
    helpless = await begun(bench, breaking(1, resource="a"))
    await bench.settle(await bench.running(helpless))
    await due(bench, "verify_due")
    aborted = await begun(bench, breaking(1, resource="b"))
    await bench.settle(await bench.running(aborted))
    await bench.tell("abort", AbortExecution(execution_id=aborted, rationale="enough"))

    assert await breakers(bench) == [("open", "mend", "a")]


async def test_a_change_that_failed_for_good_counts_although_its_execution_went_on(bench: Bench) -> None:
    spec = runbook(
        step("one", resource="a", on_failure="continue"), step("two", effect="read"),
        breaker={"failures": 1, "window": "1h"}, verify={"alert": "resolved", "within": "60s"},
    )  # fmt: skip
    incident = new_id()
    execution = await bench.execution(spec, incident=incident)
    await bench.settle(await bench.running(execution), "fail", error_code="status_500")
    await bench.settle(await bench.running(execution))
    await bench.ends(incident)

    assert (await bench.show(execution))["state"] == "completed"
    assert await breakers(bench) == [("open", "mend", "a")]


async def test_an_attempt_that_failed_and_was_tried_again_with_success_is_no_failure(bench: Bench) -> None:
    again = {"retry": {"attempts": 2, "backoff": "constant", "delay": "1ms"}}
    spec = runbook(step("one", resource="a", **again), breaker={"failures": 1, "window": "1h"})
    incident = new_id()
    execution = await bench.execution(spec, incident=incident)
    await bench.settle(await bench.running(execution), "fail", error_code="status_503", retryable=True)
    await due(bench, "retry")
    await bench.settle(await bench.running(execution))
    await bench.ends(incident)

    assert (await bench.show(execution))["state"] == "completed"
    assert await breakers(bench) == []


async def test_abort_wins_over_an_open_one(bench: Bench) -> None:
    await finish(bench, await begun(bench, breaking(1)), well=False)
    waiting = await begun(bench, breaking(1))
    await bench.claim(waiting)

    await bench.tell("abort", AbortExecution(execution_id=waiting, rationale="by hand, then"))
    await reset(bench)

    assert (await bench.show(waiting))["state"] == "aborted"
    assert await bench.ready(waiting) == []


async def test_two_processes_that_race_to_open_it_open_it_once(bench: Bench, rival: Bench) -> None:
    for number in range(ROUNDS):
        spec = breaking(1, resource=f"r{number}")
        failing = await begun(bench, spec)
        running = await bench.running(failing)
        waiting = await begun(bench, spec)

        await asyncio.gather(
            bench.settle(running, "fail", error_code="status_500"), *(rival.claim(waiting) for _ in range(3))
        )

        assert await rival.claim(waiting) is None, number
        assert (await bench.show(waiting))["blocked_reason"] == "breaker"
    facts = await bench.database.pool.fetch(FACTS)
    assert [fact["subject"] for fact in facts] == ["runbook.breaker_opened"] * ROUNDS


async def test_of_two_workers_that_race_at_an_open_one_none_begins(bench: Bench, rival: Bench) -> None:
    await finish(bench, await begun(bench, breaking(1)), well=False)
    executions = [await begun(bench, breaking(1)) for _ in range(2)]

    assert await claimed((bench, executions[0]), (rival, executions[1])) == [None, None]


async def test_a_reset_that_meets_a_claim_loses_nobody(bench: Bench, rival: Bench) -> None:
    for number in range(ROUNDS):
        spec = breaking(1, resource=f"r{number}")
        await finish(bench, await begun(bench, spec), well=False)
        waiting = await begun(bench, spec)

        won, _ = await asyncio.gather(rival.claim(waiting), reset(bench, resource=f"r{number}"))

        if won is None:
            # Turned away just before: the reset has let it go, and it is looked at again at once.
            left = await bench.database.pool.fetchval(
                "SELECT held_until <= clock_timestamp() FROM action_log WHERE execution_id::text = $1", waiting
            )
            assert left, number
            assert await rival.claim(waiting) is not None
