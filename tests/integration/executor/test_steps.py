"""Every type of step as the executor carries it out: what is asked for, what is told, what follows."""

from typing import Any

import pytest

from libs.common.errors import RangerError
from services.executor.errors import StepNotFound, StepNotManual
from tests.integration.executor.bench import Bench, runbook, states, step
from tests.integration.executor.hands import hands
from tests.integration.executor.samples import CALL, WAIT, check, complete, due, told_step
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_check_that_holds_goes_on_and_takes_no_lock(bench: Bench) -> None:
    execution = await bench.execution(runbook(check("outputs.status == 200"), step()))

    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert [attempt.path for attempt in await bench.ready(execution)] == ["fix"]
    fact = await bench.fact(execution, "step_completed")
    assert (fact["step"], fact["action"], fact["effect"]) == ("look", "http.request", "read")
    assert await bench.lock() is None


async def test_a_check_that_does_not_hold_fails_and_says_what_was_expected(bench: Bench) -> None:
    execution = await bench.execution(runbook(check("outputs.status == 200"), step()))

    await bench.settle(await bench.running(execution), outputs={"status": 503})

    assert (await bench.show(execution))["reason"] == "step_failed"
    fact = await bench.fact(execution, "step_failed")
    assert (fact["error_code"], fact["message"]) == ("check_failed", "expected outputs.status == 200")
    assert states(await bench.attempts(execution)) == ["succeeded"]  # the question was answered; the answer is bad


async def test_a_check_that_does_not_hold_yet_is_asked_again(bench: Bench) -> None:
    again = check("outputs.status == 200", retry={"attempts": 2, "delay": "1s"})
    execution = await bench.execution(runbook(again, step()))
    await bench.settle(await bench.running(execution), outputs={"status": 503})
    assert await bench.ready(execution) == []

    await due(bench, "retry")
    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert [row["attempt"] for row in await bench.attempts(execution)] == [1, 2, 1]
    assert (await bench.told(execution))[-2:] == ["step_failed", "step_completed"]
    assert [attempt.path for attempt in await bench.ready(execution)] == ["fix"]


async def test_a_check_without_a_value_fails_and_is_never_read_as_true(bench: Bench) -> None:
    execution = await bench.execution(runbook(check("outputs.nothing == 200")))

    await bench.settle(await bench.running(execution), outputs={"status": 200})

    assert told_step(await bench.show(execution), "look")["error_code"] == "condition_error"


async def test_a_check_without_an_action_is_decided_from_what_is_known(bench: Bench) -> None:
    known = {"id": "known", "type": "check", "expect": "alert.severity == 'high'"}
    execution = await bench.execution(runbook(known, step()))

    assert [attempt.path for attempt in await bench.ready(execution)] == ["fix"]
    assert (await bench.fact(execution, "step_completed"))["action"] == ""


# ── notify ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_notification_is_carried_out_on_the_channel_log(bench: Bench) -> None:
    tell = {"id": "tell", "type": "notify", "channel": "log", "message": "${{ alert.name }} is being looked at"}
    execution = await bench.execution(runbook(tell))

    async with hands(bench) as worker:
        row = await worker.carry_out(execution)

    assert (row["state"], row["action"], row["effect"]) == ("succeeded", "notify.send", "idempotent")
    assert b"slow is being looked at" in row["rendered"]
    assert told_step(await bench.show(execution), "tell")["outputs"] == {"channel": "log", "delivered": False}


async def test_a_notification_to_a_channel_that_nobody_configured_fails(bench: Bench) -> None:
    tell = {"id": "tell", "type": "notify", "channel": "pager", "message": "Wake up"}
    execution = await bench.execution(runbook({**tell, "on_failure": "continue"}, check("true")))

    async with hands(bench) as worker:
        assert (await worker.carry_out(execution))["error_code"] == "channel_unknown"

    assert [attempt.path for attempt in await bench.ready(execution)] == ["look"]


# ── wait ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wait_is_over_at_its_time_and_not_before_whichever_executor_is_there(bench: Bench) -> None:
    execution = await bench.execution(runbook({**WAIT, "for": "700ms"}, step()))
    shown = await bench.show(execution)
    assert (told_step(shown, "pause")["state"], shown["blocked_reason"]) == ("waiting", None)

    async def another_executor_looks() -> bool:
        return await bench.timers().fire_due() == 1

    await eventually(another_executor_looks)

    row = await bench.database.pool.fetchrow(
        "SELECT timer.state, fired_at - due_at AS late, fired_at - created_at AS waited FROM timer, execution"
        " WHERE kind = 'wait'"
    )
    assert row is not None
    assert row["state"] == "fired"
    assert row["late"].total_seconds() >= 0
    assert row["waited"].total_seconds() >= 0.7
    assert (await bench.told(execution))[-1] == "step_completed"
    assert [attempt.path for attempt in await bench.ready(execution)] == ["fix"]


async def test_a_wait_that_is_not_due_does_not_fire_and_fires_once(bench: Bench) -> None:
    execution = await bench.execution(runbook(WAIT, step()))
    assert await bench.timers().fire_due() == 0

    await due(bench, "wait")

    assert await bench.timers().fire_due() == 0
    assert (await bench.told(execution)).count("step_completed") == 1


async def test_how_long_to_wait_comes_from_an_input(bench: Bench) -> None:
    inputs = {"pause": {"type": "integer", "default": 90}}
    await bench.execution(runbook({"id": "pause", "type": "wait", "seconds": "${{ inputs.pause }}"}, inputs=inputs))

    left = await bench.database.pool.fetchval("SELECT due_at - clock_timestamp() FROM timer WHERE kind = 'wait'")
    assert 60 < left.total_seconds() <= 90


# ── manual ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_manual_step_shows_what_to_do_and_which_fields_to_fill_in(bench: Bench) -> None:
    execution = await bench.execution(runbook(CALL))

    shown = await bench.show(execution)
    asked = told_step(shown, "call")["asked"]
    assert (shown["state"], shown["blocked_reason"]) == ("blocked", "person")
    assert asked["instructions"] == "Call the owner of slow."
    assert asked["form"]["verdict"] == {
        "type": "string", "label": "What they say", "required": False, "one_of": ["fine", "bad"],
    }  # fmt: skip
    assert asked["form"]["reached"]["required"]
    assert (await bench.fact(execution, "blocked"))["reason"] == "person"


async def test_what_a_person_fills_in_is_used_by_a_later_step(bench: Bench) -> None:
    url = "http://127.0.0.1:9/${{ steps.call.outputs.verdict }}"
    report = step("report") | {"with": {"method": "POST", "url": url}}
    execution = await bench.execution(runbook(CALL, report))

    await complete(bench, execution, values={"reached": True, "verdict": "bad", "minutes": 4})

    [attempt] = await bench.ready(execution)
    assert b"http://127.0.0.1:9/bad" in attempt.rendered
    assert (await bench.told(execution))[-2:] == ["unblocked", "step_completed"]
    assert (await bench.fact(execution, "step_completed"))["decided_by_person"]


@pytest.mark.parametrize(
    ("told", "place"),
    [
        ({"values": {}}, "values.reached"),
        ({"values": {"reached": "yes"}}, "values.reached"),
        ({"values": {"reached": 1}}, "values.reached"),
        ({"values": {"reached": True, "minutes": True}}, "values.minutes"),
        ({"values": {"reached": True, "verdict": "maybe"}}, "values.verdict"),
        ({"values": {"reached": True, "mood": "good"}}, "values.mood"),
        ({"evidence_ref": ""}, "evidence_ref"),
    ],
)
async def test_what_does_not_fit_the_form_is_refused_by_name(bench: Bench, told: dict[str, Any], place: str) -> None:
    execution = await bench.execution(runbook(CALL))

    with pytest.raises(RangerError, match=place) as refused:
        await complete(bench, execution, **told)

    assert refused.value.reason_code == "form_faults"
    assert (await bench.show(execution))["blocked_reason"] == "person"


async def test_a_person_who_could_not_do_it_needs_no_evidence_and_the_step_fails(bench: Bench) -> None:
    execution = await bench.execution(runbook(CALL))

    answer = await complete(bench, execution, outcome="failed", evidence_ref="", values={})

    assert (answer["state"], answer["reason"]) == ("failed", "step_failed")
    assert (await bench.fact(execution, "step_failed"))["error_code"] == "failed_by_person"


async def test_only_a_manual_step_that_waits_is_completed_and_only_once(bench: Bench) -> None:
    execution = await bench.execution(runbook(CALL, step("fix")))
    await complete(bench, execution)

    for step_id, state in (("call", "succeeded"), ("fix", "ready")):
        with pytest.raises(StepNotManual) as refused:
            await complete(bench, execution, step=step_id)
        assert (refused.value.data["state"], refused.value.data["target"]) == (state, "succeeded")
    with pytest.raises(StepNotFound):
        await complete(bench, execution, step="nowhere")

    assert (await bench.told(execution)).count("step_completed") == 1


async def test_a_manual_step_that_nobody_completes_in_time_fails_and_late_words_are_refused(bench: Bench) -> None:
    execution = await bench.execution(runbook({**CALL, "timeout": "10m"}))

    await due(bench, "timeout")

    assert told_step(await bench.show(execution), "call")["error_code"] == "timeout"
    with pytest.raises(StepNotManual):
        await complete(bench, execution)


async def test_a_completed_step_times_out_no_more(bench: Bench) -> None:
    execution = await bench.execution(runbook({**CALL, "timeout": "10m"}, step()))
    await complete(bench, execution)

    await due(bench, "timeout")

    assert (await bench.show(execution))["state"] == "running"
