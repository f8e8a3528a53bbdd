"""A new execution goes on where another one failed or was aborted: linked, and nothing that stands is done again."""

import asyncio
import uuid
from typing import Any

import pytest

from libs.common.errors import Conflict
from services.executor.claims import Asked
from services.executor.commands import AbortExecution, ChooseForStep, RetryExecution, RollBackExecution
from tests.integration.executor.approver import Approver
from tests.integration.executor.bench import Bench, runbook, step
from tests.integration.executor.samples import CALL, QUESTION, check, complete, due, told_step

pytestmark = pytest.mark.stack
URL = "http://127.0.0.1:9/${{ steps.look.outputs.status }}"
USES = step("use") | {"with": {"method": "POST", "url": URL}}


async def retry(bench: Bench, execution: str, **more: Any) -> dict[str, Any]:
    """Go on with it."""
    command = RetryExecution.model_validate({"execution_id": execution, "rationale": "mended", **more})
    return dict(await bench.tell("retry", command))


async def refusal(bench: Bench, execution: str, **more: Any) -> Conflict:
    """Why it is not retried."""
    with pytest.raises(Conflict) as error:
        await retry(bench, execution, **more)
    assert error.value.data["state"] in error.value.detail
    assert error.value.fix
    return error.value


async def failed(bench: Bench, *steps: dict[str, Any], ending: Any = "fail", **more: Any) -> str:
    """An execution whose steps succeed, but the last one."""
    execution = await bench.execution(runbook(*steps, **more))
    for each in steps[:-1]:
        outputs = {"status": 200} if each["effect"] == "read" else {}
        await bench.settle(await bench.running(execution), outputs=outputs)
    await bench.settle(await bench.running(execution), ending, error_code="no")
    return execution


async def test_it_begins_at_the_step_that_failed_and_what_came_before_is_not_repeated(bench: Bench) -> None:
    look = step("look", effect="read")
    old = await failed(bench, look, step("one"), USES)

    answer = await retry(bench, old)

    new = answer["execution_id"]
    assert (answer["retry_from"], answer["carried"]) == ("use", ["look", "one"])
    [attempt] = await bench.ready(new)
    assert (attempt.path, b"127.0.0.1:9/200" in attempt.rendered) == ("use", True)
    [before] = [row for row in await bench.attempts(old) if row["path"] == "use"]
    assert attempt.idem_key != before["idem_key"]
    await bench.settle(await bench.running(new))
    assert [row["path"] for row in await bench.attempts(new)] == ["use"]


async def test_both_are_linked_and_have_the_same_version_inputs_and_plan(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two"))

    new = (await retry(bench, old))["execution_id"]

    before, after = await bench.show(old), await bench.show(new)
    same = ("runbook_id", "runbook_version", "spec_hash", "plan_hash", "inputs", "incident_id")
    assert {name: before[name] for name in same} == {name: after[name] for name in same}
    planned = await bench.fact(new, "planned")
    assert (planned["retry_of"], planned["retry_from"], planned["rationale"]) == (old, "two", "mended")
    linked = await bench.database.pool.fetchval(
        "SELECT retry_of FROM execution WHERE execution_id = $1", uuid.UUID(new)
    )
    assert str(linked) == old


async def test_it_is_refused_unless_it_has_failed_or_was_aborted_and_only_once(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two"))
    new = (await retry(bench, old))["execution_id"]

    assert (await refusal(bench, new)).reason_code == "not_retryable"
    twice = await refusal(bench, old)
    assert (twice.reason_code, new in twice.detail, new in twice.fix) == ("retried", True, True)


async def test_of_two_that_ask_at_once_one_begins(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two"))

    answers = await asyncio.gather(retry(bench, old), retry(bench, old), return_exceptions=True)

    [refused] = [answer for answer in answers if isinstance(answer, Conflict)]
    assert refused.reason_code == "retried"
    assert await bench.database.pool.fetchval("SELECT count(*) FROM execution WHERE retry_of IS NOT NULL") == 1


async def test_an_aborted_one_goes_on_where_it_stood(bench: Bench) -> None:
    old = await bench.execution(runbook(step("one"), {**CALL, "evidence": "optional"}, step("two", resource="other")))
    await bench.settle(await bench.running(old))
    await bench.tell("abort", AbortExecution(execution_id=old, rationale="not now"))

    new = (await retry(bench, old))["execution_id"]

    assert (await bench.show(new))["blocked_reason"] == "person"
    await complete(bench, new)
    assert [attempt.path for attempt in await bench.ready(new)] == ["two"]


async def test_a_question_about_the_plan_is_asked_again(bench: Bench, grace: Approver) -> None:
    old = await bench.execution(runbook(QUESTION, step("one"), step("two")))
    await grace.grant(old)
    await bench.settle(await bench.running(old))
    await bench.settle(await bench.running(old), "fail", error_code="no")

    new = (await retry(bench, old))["execution_id"]

    assert (await bench.show(new))["blocked_reason"] == "approval"
    await grace.grant(new)
    assert [attempt.path for attempt in await bench.ready(new)] == ["two"]


async def test_what_may_have_taken_effect_is_repeated_only_if_somebody_says_so(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two", effect="unsafe"), ending="doubt")
    await bench.tell("abort", AbortExecution(execution_id=old, rationale="look first"))

    assert (await refusal(bench, old)).reason_code == "retry_in_doubt"

    new = (await retry(bench, old, repeat_unknown=True))["execution_id"]
    assert [attempt.path for attempt in await bench.ready(new)] == ["two"]


async def test_what_is_under_way_is_waited_for(bench: Bench) -> None:
    old = await bench.execution()
    running = await bench.running(old)
    await bench.tell("abort", AbortExecution(execution_id=old, rationale="enough"))

    assert (await refusal(bench, old)).reason_code == "retry_under_way"

    await bench.settle(running, "fail", error_code="cancelled")
    assert (await retry(bench, old))["retry_from"] == "fix"


async def test_the_alert_must_fire_before_the_first_change_of_the_new_one(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two"))
    incident = (await bench.show(old))["incident_id"]
    await bench.ends(incident)

    new = (await retry(bench, old))["execution_id"]

    shown = await bench.show(new)
    assert (shown["state"], shown["reason"]) == ("completed", "alert_resolved")
    assert await bench.attempts(new) == []


async def test_what_was_taken_back_is_done_again(bench: Bench) -> None:
    back = {"action": "http.request", "with": {"method": "POST", "url": "http://127.0.0.1:9/back"}}
    old = await bench.execution(runbook(step("one", rollback=back), step("two"), step("three")))
    await bench.settle(await bench.running(old))
    await bench.settle(await bench.running(old))
    await bench.tell("roll_back", RollBackExecution(execution_id=old, rationale="no help"))
    await bench.settle(await bench.running(old))
    assert (await bench.show(old))["state"] == "failed"

    answer = await retry(bench, old)

    assert answer["carried"] == ["two"]
    assert [attempt.path for attempt in await bench.ready(answer["execution_id"])] == ["one"]


async def test_who_was_told_of_the_failure_is_no_step_of_it(bench: Bench) -> None:
    old = await failed(bench, step("one"), step("two"), escalation={"channels": ["log"]})
    telling = await bench.running(old)
    assert telling.path == "escalate:0"
    assert (await refusal(bench, old)).reason_code == "not_retryable"
    await bench.settle(telling)

    answer = await retry(bench, old)

    assert (answer["retry_from"], answer["carried"]) == ("two", ["one"])


async def test_branches_that_ended_are_carried_and_the_one_that_failed_goes_on(bench: Bench) -> None:
    fan = {
        "id": "fan", "type": "parallel", "failures": "collect",
        "branches": {"a": [step("a1", resource="a")], "b": [step("b1", resource="b"), step("b2", resource="b")]},
    }  # fmt: skip
    old = await bench.execution(runbook(fan))
    for _ in range(2):
        for attempt in await bench.ready(old):
            running, _hints = await bench.claims().claim([Asked(attempt)])
            [found] = running.values()
            await bench.settle(found, "fail" if found.path == "fan/b/b2" else "succeed", error_code="no")

    answer = await retry(bench, old)

    assert (answer["retry_from"], answer["carried"]) == ("fan", ["fan/a/a1", "fan/b/b1"])
    assert [attempt.path for attempt in await bench.ready(answer["execution_id"])] == ["fan/b/b2"]


async def test_of_what_was_tried_again_as_a_whole_the_last_visit_counts(bench: Bench) -> None:
    fan = {"id": "fan", "type": "parallel", "branches": {"a": [step("a1"), step("a2")]}, "on_failure": "ask"}
    old = await bench.execution(runbook(fan))
    await bench.settle(await bench.running(old))
    await bench.settle(await bench.running(old), "fail", error_code="no")
    await bench.tell("choose", ChooseForStep(execution_id=old, step="fan", choice="retry", rationale="mended"))
    await bench.settle(await bench.running(old), "fail", error_code="no")
    await bench.tell("choose", ChooseForStep(execution_id=old, step="fan", choice="abort", rationale="no use"))

    error = await refusal(bench, old)

    assert (error.reason_code, "fan/a/a1" in error.detail) == ("retry_would_repeat", True)


async def test_changes_inside_a_loop_that_would_be_repeated_refuse_it(bench: Bench) -> None:
    loop = {"id": "each", "type": "loop", "over": ["a", "b"], "steps": [step("mend")]}
    old = await bench.execution(runbook(loop))
    await bench.settle(await bench.running(old))
    await bench.settle(await bench.running(old), "fail", error_code="no")

    error = await refusal(bench, old)

    assert (error.reason_code, "each/0/mend" in error.detail) == ("retry_would_repeat", True)


async def test_when_every_step_was_done_there_is_nothing_to_go_on_with(bench: Bench) -> None:
    old = await bench.execution()
    await bench.settle(await bench.running(old))
    await due(bench, "verify_due")
    assert (await bench.show(old))["reason"] == "verification_failed"

    assert "verification_failed" in (await refusal(bench, old)).detail


async def test_a_step_that_was_left_out_and_a_check_that_held_are_shown_as_carried(bench: Bench) -> None:
    known = {"id": "known", "type": "check", "expect": "alert.severity == 'high'"}
    out = step("out", when="alert.severity == 'low'")
    old = await bench.execution(runbook(known, out, check("outputs.status == 200")))
    await bench.settle(await bench.running(old), outputs={"status": 500})

    new = (await retry(bench, old))["execution_id"]

    shown = await bench.show(new)
    assert [told_step(shown, name)["state"] for name in ("known", "out", "look")] == ["succeeded", "skipped", "ready"]
