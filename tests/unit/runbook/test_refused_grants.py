"""A grant of something else than a step would do begins nothing: the step waits on, says why, and asks once more."""

from dataclasses import replace

import pytest

from libs.runbook.advance import advance
from libs.runbook.effects import PublishFact, RequestApproval, RunAction
from libs.runbook.facts import (
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    GrantRefused,
    StepFailed,
    StepHeld,
    StepSucceeded,
)
from libs.runbook.frame import Frame
from libs.runbook.known import Known
from tests.unit.runbook.samples import occasion
from tests.unit.runbook.test_approvals import GRANTED, PLAN, SPEC, START, after, asks_for_an_action, published, run_of

STALE = GrantRefused("a", 1, "old", "approval_other_plan", "It is for another plan.", "p" * 64, "a" * 64)
REFUSED = {
    "detail": "It is for another plan.",
    "refused_code": "approval_other_plan",
    "refused_approval_id": "old",
    "refused_plan_hash": "p" * 64,
    "refused_action_hash": "a" * 64,
}


def test_the_step_waits_on_and_asks_and_tells_both() -> None:
    asked, first = after(SPEC, START)
    frame, effects = advance(SPEC, asked, [STALE], Known(facts=occasion()))

    question, told = effects
    assert isinstance(question, RequestApproval)
    assert question == next(effect for effect in first if isinstance(effect, RequestApproval))
    assert told == PublishFact("blocked", {**first[-1].data, **REFUSED})  # type: ignore[union-attr]
    run = run_of(frame)
    assert (frame.state, frame.blocked_reason, run.waiting_for) == ("blocked", "approval", "approval")
    assert (run.error_code, run.message, run.refused) == ("approval_other_plan", "It is for another plan.", "old")
    assert (run.approval_id, run.failures, run.attempts) == ("", 0, 0)


def test_an_approval_step_asks_about_the_plan_again() -> None:
    frame, effects = after(PLAN, START, replace(STALE, path="ask"))

    assert published(effects) == ["blocked"]
    assert [effect.of for effect in effects if isinstance(effect, RequestApproval)] == ["plan"]
    assert (frame.state, run_of(frame, "ask").error_code) == ("blocked", "approval_other_plan")


def test_the_same_refusal_again_says_nothing_new() -> None:
    frame, _ = after(SPEC, START, STALE)

    assert advance(SPEC, frame, [STALE]) == (frame, ())


def test_another_refusal_is_told_too() -> None:
    _, effects = after(SPEC, START, STALE, replace(STALE, approval_id="older"))

    assert published(effects) == ["blocked"]


def test_the_grant_of_what_is_asked_goes_on_and_clears_the_reason() -> None:
    frame, effects = after(SPEC, START, STALE, GRANTED)

    assert asks_for_an_action(effects)
    assert (run_of(frame).error_code, run_of(frame).message, run_of(frame).approval_id) == ("", "", "x")


def test_the_end_of_what_was_refused_ends_nothing_and_that_of_the_question_does() -> None:
    frame, _ = after(SPEC, START, STALE)

    assert advance(SPEC, frame, [ApprovalDenied("a", 1, "old", "revoked", "bob", "stale")]) == (frame, ())
    ended, _ = advance(SPEC, frame, [ApprovalDenied("a", 1, "new", "expired")])
    assert run_of(ended).error_code == "approval_expired"


@pytest.mark.parametrize(
    "facts", [(GRANTED,), (GRANTED, StepHeld("a", 1, "lock")), (GRANTED, StepSucceeded("a", 1)), (GRANTED, STALE)]
)
def test_what_does_not_wait_for_a_grant_is_not_concerned(facts: tuple[Fact, ...]) -> None:
    frame, _ = after(SPEC, START, *facts)

    assert advance(SPEC, frame, [STALE]) == (frame, ())


def test_when_the_alert_has_ended_nobody_is_asked_again() -> None:
    frame, effects = after(SPEC, START, AlertObserved(firing=False), STALE)

    assert (frame.state, run_of(frame).state) == ("completed", "skipped")
    assert "blocked" not in published(effects)


def test_an_action_that_cannot_be_rendered_any_more_fails() -> None:
    frame, effects = after(SPEC, START, STALE, StepFailed("a", 1, "render_refused", "no such output"))

    assert (frame.state, run_of(frame).error_code) == ("failed", "render_refused")
    assert not any(isinstance(effect, RunAction) for effect in effects)


@pytest.mark.parametrize("why", ["own", "other_plan", "other_action", "used"])
def test_what_can_not_be_asked_again_fails_and_says_why(why: str) -> None:
    denied = ApprovalDenied("a", 1, "x", why, rationale="Begin the runbook again.")  # type: ignore[arg-type]

    frame, _ = after(SPEC, START, denied)

    assert (run_of(frame).error_code, run_of(frame).message) == (f"approval_{why}", "Begin the runbook again.")


def test_a_refusal_is_kept_in_the_frame_and_older_frames_are_read() -> None:
    frame, _ = after(SPEC, START, STALE)
    before, _ = after(SPEC, START)

    assert Frame.from_json(frame.to_json()) == frame
    assert "refused" not in before.to_json()["step_runs"][0]
    assert advance(SPEC, Frame.from_json(frame.to_json()), [ApprovalGranted("a", 1, "new")])[0].state == "running"
