"""The engine by example: each test is a short history and what it must lead to."""

from collections.abc import Sequence
from typing import Any

import pytest

from libs.runbook.advance import ImpossibleFact, advance
from libs.runbook.effects import CancelAction, CancelTimer, Effect, Finish, PublishFact, RunAction, SetTimer
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    Fact,
    Started,
    StepDecided,
    StepFailed,
    StepHeld,
    StepLost,
    StepNotNeeded,
    StepReleased,
    StepStarted,
    StepSucceeded,
    StepUnknown,
    TimerFired,
)
from libs.runbook.frame import Frame
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import runbook

VERIFY = {"verify": {"alert": "resolved", "within": "60s"}}
ONE = runbook({"id": "a", "effect": "keyed", "retry": {"attempts": 3, "delay": "2s", "max_delay": "3s"}}, **VERIFY)
TWO = runbook({"id": "a", "effect": "keyed"}, {"id": "b", "effect": "keyed"}, **VERIFY)
UNSAFE = runbook({"id": "a", "effect": "unsafe"}, **VERIFY)
START = Started(alert_firing=True)
DONE = StepSucceeded("a", 1)
ENDED = AlertObserved(firing=False)
PASSING = StepFailed("a", 1, "timeout", "no answer", retryable=True)
LASTING = StepFailed("a", 1, "refused", "404")


def after(spec: Runbook, *facts: Fact) -> tuple[Frame, Sequence[Effect]]:
    """The frame after these facts, and the effects of the last one."""
    frame, _ = advance(spec, Frame(), facts[:-1])
    return advance(spec, frame, facts[-1:])


def published(effects: Sequence[Effect]) -> list[str]:
    return [effect.type for effect in effects if isinstance(effect, PublishFact)]


def test_a_new_execution_is_pending_and_in_its_plan() -> None:
    assert (Frame().state, Frame().phase, Frame().blocked_reason) == ("pending", "plan", None)


def test_starting_asks_for_the_first_step_and_sets_the_deadline() -> None:
    frame, effects = after(ONE, START)

    assert (frame.state, frame.phase) == ("running", "apply")
    assert effects == (
        PublishFact("started", {}),
        SetTimer("deadline", "", 3600.0),
        RunAction("a", 1, attempt=1, attempt_limit=3),
    )


def test_starting_twice_is_starting_once() -> None:
    frame, effects = after(ONE, START, START)

    assert effects == ()
    assert len(frame.step_runs) == 1


def test_the_next_step_is_asked_for_after_the_one_before_it() -> None:
    _, effects = after(TWO, START, DONE)

    assert published(effects) == ["step_completed"]
    assert effects[-1] == RunAction("b", 1, attempt=1, attempt_limit=1)


def test_on_success_leads_on_to_the_step_it_names() -> None:
    spec = runbook({"id": "a", "on_success": "c"}, {"id": "b"}, {"id": "c"})

    _, effects = after(spec, START, DONE)

    assert effects[-1] == RunAction("c", 1, attempt=1, attempt_limit=1)


def test_outputs_are_kept_with_the_step() -> None:
    frame, _ = after(TWO, START, StepSucceeded("a", 1, {"hosts": ["x"]}))

    assert frame.run("a", 1).outputs == {"hosts": ["x"]}  # type: ignore[union-attr]


def test_the_last_step_leads_to_verification() -> None:
    frame, effects = after(ONE, START, DONE)

    assert (frame.state, frame.phase, frame.verify_state) == ("running", "verify", "waiting")
    assert effects[-1] == SetTimer("verify_due", "", 60.0)


def test_the_alerts_end_completes_the_verification() -> None:
    frame, effects = after(ONE, START, DONE, ENDED)

    assert (frame.state, frame.reason, frame.verify_state) == ("completed", "alert_resolved", "passed")
    assert effects == (
        CancelTimer("deadline", ""),
        CancelTimer("verify_due", ""),
        PublishFact("completed", {"verified": "alert_resolved", "skipped": []}),
        Finish("completed", "alert_resolved"),
    )


def test_an_alert_that_ended_during_the_last_step_needs_no_wait() -> None:
    frame, _ = after(ONE, START, StepStarted("a", 1), ENDED, DONE)

    assert frame.state == "completed"


def test_an_alert_that_goes_on_fails_the_verification() -> None:
    frame, effects = after(ONE, START, DONE, AlertObserved(firing=True), TimerFired("verify_due", ""))

    assert (frame.state, frame.reason, frame.verify_state) == ("failed", "verification_failed", "failed")
    assert effects[-1] == Finish("failed", "verification_failed")


def test_without_verification_the_last_step_completes() -> None:
    frame, effects = after(runbook({"id": "a"}), Started(), DONE)

    assert (frame.state, frame.reason) == ("completed", "done")
    assert PublishFact("completed", {"verified": "none", "skipped": []}) in effects


def test_a_failure_stops_by_default() -> None:
    frame, effects = after(TWO, START, LASTING)

    assert (frame.state, frame.reason) == ("failed", "step_failed")
    assert published(effects) == ["step_failed", "failed"]
    assert effects[0].data["will_retry"] is False  # type: ignore[union-attr]


def test_a_passing_failure_waits_for_its_back_off() -> None:
    frame, effects = after(ONE, START, PASSING)

    assert (frame.state, frame.blocked_reason) == ("running", None)
    assert frame.current.state == "waiting"  # type: ignore[union-attr]
    assert effects[-1] == SetTimer("retry", "a#1#1", 2.0)


def test_the_back_off_doubles_up_to_its_limit() -> None:
    _, effects = after(ONE, START, PASSING, TimerFired("retry", "a#1#1"), PASSING)

    assert effects[-1] == SetTimer("retry", "a#1#2", 3.0)


def test_the_next_attempt_comes_when_its_time_has_come() -> None:
    _, effects = after(ONE, START, PASSING, TimerFired("retry", "a#1#1"))

    assert effects == (RunAction("a", 1, attempt=2, attempt_limit=3),)


def test_the_last_attempts_failure_ends_the_execution() -> None:
    again = TimerFired("retry", "a#1#1"), TimerFired("retry", "a#1#2")

    frame, effects = after(ONE, START, PASSING, again[0], PASSING, again[1], PASSING)

    assert frame.state == "failed"
    assert published(effects) == ["step_failed", "failed"]


def test_a_late_result_while_a_retry_waits_changes_nothing() -> None:
    before, _ = after(ONE, START, PASSING)

    assert advance(ONE, before, [DONE]) == (before, ())


def test_a_lost_worker_costs_an_attempt_but_no_failure() -> None:
    frame, effects = after(TWO, START, StepStarted("a", 1), StepLost("a", 1))

    assert effects[-1] == RunAction("a", 1, attempt=2, attempt_limit=1)
    assert (frame.current.losses, frame.current.failures) == (1, 0)  # type: ignore[union-attr]


def test_a_step_that_is_lost_again_and_again_fails() -> None:
    frame, _ = after(TWO, START, *[StepLost("a", 1)] * 6)

    assert (frame.state, frame.run("a", 1).error_code) == ("failed", "lease_lost")  # type: ignore[union-attr]


def test_an_unsafe_step_that_is_lost_is_unknown() -> None:
    frame, effects = after(UNSAFE, START, StepStarted("a", 1), StepLost("a", 1))

    assert (frame.state, frame.blocked_reason) == ("blocked", "unknown")
    assert published(effects) == ["step_unknown", "blocked"]


def test_a_worker_that_is_lost_before_it_could_tell_that_it_was_let_go_costs_an_attempt() -> None:
    frame, effects = after(ONE, START, StepHeld("a", 1, "lock"), StepLost("a", 1))

    assert (frame.state, frame.current.state) == ("running", "ready")  # type: ignore[union-attr]
    assert published(effects) == ["unblocked", "step_failed"]


@pytest.mark.parametrize(
    ("decision", "state", "facts"),
    [
        ("succeeded", "running", ["unblocked", "step_decided", "step_completed"]),
        ("failed", "failed", ["step_decided", "failed"]),
        ("abort", "aborted", ["step_decided", "aborted"]),
    ],
)
def test_a_person_decides_what_became_of_an_unknown_step(decision: Any, state: str, facts: list[str]) -> None:
    unknown = StepUnknown("a", 1, "connection reset")

    frame, effects = after(UNSAFE, START, unknown, StepDecided("a", 1, decision, "ada", "looked at the router"))

    assert frame.state == state
    assert published(effects) == facts


def test_nobody_can_decide_a_step_that_is_not_unknown() -> None:
    before, _ = after(UNSAFE, START)

    assert advance(UNSAFE, before, [StepDecided("a", 1, "succeeded", "ada", "")]) == (before, ())


def test_a_late_result_resolves_an_unknown_step() -> None:
    frame, effects = after(UNSAFE, START, StepUnknown("a", 1, "connection reset"), DONE)

    assert frame.verify_state == "waiting"
    assert published(effects) == ["unblocked", "step_completed"]


@pytest.mark.parametrize("reason", ["lock", "kill_switch", "paused"])
def test_a_held_step_blocks_the_execution_until_it_is_let_go(reason: Any) -> None:
    held, told = after(ONE, START, StepHeld("a", 1, reason))
    released, effects = advance(ONE, held, [StepReleased("a", 1)])

    assert (held.state, held.blocked_reason) == ("blocked", reason)
    assert told == (PublishFact("blocked", {"reason": reason, "path": "a"}),)
    assert released.state == "running"
    assert effects == (
        PublishFact("unblocked", {"reason": reason, "path": "a"}),
        RunAction("a", 1, attempt=1, attempt_limit=3),
    )


def test_a_claim_lets_go_what_was_held() -> None:
    frame, effects = after(ONE, START, StepHeld("a", 1, "lock"), StepStarted("a", 1))

    assert frame.current.state == "running"  # type: ignore[union-attr]
    assert published(effects) == ["unblocked"]


def test_holding_for_the_same_reason_again_says_nothing() -> None:
    _, effects = after(ONE, START, StepHeld("a", 1, "lock"), StepHeld("a", 1, "lock"))

    assert effects == ()


def test_waiting_for_an_approval_is_the_phase_approval_wait() -> None:
    frame, _ = after(ONE, START, StepHeld("a", 1, "approval"))

    assert (frame.phase, frame.blocked_reason) == ("approval_wait", "approval")


def test_an_alert_that_ended_before_the_first_change_leaves_nothing_to_do() -> None:
    frame, effects = after(TWO, Started(alert_firing=False))

    assert (frame.state, frame.reason) == ("completed", "alert_resolved")
    assert PublishFact("completed", {"verified": "alert_resolved", "skipped": ["a"]}) in effects
    assert not any(isinstance(effect, RunAction) for effect in effects)


def test_the_claim_may_find_that_the_step_is_not_needed() -> None:
    frame, effects = after(TWO, START, StepNotNeeded("a", 1))

    assert (frame.state, frame.run("a", 1).state) == ("completed", "skipped")  # type: ignore[union-attr]
    assert effects[0] == CancelAction("a", 1, attempt=1)


def test_after_the_first_change_the_other_steps_run_though_the_alert_has_ended() -> None:
    _, effects = after(TWO, START, StepStarted("a", 1), ENDED, DONE)

    assert effects[-1] == RunAction("b", 1, attempt=1, attempt_limit=1)


def test_a_step_that_requires_a_firing_alert_is_left_out_once_it_has_ended() -> None:
    spec = runbook({"id": "a", "effect": "keyed"}, {"id": "b", "effect": "keyed", "requires_firing": True}, **VERIFY)

    frame, _ = after(spec, START, StepStarted("a", 1), ENDED, DONE)

    assert (frame.state, frame.run("b", 1).state) == ("completed", "skipped")  # type: ignore[union-attr]


def test_an_abort_withdraws_what_is_under_way() -> None:
    frame, effects = after(TWO, START, StepStarted("a", 1), AbortRequested("ada", "wrong shard"))

    assert (frame.state, frame.run("a", 1).state) == ("aborted", "cancelled")  # type: ignore[union-attr]
    assert effects == (
        CancelAction("a", 1, attempt=1),
        CancelTimer("deadline", ""),
        PublishFact("aborted", {"actor": "ada", "rationale": "wrong shard"}),
        Finish("aborted", "aborted"),
    )


def test_an_aborted_execution_does_not_claim_to_know_what_is_unknown() -> None:
    frame, effects = after(UNSAFE, START, StepUnknown("a", 1, "reset"), AbortRequested("ada", "enough"))

    assert (frame.state, frame.run("a", 1).state) == ("aborted", "unknown")  # type: ignore[union-attr]
    assert not any(isinstance(effect, CancelAction) for effect in effects)


def test_an_execution_can_be_aborted_before_it_starts() -> None:
    frame, effects = after(ONE, AbortRequested("ada", "not today"), START)

    assert (frame.state, effects) == ("aborted", ())


def test_the_deadline_fails_what_has_not_begun() -> None:
    frame, effects = after(ONE, START, StepHeld("a", 1, "lock"), TimerFired("deadline", ""))

    assert (frame.state, frame.reason) == ("failed", "deadline_exceeded")
    assert effects[0] == CancelAction("a", 1, attempt=1)


def test_the_deadline_waits_for_a_step_under_way() -> None:
    waiting, effects = after(TWO, START, StepStarted("a", 1), TimerFired("deadline", ""))
    failed, _ = advance(TWO, waiting, [DONE])

    assert (waiting.state, effects) == ("running", ())
    assert (failed.state, failed.reason) == ("failed", "deadline_exceeded")
    assert failed.run("a", 1).state == "succeeded"  # type: ignore[union-attr]


def test_the_deadline_ends_a_verification() -> None:
    frame, _ = after(ONE, START, DONE, TimerFired("deadline", ""))

    assert (frame.state, frame.reason, frame.verify_state) == ("failed", "deadline_exceeded", "failed")


def test_a_fact_about_a_step_that_was_never_reached_is_a_bug() -> None:
    with pytest.raises(ImpossibleFact, match="step b, visit 1, was never reached"):
        after(TWO, START, StepSucceeded("b", 1))


def test_a_frame_of_another_format_is_refused() -> None:
    with pytest.raises(ValueError, match="format 2"):
        Frame.from_json({**Frame().to_json(), "format": 2})


def test_a_frame_that_the_first_version_stored_goes_on() -> None:
    stored = {
        "format": 1,
        "path": "",
        "state": "running",
        "step_runs": [
            {
                "path": "a",
                "visit": 1,
                "state": "waiting",
                "attempts": 1,
                "failures": 1,
                "losses": 0,
                "waiting_for": "retry",
                "outputs": {},
                "error_code": "timeout",
                "message": "late",
            }
        ],
        "alert_firing": True,
        "verify_state": "none",
        "deadline_passed": False,
        "reason": "",
        "timers": [["deadline", ""], ["retry", "a#1#1"]],
    }

    frame = Frame.from_json(stored)

    assert frame.to_json() == stored
    assert advance(ONE, frame, [TimerFired("retry", "a#1#1")])[1] == (RunAction("a", 1, attempt=2, attempt_limit=3),)
