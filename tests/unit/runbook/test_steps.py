"""The types of steps, conditions, captures and branches by example: short histories and what they lead to."""

from collections.abc import Sequence
from typing import Any

import pytest

from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import (
    AskPerson,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    PublishFact,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    Fact,
    FailRequested,
    Started,
    StepCompletedByPerson,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StepUnknown,
    TimerFired,
)
from libs.runbook.frame import Frame, StepRun
from libs.runbook.known import Known
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import occasion, runbook

VERIFY = {"verify": {"alert": "resolved", "within": "60s"}}
START = Started(alert_firing=True)
ANSWER = {"status": 200, "json": {"p99": 700, "hosts": ["x", "y"]}}
NEXT: dict[str, Any] = {"id": "b"}


def after(spec: Runbook, *facts: Fact, **inputs: Any) -> tuple[Frame, Sequence[Effect]]:
    """The frame after these facts, and the effects of the last one."""
    known = Known(inputs, occasion())
    frame, _ = advance(spec, Frame(), facts[:-1], known)
    return advance(spec, frame, facts[-1:], known)


def published(effects: Sequence[Effect]) -> list[str]:
    return [effect.type for effect in effects if isinstance(effect, PublishFact)]


def state_of(frame: Frame, path: str) -> tuple[str, str]:
    run = frame.run(path, 1)
    assert run is not None
    return run.state, run.error_code


def current(frame: Frame) -> StepRun:
    assert frame.current is not None
    return frame.current


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────────

CHECK = {"id": "a", "type": "check", "action": "http.request", "expect": "outputs.status == 200"}


def test_a_check_asks_for_its_action() -> None:
    _, effects = after(runbook(CHECK), START)

    assert effects[-1] == RunAction("a", 1, attempt=1, attempt_limit=1)


def test_a_check_succeeds_when_what_was_answered_is_as_expected() -> None:
    frame, effects = after(runbook(CHECK, NEXT), START, StepSucceeded("a", 1, ANSWER))

    assert state_of(frame, "a") == ("succeeded", "")
    assert effects[-1] == RunAction("b", 1, attempt=1, attempt_limit=1)


def test_a_check_fails_when_what_was_answered_is_not_as_expected() -> None:
    frame, effects = after(runbook(CHECK, NEXT), START, StepSucceeded("a", 1, {"status": 503}))

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "check_failed"))
    assert published(effects) == ["step_failed", "failed"]
    assert current(frame).outputs == {"status": 503}


def test_a_check_that_does_not_hold_is_tried_again_within_its_limit() -> None:
    spec = runbook({**CHECK, "retry": {"attempts": 2, "delay": "2s"}})

    waiting, effects = after(spec, START, StepSucceeded("a", 1, {"status": 503}))
    done, _ = advance(spec, waiting, [TimerFired("retry", "a#1#1"), StepSucceeded("a", 1, ANSWER)])

    assert effects[-1] == SetTimer("retry", "a#1#1", 2.0)
    assert done.state == "completed"


def test_what_is_expected_but_missing_is_an_error_and_not_false() -> None:
    frame, _ = after(runbook({**CHECK, "retry": {"attempts": 3}}), START, StepSucceeded("a", 1, {}))

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "condition_error"))
    assert "outputs.status" in current(frame).message


def test_a_check_without_an_action_looks_at_what_is_known() -> None:
    spec = runbook({"id": "a", "type": "check", "expect": "inputs.go && alert.severity == 'high'"}, inputs=GO)

    assert after(spec, START, go=True)[0].state == "completed"
    assert state_of(after(spec, START, go=False)[0], "a") == ("failed", "check_failed")


def test_two_hundred_checks_in_a_row_need_no_deep_stack() -> None:
    steps = [{"id": f"s{number}", "type": "check", "expect": "inputs.go"} for number in range(200)]

    assert after(runbook(*steps, inputs=GO), START, go=True)[0].state == "completed"


# ── notify, wait ─────────────────────────────────────────────────────────────────────────────────────────────────────

GO = {"go": {"type": "boolean"}}


def test_a_notification_is_an_action_that_changes_nothing_of_the_matter() -> None:
    spec = runbook({"id": "a", "type": "notify", "channel": "ops", "message": "hello"}, {"id": "b", "effect": "keyed"})

    frame, effects = after(spec, START)
    told, _ = advance(spec, frame, [StepSucceeded("a", 1)])

    assert effects[-1] == RunAction("a", 1, attempt=1, attempt_limit=1)
    assert needs_firing(spec, told, "b")


@pytest.mark.parametrize(
    ("time", "inputs", "seconds"),
    [
        ({"for": "90s"}, {}, 90.0),
        ({"seconds": 2}, {}, 2.0),
        ({"for": "${{ inputs.n }}m"}, {"n": 2}, 120.0),
        ({"seconds": "${{ inputs.n }}"}, {"n": 7}, 7.0),
        ({"seconds": "${{ inputs.n * 60 }}"}, {"n": 7}, 420.0),
    ],
)
def test_a_wait_sets_a_timer_and_is_no_block(time: Any, inputs: Any, seconds: float) -> None:
    spec = runbook({"id": "a", "type": "wait", **time}, NEXT, inputs={"n": {"type": "integer"}})

    frame, effects = after(spec, START, **inputs)

    assert effects[-1] == SetTimer("wait", "a#1#0", seconds)
    assert (frame.state, frame.blocked_reason, current(frame).waiting_for) == ("running", None, "wait")


@pytest.mark.parametrize(
    ("time", "value", "says"),
    [
        ({"for": "${{ inputs.n }}m"}, 0, "for: must be a whole number and a unit"),
        ({"for": "${{ inputs.n }}h"}, 200, "for: is longer than seven days"),
        ({"seconds": "${{ inputs.n }}"}, 0, "seconds: must be a whole number from 1 to 604800"),
        ({"seconds": "${{ inputs.n }}"}, 604_801, "seconds: must be a whole number from 1 to 604800"),
        ({"seconds": "${{ inputs.n }}s"}, 5, "seconds: must be a whole number from 1 to 604800"),
        ({"seconds": "${{ inputs.n == 5 }}"}, 5, "seconds: must be a whole number from 1 to 604800"),
        ({"seconds": "${{ inputs.m }}"}, 5, "inputs.m"),
    ],
)
def test_a_time_that_is_none_fails_the_step(time: Any, value: int, says: str) -> None:
    frame, _ = after(runbook({"id": "a", "type": "wait", **time}, inputs={"n": {"type": "integer"}}), START, n=value)

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "render_refused"))
    assert says in current(frame).message


WAIT = {"id": "a", "type": "wait", "for": "90s"}


def test_a_wait_ends_when_its_time_has_come() -> None:
    frame, effects = after(runbook(WAIT, NEXT), START, TimerFired("wait", "a#1#0"))

    assert state_of(frame, "a") == ("succeeded", "")
    assert effects[-1] == RunAction("b", 1, attempt=1, attempt_limit=1)


@pytest.mark.parametrize("end", [AbortRequested("ada", "enough"), FailRequested("ada", "hopeless")])
def test_whoever_ends_the_execution_ends_the_wait(end: Fact) -> None:
    frame, effects = after(runbook(WAIT, NEXT), START, end)

    assert frame.terminal
    assert CancelTimer("wait", "a#1#0") in effects
    assert not any(isinstance(effect, CancelAction) for effect in effects)


def test_the_deadline_ends_a_wait() -> None:
    frame, effects = after(runbook(WAIT, NEXT), START, TimerFired("deadline", ""))

    assert (frame.state, frame.reason) == ("failed", "deadline_exceeded")
    assert CancelTimer("wait", "a#1#0") in effects


def test_the_result_of_an_action_means_nothing_to_a_wait() -> None:
    before, _ = after(runbook(WAIT), START)

    late: list[Fact] = [StepStarted("a", 1), StepSucceeded("a", 1), StepFailed("a", 1, "x"), StepUnknown("a", 1, "x")]
    assert advance(runbook(WAIT), before, late) == (before, ())


# ── manual ───────────────────────────────────────────────────────────────────────────────────────────────────────────

MANUAL = {
    "id": "a",
    "type": "manual",
    "instructions": "Look at ${{ inputs.shard }}",
    "form": {"p99": {"type": "integer", "label": "Milliseconds"}, "note": {"required": False}},
}
SHARD: dict[str, Any] = {"inputs": {"shard": {}}}
FILLED = StepCompletedByPerson("a", 1, "succeeded", "ada", "s3://x", {"p99": 4})


def test_a_manual_step_shows_a_person_what_to_do_and_blocks() -> None:
    frame, effects = after(runbook(MANUAL, **SHARD), START, shard="s1")

    form = {
        "p99": {"type": "integer", "label": "Milliseconds", "required": True, "one_of": []},
        "note": {"type": "string", "label": "note", "required": False, "one_of": []},
    }
    assert effects[-2:] == (
        AskPerson("a", 1, "Look at s1", form),
        PublishFact("blocked", {"reason": "person", "path": "a"}),
    )
    assert (frame.state, frame.blocked_reason, frame.phase) == ("blocked", "person", "apply")


def test_what_a_person_fills_in_becomes_the_outputs() -> None:
    frame, effects = after(runbook(MANUAL, NEXT, **SHARD), START, FILLED, shard="s1")

    assert published(effects) == ["unblocked", "step_completed"]
    told = effects[1].data  # type: ignore[union-attr]
    assert (told["decided_by_person"], told["actor"], told["evidence_ref"]) == (True, "ada", "s3://x")
    assert frame.run("a", 1).outputs == {"p99": 4}  # type: ignore[union-attr]


def test_a_person_may_say_that_it_failed() -> None:
    failed = StepCompletedByPerson("a", 1, "failed", "ada")

    frame, effects = after(runbook(MANUAL, **SHARD), START, failed, shard="s1")

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "failed_by_person"))
    assert effects[0].data["actor"] == "ada"  # type: ignore[union-attr]


def test_a_completion_that_does_not_fit_the_form_changes_nothing() -> None:
    spec = runbook({**MANUAL, "evidence": "required"}, **SHARD)
    before, _ = after(spec, START, shard="s1")

    for values, evidence in (
        ({}, "s3://x"),
        ({"p99": "4"}, "s3://x"),
        ({"p99": 4, "x": 1}, "s3://x"),
        ({"p99": 4}, ""),
    ):
        fact = StepCompletedByPerson("a", 1, "succeeded", "ada", evidence, values)
        assert advance(spec, before, [fact]) == (before, ())


def test_a_step_is_completed_once_and_only_a_manual_one() -> None:
    spec = runbook(MANUAL, NEXT, **SHARD)
    done, _ = after(spec, START, FILLED, shard="s1")

    assert advance(spec, done, [FILLED]) == (done, ())
    assert advance(spec, done, [StepCompletedByPerson("b", 1, "succeeded", "ada")]) == (done, ())


def test_nobody_completing_it_in_time_fails_the_step() -> None:
    spec = runbook({**MANUAL, "timeout": "5m"}, **SHARD)

    waiting, effects = after(spec, START, shard="s1")
    frame, _ = advance(spec, waiting, [TimerFired("timeout", "a#1#0")])

    assert SetTimer("timeout", "a#1#0", 300.0) in effects
    assert state_of(frame, "a") == ("failed", "timeout")


def test_a_completed_step_has_no_timeout_any_more() -> None:
    _, effects = after(runbook({**MANUAL, "timeout": "5m"}, NEXT, **SHARD), START, FILLED, shard="s1")

    assert CancelTimer("timeout", "a#1#0") in effects


def test_instructions_that_have_no_value_fail_the_step() -> None:
    frame, effects = after(runbook(MANUAL, **SHARD), START)

    assert state_of(frame, "a") == ("failed", "render_refused")
    assert not any(isinstance(effect, AskPerson) for effect in effects)


# ── when, capture, on_success, on_failure ────────────────────────────────────────────────────────────────────────────


def test_a_step_whose_condition_is_false_is_left_out_and_the_next_one_comes() -> None:
    spec = runbook({"id": "a", "when": "inputs.go"}, NEXT, inputs=GO)

    frame, effects = after(spec, START, go=False)

    assert state_of(frame, "a") == ("skipped", "when_false")
    told = PublishFact("step_skipped", {"path": "a", "visit": 1, "attempt": 0, "reason": "when_false"})
    assert effects[-2:] == (told, RunAction("b", 1, attempt=1, attempt_limit=1))


def test_a_step_whose_condition_is_true_is_begun() -> None:
    _, effects = after(runbook({"id": "a", "when": "inputs.go"}, inputs=GO), START, go=True)

    assert effects[-1] == RunAction("a", 1, attempt=1, attempt_limit=1)


def test_leaving_out_the_last_step_ends_the_execution_as_done() -> None:
    frame, effects = after(runbook({"id": "a", "when": "inputs.go"}, inputs=GO), START, go=False)

    assert (frame.state, frame.reason) == ("completed", "done")
    assert PublishFact("completed", {"verified": "none", "skipped": ["a"]}) in effects


@pytest.mark.parametrize("when", ["inputs.other == 1", "alert.labels.zone == 'z'", "inputs.n / 0 == 1", "inputs.n"])
def test_a_condition_without_a_boolean_value_fails_the_step(when: str) -> None:
    spec = runbook({"id": "a", "when": when}, inputs={"n": {"type": "integer"}})

    frame, effects = after(spec, START, n=1)

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "condition_error"))
    assert not any(isinstance(effect, RunAction) for effect in effects)


def test_a_condition_sees_the_outputs_of_earlier_steps() -> None:
    spec = runbook({"id": "a"}, {"id": "b", "when": "steps.a.outputs.json.p99 > 500"}, {"id": "c"})

    frame, _ = after(spec, START, StepSucceeded("a", 1, ANSWER))
    other, _ = after(spec, START, StepSucceeded("a", 1, {"json": {"p99": 3}}))

    assert (current(frame).path, current(other).path) == ("b", "c")


def test_captured_values_join_the_outputs() -> None:
    spec = runbook({"id": "a", "capture": {"p99": "outputs.json.p99", "many": "size(outputs.json.hosts)"}}, NEXT)

    frame, _ = after(spec, START, StepSucceeded("a", 1, ANSWER))

    assert frame.run("a", 1).outputs == {**ANSWER, "p99": 700, "many": 2}  # type: ignore[union-attr]


def test_a_check_may_judge_what_it_captured() -> None:
    spec = runbook({**CHECK, "capture": {"p99": "outputs.json.p99"}, "expect": "outputs.p99 < 500"})

    assert state_of(after(spec, START, StepSucceeded("a", 1, ANSWER))[0], "a") == ("failed", "check_failed")


@pytest.mark.parametrize("source", ["outputs.missing", "outputs.status / 0", "outputs.nothing"])
def test_what_cannot_be_captured_fails_the_step(source: str) -> None:
    spec = runbook({"id": "a", "capture": {"x": source}, "retry": {"attempts": 3}}, NEXT)

    frame, _ = after(spec, START, StepSucceeded("a", 1, {"status": 200, "nothing": None}))

    assert (frame.state, state_of(frame, "a")) == ("failed", ("failed", "capture_failed"))
    assert "capture.x" in current(frame).message


def test_a_change_whose_capture_failed_was_a_change() -> None:
    step = {"id": "a", "effect": "keyed", "capture": {"x": "outputs.x"}, "on_failure": "continue"}
    spec = runbook(step, {"id": "b", "effect": "keyed"}, **VERIFY)

    frame, _ = after(spec, START, StepSucceeded("a", 1))

    assert not needs_firing(spec, frame, "b")


def test_end_leads_to_the_verification() -> None:
    frame, _ = after(runbook({"id": "a", "on_success": "end"}, NEXT, **VERIFY), START, StepSucceeded("a", 1))

    assert frame.verify_state == "waiting"


def test_a_failure_may_lead_on_as_a_success_does() -> None:
    spec = runbook({"id": "a", "on_failure": "continue", "on_success": "c"}, NEXT, {"id": "c"})

    frame, effects = after(spec, START, StepFailed("a", 1, "refused"))

    assert (frame.state, state_of(frame, "a")) == ("running", ("failed", "refused"))
    assert effects[-1] == RunAction("c", 1, attempt=1, attempt_limit=1)


def test_a_failure_of_the_last_step_that_continues_leads_to_the_verification() -> None:
    frame, _ = after(runbook({"id": "a", "on_failure": "continue"}, **VERIFY), START, StepFailed("a", 1, "refused"))

    assert (frame.state, frame.verify_state) == ("running", "waiting")


def test_a_failure_may_lead_to_a_step_of_its_own() -> None:
    spec = runbook({"id": "a", "on_failure": "c", "on_success": "end"}, NEXT, {"id": "c"})

    _, effects = after(spec, START, StepFailed("a", 1, "refused"))

    assert effects[-1] == RunAction("c", 1, attempt=1, attempt_limit=1)


def test_on_failure_comes_after_the_last_attempt() -> None:
    spec = runbook({"id": "a", "on_failure": "continue", "retry": {"attempts": 2}}, NEXT)
    passing = StepFailed("a", 1, "timeout", retryable=True)

    waiting, _ = after(spec, START, passing)
    frame, _ = advance(spec, waiting, [TimerFired("retry", "a#1#1"), passing])

    assert (current(waiting).waiting_for, current(frame).path) == ("retry", "b")


def test_after_the_deadline_nothing_leads_on() -> None:
    spec = runbook({"id": "a", "on_failure": "continue"}, NEXT)

    frame, _ = after(spec, START, StepStarted("a", 1), TimerFired("deadline", ""), StepFailed("a", 1, "refused"))

    assert (frame.state, frame.reason) == ("failed", "deadline_exceeded")


def test_any_step_may_require_a_firing_alert() -> None:
    spec = runbook({"id": "a", "effect": "keyed"}, {**WAIT, "id": "b", "requires_firing": True}, **VERIFY)

    frame, _ = after(spec, START, StepStarted("a", 1), AlertObserved(firing=False), StepSucceeded("a", 1))

    assert (frame.state, state_of(frame, "b")) == ("completed", ("skipped", ""))


# ── a person ends it ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_person_fails_the_execution() -> None:
    frame, effects = after(runbook({"id": "a"}), START, StepStarted("a", 1), FailRequested("ada", "hopeless"))

    assert (frame.state, frame.reason, frame.run("a", 1).state) == (  # type: ignore[union-attr]
        "failed",
        "failed_by_person",
        "cancelled",
    )
    said = {"reason": "failed_by_person", "path": "a", "actor": "ada", "rationale": "hopeless"}
    assert effects == (
        CancelAction("a", 1, attempt=1),
        CancelTimer("deadline", ""),
        PublishFact("failed", said),
        Finish("failed", "failed_by_person"),
    )


def test_an_execution_can_be_failed_before_it_starts_and_never_twice() -> None:
    frame, effects = after(runbook({"id": "a"}), FailRequested("ada", "no"), AbortRequested("ada", "no"))

    assert (frame.state, effects) == ("failed", ())
