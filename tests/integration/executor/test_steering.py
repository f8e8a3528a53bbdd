"""What people command while an execution goes on: it is held, goes on, is led elsewhere, or ends by force."""

import asyncio
import uuid
from typing import Any

import pytest

from libs.common.errors import Conflict, RangerError
from services.executor.commands import (
    AbortExecution,
    ChooseForStep,
    PauseExecution,
    ResumeExecution,
    SignalExecution,
    SkipStep,
    TerminateExecution,
)
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.integration.executor.samples import CALL, QUESTION, RISKY, WAIT, check, complete, due, told_step

pytestmark = pytest.mark.stack
WHY = "a drill"
EVENT = {"id": "hear", "type": "wait", "event": "deployed", "timeout": "10m"}


async def pause(bench: Bench, execution: str) -> dict[str, Any]:
    """Hold it."""
    return dict(await bench.tell("pause", PauseExecution(execution_id=execution, rationale=WHY)))


async def resume(bench: Bench, execution: str) -> dict[str, Any]:
    """Let it go on."""
    return dict(await bench.tell("resume", ResumeExecution(execution_id=execution, rationale=WHY)))


async def skip(bench: Bench, execution: str, step_id: str = "fix") -> dict[str, Any]:
    """Leave a step out."""
    return dict(await bench.tell("skip", SkipStep(execution_id=execution, step=step_id, rationale=WHY)))


async def choose(bench: Bench, execution: str, choice: Any, step_id: str = "fix") -> dict[str, Any]:
    """Say how it goes on."""
    command = ChooseForStep(execution_id=execution, step=step_id, choice=choice, rationale=WHY)
    return dict(await bench.tell("choose", command))


async def terminate(bench: Bench, execution: str) -> dict[str, Any]:
    """End it by force."""
    return dict(await bench.tell("terminate", TerminateExecution(execution_id=execution, rationale=WHY)))


async def abort(bench: Bench, execution: str) -> dict[str, Any]:
    """End it."""
    return dict(await bench.tell("abort", AbortExecution(execution_id=execution, rationale=WHY)))


async def refusal(asked: Any) -> Conflict:
    """Why it is refused; both ends are named."""
    with pytest.raises(RangerError) as error:
        await asked
    assert isinstance(error.value, Conflict)
    assert error.value.data["state"] in error.value.detail
    assert error.value.data["target"] in error.value.detail
    assert error.value.fix
    return error.value


# ── pause and resume ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_nothing_of_a_paused_execution_is_claimed_until_it_is_resumed(bench: Bench) -> None:
    execution = await bench.execution()

    answer = await pause(bench, execution)

    assert (answer["state"], answer["blocked_reason"], answer["paused"]) == ("blocked", "paused", True)
    assert await bench.claim(execution) is None
    assert (await bench.attempts(execution))[0]["held_reason"] == "paused"
    await bench.hinted()
    assert not (await resume(bench, execution))["paused"]
    assert len(await bench.hinted()) == 1
    await bench.settle(await bench.running(execution))
    told = await bench.told(execution)
    assert [name for name in told if name in {"paused", "blocked", "unblocked", "resumed", "step_completed"}] == [
        "paused", "blocked", "unblocked", "resumed", "step_completed",
    ]  # fmt: skip
    assert (await bench.fact(execution, "paused"))["rationale"] == WHY


async def test_what_runs_when_it_is_paused_is_let_finish_and_nothing_follows(bench: Bench) -> None:
    execution = await bench.execution(runbook(step("one"), step("two")))
    running = await bench.running(execution)

    answer = await pause(bench, execution)
    await bench.settle(running)

    assert [each["step"] for each in answer["running"]] == ["one"]
    shown = await bench.show(execution)
    assert (told_step(shown, "one")["state"], shown["blocked_reason"]) == ("succeeded", "paused")
    assert await bench.ready(execution) == []
    await resume(bench, execution)
    assert [attempt.path for attempt in await bench.ready(execution)] == ["two"]


async def test_a_claim_that_is_committing_is_waited_for_and_is_told_as_running(bench: Bench) -> None:
    execution = await bench.execution()
    [attempt] = await bench.ready(execution)

    async with bench.database.transaction("claim that commits") as tx:
        await tx.execute("SELECT 1 FROM action_log WHERE action_id = $1 FOR UPDATE", uuid.UUID(attempt.action_id))
        pausing = asyncio.create_task(pause(bench, execution))
        await tx.execute(
            "UPDATE action_log SET state = 'running', fence = 7 WHERE action_id = $1", uuid.UUID(attempt.action_id)
        )
        assert not pausing.done()

    assert [each["step"] for each in (await pausing)["running"]] == ["fix"]


async def test_many_claims_race_with_a_pause_and_none_begins_after_its_answer(bench: Bench) -> None:
    for _ in range(10):
        execution = await bench.execution()

        claimed, answer = await asyncio.gather(bench.claim(execution), pause(bench, execution))

        told = {each["action_id"] for each in answer["running"]}
        assert ({claimed.action_id} if claimed else set()) == told
        await terminate(bench, execution)


async def test_times_go_on_while_it_is_paused_and_what_follows_waits(bench: Bench) -> None:
    execution = await bench.execution(runbook(WAIT, step()))
    await pause(bench, execution)

    await due(bench, "wait")

    shown = await bench.show(execution)
    assert (told_step(shown, "pause")["state"], shown["blocked_reason"]) == ("succeeded", "paused")
    assert await bench.ready(execution) == []


async def test_an_abort_wins_over_a_pause_and_neither_comes_back(bench: Bench) -> None:
    execution = await bench.execution()
    await pause(bench, execution)

    assert (await abort(bench, execution))["state"] == "aborted"

    assert states(await bench.attempts(execution)) == ["cancelled"]
    assert (await refusal(resume(bench, execution))).reason_code == "execution_ended"


async def test_it_is_paused_once_and_resumed_once(bench: Bench) -> None:
    execution = await bench.execution()
    assert (await refusal(resume(bench, execution))).reason_code == "not_paused"
    await pause(bench, execution)
    assert (await refusal(pause(bench, execution))).reason_code == "already_paused"
    assert (await bench.told(execution)).count("paused") == 1


async def test_the_kill_switch_does_not_let_a_paused_action_go(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.switch(engaged=True)
    await bench.claim(execution)
    await pause(bench, execution)
    await bench.claim(execution)

    await bench.switch(engaged=False)

    assert await bench.claim(execution) is None


# ── skip and choose ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_step_that_waits_or_is_ready_is_left_out_with_a_reason(bench: Bench) -> None:
    execution = await bench.execution(runbook(CALL, step("one"), step("two")))

    await skip(bench, execution, "call")
    await skip(bench, execution, "one")

    assert [attempt.path for attempt in await bench.ready(execution)] == ["two"]
    shown = await bench.show(execution)
    assert {name: told_step(shown, name)["state"] for name in ("call", "one")} == dict.fromkeys(
        ("call", "one"), "skipped"
    )
    assert WHY in told_step(shown, "one")["message"]
    decided = await bench.fact(execution, "step_decided")
    assert (decided["decision"], decided["rationale"]) == ("skip", WHY)
    with pytest.raises(Conflict):
        await complete(bench, execution)


async def test_what_is_under_way_or_asks_for_authority_is_not_left_out(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(), step("next")))
    await bench.running(execution)  # the frame does not know of it
    assert (await refusal(skip(bench, execution))).data["state"] == "running"
    assert (await refusal(skip(bench, execution, "next"))).data["state"] == "not_reached"
    asked = await bench.execution(runbook(QUESTION, step(), id="asks"))
    assert (await refusal(skip(bench, asked, "ask"))).reason_code == "step_not_skippable"


async def test_a_step_that_failed_and_asks_is_tried_again_left_out_or_ends_it(bench: Bench) -> None:
    spec = runbook(step(on_failure="ask"), step("next", resource="other"))
    for choice in ("retry", "skip", "abort"):
        execution = await bench.execution(spec)
        await bench.settle(await bench.running(execution), "fail", error_code="no")
        assert (await bench.show(execution))["blocked_reason"] == "choice"

        answer = await choose(bench, execution, choice)

        ready = [(attempt.path, attempt.attempt) for attempt in await bench.ready(execution)]
        expected = {"retry": [("fix", 2)], "skip": [("next", 1)], "abort": []}
        assert ready == expected[choice]
        assert answer["state"] == ("aborted" if choice == "abort" else "running")
        await terminate(bench, execution) if choice != "abort" else None


async def test_a_step_that_was_granted_is_tried_again_under_its_grant(bench: Bench, grace: Approver) -> None:
    execution = await bench.execution(runbook({**RISKY, "on_failure": "ask"}))
    await grace.grant(execution)
    first = await bench.running(execution)
    await bench.settle(first, "fail", error_code="no")

    await choose(bench, execution, "retry")

    again = await bench.running(execution)
    assert (again.attempt, again.idem_key) == (2, first.idem_key)


@pytest.mark.parametrize("first", [{**RISKY, "on_failure": "ask"}, {**QUESTION, "on_failure": "ask"}])
async def test_a_step_that_was_refused_its_grant_asks_anew_when_it_is_tried_again(
    bench: Bench, grace: Approver, first: dict[str, Any]
) -> None:
    execution = await bench.execution(runbook(first, step("next", resource="other")))
    before = await bench.fact(execution, "blocked")
    await grace.reject(execution)

    await choose(bench, execution, "retry", first["id"])

    after = await bench.fact(execution, "blocked")
    assert (after["reason"], after["step_run_id"] != before["step_run_id"]) == ("approval", True)
    await grace.grant(execution)
    assert len(await bench.ready(execution)) == 1


@pytest.mark.parametrize(
    ("kind", "inside"),
    [
        ({"type": "parallel", "branches": {"a": [step("mend")]}}, "fan/a/mend"),
        ({"type": "loop", "over": ["x"], "steps": [step("mend")]}, "fan/0/mend"),
    ],
)
async def test_branches_and_loops_are_tried_again_as_a_whole(bench: Bench, kind: dict[str, Any], inside: str) -> None:
    execution = await bench.execution(runbook({"id": "fan", "on_failure": "ask", **kind}, step("next")))
    first = await bench.running(execution)
    await bench.settle(first, "fail", error_code="no")

    await choose(bench, execution, "retry", "fan")

    again = await bench.running(execution)
    assert ((again.path, again.visit, again.attempt), again.idem_key != first.idem_key) == ((inside, 2, 1), True)
    await bench.settle(again)
    assert [attempt.path for attempt in await bench.ready(execution)] == ["next"]


async def test_nobody_chooses_for_a_step_that_does_not_ask(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(), step("next")))

    assert (await refusal(choose(bench, execution, "retry"))).data["state"] == "ready"
    assert (await refusal(choose(bench, execution, "skip", "next"))).data["state"] == "not_reached"


# ── signals ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_event_that_a_step_waits_for_is_signalled_with_its_data(bench: Bench) -> None:
    url = "http://127.0.0.1:9/${{ steps.hear.outputs.version }}"
    execution = await bench.execution(runbook(EVENT, step() | {"with": {"method": "POST", "url": url}}))
    signal = SignalExecution(execution_id=execution, name="deployed", data={"version": "v7"}, rationale=WHY)

    answer = await bench.tell("signal", signal)

    assert answer["heard"] == ["hear"]
    assert (await bench.told(execution))[-2:] == ["signalled", "step_completed"]
    fact = await bench.fact(execution, "signalled")
    assert (fact["name"], fact["steps"], fact["rationale"]) == ("deployed", ["hear"], WHY)
    [attempt] = await bench.ready(execution)
    assert b"127.0.0.1:9/v7" in attempt.rendered


@pytest.mark.parametrize("name", ["another", "alert-resolved"])
async def test_an_event_that_nobody_waits_for_or_that_is_the_alerts_to_say_is_refused(bench: Bench, name: str) -> None:
    resolved = {"id": "end", "type": "wait", "event": "alert-resolved", "timeout": "10m"}
    execution = await bench.execution(runbook(EVENT if name == "another" else resolved, step()))

    signal = SignalExecution(execution_id=execution, name=name, rationale=WHY)
    assert (await refusal(bench.tell("signal", signal))).reason_code == "signal_unheard"


# ── the end, and what outlives it ────────────────────────────────────────────────────────────────────────────────────


async def test_an_abort_says_what_it_could_only_tell_to_stop_and_the_end_of_that_is_told(bench: Bench) -> None:
    execution = await bench.execution(runbook(step(effect="unsafe")))
    running = await bench.running(execution)

    answer = await abort(bench, execution)
    assert [(each["step"], each["worker_id"]) for each in answer["stopping"]] == [("fix", "worker-1")]
    await bench.settle(running, "doubt", error_code="not_stopped")

    fact = await bench.fact(execution, "step_outlived")
    assert (fact["outcome"], fact["error_code"], fact["step"]) == ("unknown", "not_stopped", "fix")
    assert (await bench.told(execution))[-2:] == ["aborted", "step_outlived"]
    assert await bench.lock() == (execution, "suspect")


@pytest.mark.parametrize(("ending", "outcome"), [("succeed", "took_effect"), ("fail", "stopped")])
async def test_whether_what_was_under_way_could_be_stopped_is_told(bench: Bench, ending: Any, outcome: str) -> None:
    execution = await bench.execution()
    running = await bench.running(execution)
    await abort(bench, execution)

    await bench.settle(running, ending)

    assert (await bench.fact(execution, "step_outlived"))["outcome"] == outcome
    assert await bench.lock() is None


async def test_force_ends_it_frees_its_locks_and_keeps_its_worker_out(bench: Bench) -> None:
    execution = await bench.execution()
    waiting = await bench.execution(runbook(id="other"))
    running = await bench.running(execution)
    await bench.claim(waiting)

    answer = await terminate(bench, execution)

    assert (answer["state"], answer["freed"]) == ("aborted", ["shard"])
    assert [each["step"] for each in answer["unstopped"]] == ["fix"]
    assert [name for name in await bench.told(execution) if name in {"step_unknown", "aborted", "terminated"}] == [
        "step_unknown", "aborted", "terminated",
    ]  # fmt: skip
    fact = await bench.fact(execution, "terminated")
    assert (fact["unstopped"], fact["freed"], fact["rationale"]) == (["fix"], ["shard"], WHY)
    assert await bench.running(waiting)
    await bench.settle(running)
    [row] = await bench.attempts(execution)
    assert (row["state"], row["error_code"], b"succeed" in str(row["late"]).encode()) == ("unknown", "terminated", True)
    assert await bench.lock() == (waiting, "held")


async def test_force_ends_what_waits_for_a_person_for_an_answer_and_what_is_paused(bench: Bench) -> None:
    for number, first in enumerate((CALL, QUESTION, WAIT, check("outputs.status == 200"))):
        execution = await bench.execution(runbook(first, step(), id=f"mend-{number}"))
        if first is WAIT:
            await pause(bench, execution)
        assert (await terminate(bench, execution))["state"] == "aborted"
        assert (await refusal(terminate(bench, execution))).reason_code == "execution_ended"


async def test_what_an_aborted_execution_left_under_way_is_ended_by_force_and_its_state_stays(bench: Bench) -> None:
    execution = await bench.execution()
    await bench.running(execution)
    await abort(bench, execution)
    assert await bench.lock() == (execution, "held")

    answer = await terminate(bench, execution)

    assert (answer["state"], answer["freed"]) == ("aborted", ["shard"])
    assert await bench.lock() is None
    assert (await bench.told(execution))[-1] == "terminated"
