"""How many executions live at once: one after the other, one or none, or the newest; raced by two executors."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest

from libs.common.contracts.runbook import RunbookMatched
from libs.common.ids import derived_id, new_id
from libs.runbook.hashing import spec_hash
from services.executor.commands import AbortExecution, RetryExecution
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.guarding import another, begun, finish, limited, queue, seen, settled, states_of
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
RACERS = 12


@pytest.fixture
async def rival(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """A second executor."""
    async with another(stack_env, bench) as found:
        yield found


# ── queue ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_more_waits_pending_with_its_place_in_the_queue(bench: Bench) -> None:
    first, second, third = [await begun(bench, limited()) for _ in range(3)]

    assert await states_of(bench, [first, second, third]) == ["running", "pending", "pending"]
    shown = await bench.show(third)
    assert (shown["phase"], shown["blocked_reason"], shown["steps"]) == ("plan", "queued", [])
    [waits] = shown["waits_for"]
    assert (waits["kind"], waits["name"], waits["position"], waits["held_by"]) == ("place", "storage", 2, [first])
    assert await bench.told(third) == ["planned"]
    assert await bench.ready(third) == []


async def test_the_queue_goes_by_arrival(bench: Bench, rival: Bench) -> None:
    executions = [await begun(bench, limited()) for _ in range(4)]

    for number, execution in enumerate(executions):
        assert (await states_of(bench, executions))[number] == "running"
        await finish(bench, execution, well=False)
        await settled(bench, rival)
        later = await states_of(bench, executions[number + 1 :])
        assert later == ["running", "pending", "pending"][: len(later)]


async def test_of_matches_that_arrive_together_the_first_begins_first(bench: Bench) -> None:
    spec = limited()
    digest = spec_hash(spec.to_json())
    incidents = [new_id() for _ in range(4)]
    for incident in incidents:
        await bench.fires(incident)
    bench.specs[spec.id] = spec
    matches = [
        RunbookMatched(
            match_id=derived_id("match", incident, spec.id), incident_id=incident, runbook_id=spec.id, spec_hash=digest,
            runbook_version=1, alert_name="slow", severity="high", labels={}, annotations={},
        )
        for incident in incidents
    ]  # fmt: skip

    async with bench.database.transaction("hear") as tx:
        await bench.handlers.apply(tx, [bench.message(match) for match in matches])

    executions = [derived_id("execution", match.match_id) for match in matches]
    assert await states_of(bench, executions) == ["running", "pending", "pending", "pending"]
    [place] = (await seen(bench))["places"]
    assert [each["execution_id"] for each in place["queue"]] == executions[1:]


async def test_a_retry_that_found_no_place_is_retried_where_it_would_have_begun(bench: Bench) -> None:
    spec = runbook(step("one"), step("two"), concurrency={"key": "storage", "policy": "reject"})
    old = await begun(bench, spec)
    await bench.settle(await bench.running(old))
    await bench.settle(await bench.running(old), "fail", error_code="status_500")
    other = await begun(bench, spec)
    rejected = (await bench.tell("retry", RetryExecution(execution_id=old, rationale="mended")))["execution_id"]
    assert (await bench.show(rejected))["reason"].endswith(f"held by {other}")
    await bench.tell("abort", AbortExecution(execution_id=other, rationale="enough"))

    answer = await bench.tell("retry", RetryExecution(execution_id=rejected, rationale="there is room now"))

    assert (answer["retry_from"], answer["carried"]) == ("two", ["one"])
    [attempt] = await bench.ready(answer["execution_id"])
    assert attempt.path == "two"


async def test_nobody_overtakes_the_queue_although_a_place_is_free(bench: Bench) -> None:
    first, second = [await begun(bench, limited()) for _ in range(2)]
    await finish(bench, first, well=False)

    third = await begun(bench, limited())

    assert await states_of(bench, [second, third]) == ["pending", "pending"]
    await settled(bench)
    assert await states_of(bench, [second, third]) == ["running", "pending"]


async def test_of_two_executors_that_plan_at_once_no_more_begin_than_there_are_places(
    bench: Bench, rival: Bench
) -> None:
    spec = limited(limit=2)

    executions = await asyncio.gather(*(begun(each, spec) for each in (bench, rival) * (RACERS // 2)))

    states = await states_of(bench, executions)
    assert (states.count("running"), states.count("pending")) == (2, RACERS - 2)


async def test_of_two_executors_that_move_a_queue_at_once_each_place_is_given_once(bench: Bench, rival: Bench) -> None:
    executions = [await begun(bench, limited(limit=2)) for _ in range(RACERS)]

    done = 0
    while done < RACERS:
        running = [
            e for e, state in zip(executions, await states_of(bench, executions), strict=True) if state == "running"
        ]
        assert len(running) == min(2, RACERS - done)
        for execution in running:
            await bench.tell("abort", AbortExecution(execution_id=execution, rationale="enough"))
        done += len(running)
        await asyncio.gather(*(queue(each).move_on() for each in (bench, rival) * 3))

    assert set(await states_of(bench, executions)) == {"aborted"}


async def test_keys_are_shared_between_runbooks_and_apart_from_each_other(bench: Bench) -> None:
    await begun(bench, limited(runbook_id="mend"))
    same = await begun(bench, limited(runbook_id="restart"))
    other = await begun(bench, limited(key="network"))

    assert await states_of(bench, [same, other]) == ["pending", "running"]


async def test_a_key_is_filled_in_for_each_execution(bench: Bench) -> None:
    spec = limited(key="${{ incident.id }}")

    executions = [await begun(bench, spec) for _ in range(2)]

    assert await states_of(bench, executions) == ["running", "running"]


async def test_a_key_without_a_value_refuses_the_plan(bench: Bench) -> None:
    execution = await begun(bench, limited(key="${{ alert.labels.shard }}"))

    shown = await bench.show(execution)
    assert shown["state"] == "failed"
    assert shown["reason"].startswith("plan_refused: concurrency.key: ")


async def test_an_alert_that_ended_in_the_queue_makes_the_change_unneeded(bench: Bench) -> None:
    first, incident = await begun(bench, limited()), str(uuid.uuid4())
    second = await bench.execution(limited(), incident=incident)
    await bench.ends(incident)

    await finish(bench, first, well=False)
    await settled(bench)

    shown = await bench.show(second)
    assert (shown["state"], shown["reason"]) == ("completed", "alert_resolved")


async def test_an_execution_that_ended_holds_its_place_while_something_of_it_runs(bench: Bench) -> None:
    first, second = [await begun(bench, limited()) for _ in range(2)]
    running = await bench.running(first)
    await bench.tell("abort", AbortExecution(execution_id=first, rationale="enough"))
    await settled(bench)
    assert await states_of(bench, [second]) == ["pending"]

    await bench.settle(running, "fail", error_code="cancelled")
    await settled(bench)

    assert await states_of(bench, [second]) == ["running"]


async def test_who_holds_and_who_waits_is_shown(bench: Bench) -> None:
    executions = [await begun(bench, limited(limit=1)) for _ in range(3)]

    [place] = (await seen(bench))["places"]

    assert (place["key"], place["limit"], place["waiting"]) == ("storage", 1, 2)
    assert [holder["execution_id"] for holder in place["holders"]] == executions[:1]
    assert [(each["position"], each["execution_id"]) for each in place["queue"]] == [
        (1, executions[1]),
        (2, executions[2]),
    ]


# ── reject ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_one_more_is_rejected_and_told_who_is_in_the_way(bench: Bench) -> None:
    first, second = [await begun(bench, limited("reject")) for _ in range(2)]

    shown = await bench.show(second)
    assert shown["state"] == "failed"
    assert shown["reason"] == f"rejected: no place is free under 'storage' (limit 1): held by {first}"
    assert await bench.told(second) == ["planned", "failed"]
    assert (await bench.fact(second, "failed"))["reason"] == shown["reason"]
    assert await bench.ready(second) == []


async def test_of_two_executors_that_race_for_the_last_place_one_is_rejected(bench: Bench, rival: Bench) -> None:
    executions = await asyncio.gather(*(begun(each, limited("reject")) for each in (bench, rival) * (RACERS // 2)))

    states = await states_of(bench, executions)
    assert (states.count("running"), states.count("failed")) == (1, RACERS - 1)


async def test_a_match_that_is_reported_again_takes_no_second_place(bench: Bench) -> None:
    incident = str(uuid.uuid4())
    first = await bench.execution(limited("reject"), incident=incident)

    again = await bench.execution(limited("reject"), incident=incident)

    assert again == first
    assert await states_of(bench, [first]) == ["running"]


# ── replace ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_newest_replaces_the_older_one_which_is_aborted_by_the_executor(bench: Bench) -> None:
    first, second = [await begun(bench, limited("replace")) for _ in range(2)]

    await settled(bench)

    assert await states_of(bench, [first, second]) == ["aborted", "running"]
    assert (await bench.fact(first, "aborted"))["rationale"] == f"replaced by execution {second}"
    actor = await bench.database.pool.fetchval(
        "SELECT headers->>'ce-actor' FROM outbox WHERE aggregate_id = $1 AND subject = 'runbook.aborted'", first
    )
    assert actor == "svc_executor"


async def test_whoever_replaces_waits_until_what_it_replaces_has_stopped(bench: Bench) -> None:
    first = await begun(bench, limited("replace"))
    running = await bench.running(first)
    second = await begun(bench, limited("replace"))
    await settled(bench)
    assert await states_of(bench, [first, second]) == ["aborted", "pending"]

    await bench.settle(running, "fail", error_code="cancelled")
    await settled(bench)

    assert await states_of(bench, [second]) == ["running"]
    assert await bench.claim(second) is not None


async def test_of_many_that_replace_each_other_under_two_executors_the_newest_stands(
    bench: Bench, rival: Bench
) -> None:
    executions = await asyncio.gather(*(begun(each, limited("replace")) for each in (bench, rival) * (RACERS // 2)))

    await settled(bench, rival)

    states = await states_of(bench, executions)
    assert (states.count("running"), states.count("aborted")) == (1, RACERS - 1)
    newest = await bench.database.pool.fetchval("SELECT execution_id FROM admission ORDER BY arrival DESC LIMIT 1")
    assert states[executions.index(str(newest))] == "running"
