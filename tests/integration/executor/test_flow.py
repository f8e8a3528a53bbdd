"""From step to step: conditions, captures, branches, and people who end it."""

from typing import Any

import pytest

from services.executor.commands import AbortExecution, FailExecution
from services.executor.errors import ExecutionEnded
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.samples import CALL, QUESTION, WAIT, check, due, told_step

pytestmark = pytest.mark.stack

# ── conditions, captures, branches ───────────────────────────────────────────────────────────────────────────────────


async def test_a_step_whose_condition_is_false_is_skipped_and_that_is_told(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one", when="alert.severity == 'low'"), step("two")))

    assert (await bench.told(execution)) == ["planned", "started", "step_skipped"]
    fact = await bench.fact(execution, "step_skipped")
    assert (fact["step"], fact["reason"]) == ("one", "when_false")
    assert [attempt.path for attempt in await bench.ready(execution)] == ["two"]


async def test_what_a_step_captures_is_rendered_into_a_later_one(bench: Bench) -> None:
    found = check("outputs.status == 200", capture={"owner": "outputs.json.owner", "ids": "outputs.json.ids"})
    body = {"owner": "${{ steps.look.outputs.owner }}", "ids": "${{ steps.look.outputs.ids }}"}
    later = step("later") | {"with": {"method": "POST", "url": "http://127.0.0.1:9/later", "json": body}}
    execution = await bench.execution(runbook(found, later))

    answer = {"status": 200, "json": {"owner": "ada", "ids": [1, 2]}}
    await bench.settle(await bench.running(execution), outputs=answer)

    [attempt] = await bench.ready(execution)
    assert b'"json":{"ids":[1,2],"owner":"ada"}' in attempt.rendered


async def test_a_capture_without_a_value_fails_its_step(bench: Bench) -> None:
    execution = await bench.execution(runbook(check("true", capture={"owner": "outputs.json.owner"}), step()))

    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert told_step(await bench.show(execution), "look")["error_code"] == "capture_failed"


@pytest.mark.parametrize(("goes", "following"), [("continue", "one"), ("two", "two")])
async def test_a_failure_leads_where_the_step_says(bench: Bench, goes: str, following: str) -> None:
    spec = runbook(step("zero", on_failure=goes), step("one", on_success="end"), step("two"))
    execution = await bench.execution(spec)

    await bench.settle(await bench.running(execution), "fail", error_code="status_500")

    assert [attempt.path for attempt in await bench.ready(execution)] == [following]
    assert (await bench.told(execution))[-1] == "step_failed"


async def test_on_success_end_leaves_the_rest_out(bench: Bench) -> None:
    execution = await bench.execution(runbook(check("true", on_success="end"), step("two"), verify=None))

    await bench.settle(await bench.running(execution), outputs={"status": 200})

    shown = await bench.show(execution)
    assert (shown["state"], shown["reason"], len(shown["steps"])) == ("completed", "done", 1)


# ── people end it ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [WAIT, QUESTION, CALL], ids=["wait", "approval", "manual"])
@pytest.mark.parametrize(("verb", "ended"), [("abort", "aborted"), ("fail", "failed")])
async def test_an_execution_that_waits_is_ended_by_a_word(
    bench: Bench, first: dict[str, Any], verb: str, ended: str
) -> None:
    execution = await bench.execution(runbook(first, step()))
    question = {"abort": AbortExecution, "fail": FailExecution}[verb]

    answer = await bench.tell(verb, question(execution_id=execution, rationale="we were wrong"))

    assert (answer["state"], answer["blocked_reason"]) == (ended, None)
    fact = await bench.fact(execution, ended)
    assert fact["rationale"] == "we were wrong"
    assert (await bench.show(execution))["steps"][0]["state"] == "cancelled"
    assert await bench.database.pool.fetchval("SELECT count(*) FROM timer WHERE state = 'set'") == 0
    await due(bench, "wait")
    if first is QUESTION:
        await Approver(bench).grant(execution)
    assert await bench.ready() == []
    with pytest.raises(ExecutionEnded):
        await bench.tell(verb, question(execution_id=execution, rationale="again"))


async def test_a_running_step_is_told_to_stop_and_keeps_its_resource_until_it_has(bench: Bench) -> None:
    execution = await bench.execution()
    running = await bench.running(execution)

    answer = await bench.tell("fail", FailExecution(execution_id=execution, rationale="we were wrong"))

    assert (answer["state"], answer["reason"]) == ("failed", "failed_by_person")
    [row] = await bench.attempts(execution)
    assert (row["state"], row["cancel_requested"]) == ("running", True)
    assert await bench.lock() == (execution, "held")
    await bench.settle(running, "fail", error_code="cancelled")
    assert await bench.lock() is None
