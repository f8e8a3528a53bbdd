"""What users of other systems complain of in single executions, as acceptance tests: each is named after a complaint.

Those about places, locks and queues are in `test_peers.py`.
"""

import asyncio
import uuid

import pytest

from services.executor.commands import (
    AbortExecution,
    ChooseForStep,
    PauseExecution,
    ResumeExecution,
    RetryExecution,
    TerminateExecution,
)
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.integration.executor.samples import RISKY, due, told_step
from tests.integration.executor.test_composites import plain, reading

pytestmark = pytest.mark.stack
WHY = "It is not wanted any more."


async def test_a_dead_runner_leaves_no_run_running_for_ever(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="keyed")))
    await bench.expire(await bench.running(execution))

    again = await bench.running(execution, "worker-2")

    assert again.attempt == 2
    await bench.settle(again)
    assert states(await bench.attempts(execution)) == ["failed", "succeeded"]


async def test_force_ends_a_run_that_nothing_else_ends(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="unsafe")))
    await bench.running(execution)

    await bench.tell("terminate", TerminateExecution(execution_id=execution, rationale=WHY))

    assert (await bench.show(execution))["state"] == "aborted"
    assert await bench.lock() is None


async def test_one_row_that_is_stuck_stops_nobody_else(bench: Bench) -> None:
    stuck = await bench.execution(runbook(step(resource="one")))
    await bench.running(stuck)
    await bench.database.pool.execute(
        "UPDATE action_log SET lease_until = clock_timestamp() + interval '1 year' WHERE execution_id = $1",
        uuid.UUID(stuck),
    )

    other = await bench.execution(runbook(step(resource="two")))
    await bench.settle(await bench.running(other))

    assert states(await bench.attempts(other)) == ["succeeded"]


@pytest.mark.parametrize("command", [AbortExecution, TerminateExecution])
async def test_killing_a_paused_run_ends_it_and_resumes_nothing(
    bench: Bench, command: type[AbortExecution] | type[TerminateExecution]
) -> None:
    execution = await bench.execution(plain(reading("a"), reading("b")))
    await bench.tell("pause", PauseExecution(execution_id=execution, rationale=WHY))

    verb = "abort" if command is AbortExecution else "terminate"
    await bench.tell(verb, command(execution_id=execution, rationale=WHY))

    assert (await bench.show(execution))["state"] == "aborted"
    assert await bench.ready(execution) == []
    assert set(states(await bench.attempts(execution))) == {"cancelled"}


async def test_a_run_that_is_paused_between_steps_goes_on_where_it_was(bench: Bench) -> None:
    execution = await bench.execution(plain(reading("a"), reading("b")))
    running = await bench.running(execution)
    await bench.tell("pause", PauseExecution(execution_id=execution, rationale=WHY))
    await bench.settle(running)
    assert await bench.ready(execution) == []

    await bench.tell("resume", ResumeExecution(execution_id=execution, rationale=WHY))

    assert [attempt.path for attempt in await bench.ready(execution)] == ["b"]


async def test_an_action_that_is_hinted_to_everybody_is_carried_out_once(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="unsafe")))

    found = await asyncio.gather(*(bench.claim(execution, f"worker-{number}") for number in range(8)))

    assert sum(attempt is not None for attempt in found) == 1


async def test_a_remediation_does_not_run_on_what_was_resolved(bench: Bench) -> None:
    execution = await bench.execution(runbook(step()), incident="0190a0de-0000-7000-8000-000000000077")
    await bench.ends("0190a0de-0000-7000-8000-000000000077")

    assert await bench.claim(execution) is None
    assert (await bench.show(execution))["state"] == "completed"
    assert "running" not in states(await bench.attempts(execution))


async def test_a_second_question_does_not_hang_behind_the_first(bench: Bench, grace: Approver) -> None:
    questions = {
        name: [
            {"id": f"ask-{name}", "type": "approval", "prompt": "?", "expires": "1h"},
            {key: value for key, value in reading(f"do-{name}").items() if value is not None},
        ]
        for name in ("a", "b")
    }
    execution = await bench.execution(plain({"id": "both", "type": "parallel", "branches": questions}))

    await grace.grant(execution)  # the question that was asked last

    assert [attempt.path for attempt in await bench.ready(execution)] == ["both/b/do-b"]
    assert told_step(await bench.show(execution), "both/a/ask-a")["waiting_for"] == "approval"


async def test_on_failure_it_waits_for_a_person_who_may_try_again(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(on_failure="ask")))
    await bench.settle(await bench.running(execution), "fail", error_code="refused")
    assert (await bench.show(execution))["blocked_reason"] == "choice"

    choice = ChooseForStep(execution_id=execution, step="fix", choice="retry", rationale="It was mended.")
    await bench.tell("choose", choice)
    await bench.settle(await bench.running(execution))

    assert told_step(await bench.show(execution), "fix")["state"] == "succeeded"


async def test_a_rerun_begins_at_the_step_that_failed(bench: Bench) -> None:
    execution = await bench.execution(plain(reading("a"), reading("b")))
    await bench.settle(await bench.running(execution), outputs={"n": 1})
    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    again = await bench.tell("retry", RetryExecution(execution_id=execution, rationale="It was mended."))

    assert [attempt.path for attempt in await bench.ready(again["execution_id"])] == ["b"]


async def test_an_approval_that_nobody_answers_is_a_no(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook(RISKY))

    await grace.expire(execution)

    assert (await bench.show(execution))["state"] == "failed"
    assert await bench.attempts(execution) == []


async def test_a_failure_stops_what_comes_after_it(bench: Bench) -> None:
    execution = await bench.execution(plain(reading("a"), reading("b")))

    await bench.settle(await bench.running(execution), "fail", error_code="refused")

    assert (await bench.show(execution))["state"] == "failed"
    assert [row["path"] for row in await bench.attempts(execution)] == ["a"]


async def test_a_pending_retry_survives_every_restart(bench: Bench) -> None:
    patient = reading("a", retry={"attempts": 2, "delay": "1h", "max_delay": "1h"})
    execution = await bench.execution(plain(patient))
    await bench.settle(await bench.running(execution), "fail", error_code="timeout", retryable=True)

    await due(bench, "retry")  # by timers that were made only now

    assert (await bench.running(execution)).attempt == 2


async def test_a_new_version_of_a_runbook_changes_nothing_that_is_under_way(bench: Bench) -> None:
    execution = await bench.execution(plain(reading("a"), reading("b")))
    await bench.settle(await bench.running(execution))

    other = await bench.execution(plain(reading("c"), id="mend"))

    assert [attempt.path for attempt in await bench.ready(execution)] == ["b"]
    assert [attempt.path for attempt in await bench.ready(other)] == ["c"]
