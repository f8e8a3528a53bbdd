"""What a runbook's mode puts before its steps: a question about the plan, or a suggestion to be taken."""

import pytest

from services.executor.commands import CompleteStep
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench
from tests.integration.executor.test_composites import plain, reading

pytestmark = pytest.mark.stack


async def test_in_mode_approve_nothing_begins_before_the_plan_is_granted(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(plain(reading("a"), mode="approve"))

    asked = await bench.fact(execution, "blocked")
    assert (asked["reason"], asked["step"], asked["approval_of"]) == ("approval", "plan", "plan")
    assert asked["plan_hash"] == (await bench.show(execution))["plan_hash"]
    assert await bench.ready(execution) == []
    await grace.grant(execution)
    await bench.settle(await bench.running(execution))
    assert (await bench.show(execution))["state"] == "completed"


async def test_in_mode_approve_a_no_is_the_end(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(plain(reading("a"), mode="approve"))

    await grace.reject(execution)

    assert (await bench.show(execution))["state"] == "failed"
    assert await bench.attempts(execution) == []


async def test_a_suggestion_begins_when_somebody_takes_it(bench: Bench) -> None:
    execution = await bench.execution(plain(reading("a"), mode="suggest"))
    shown = await bench.show(execution)
    assert (shown["blocked_reason"], shown["current_step"]) == ("person", "begin")
    assert await bench.ready(execution) == []

    taken = CompleteStep(execution_id=execution, step="begin", outcome="succeeded", approval_ids=[])
    await bench.tell("complete_step", taken)

    assert [attempt.path for attempt in await bench.ready(execution)] == ["a"]


async def test_the_mode_changes_what_a_plan_is(bench: Bench) -> None:
    asking = await bench.execution(plain(reading("a"), mode="approve"))
    quiet = await bench.execution(plain(reading("a"), id="other"))

    hashes = {(await bench.show(execution))["plan_hash"] for execution in (asking, quiet)}

    assert len(hashes) == 2
