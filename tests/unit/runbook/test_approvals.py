"""Nothing that needs an approval is carried out before it is granted, nor after it does not stand any more."""

from collections.abc import Sequence
from typing import Any

import pytest

from libs.runbook.advance import advance
from libs.runbook.effects import (
    AskPerson,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    PublishFact,
    RequestApproval,
    RunAction,
)
from libs.runbook.facts import (
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    Started,
    StepDecided,
    StepFailed,
    StepHeld,
    StepLost,
    StepReleased,
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
RISKY: dict[str, Any] = {"id": "a", "effect": "keyed", "risk": "high", "retry": {"attempts": 3, "delay": "2s"}}
SPEC = runbook(RISKY, {"id": "b"}, **VERIFY)
PLAN = runbook(
    {"id": "ask", "type": "approval", "prompt": "Go on with ${{ inputs.shard }}?"}, RISKY, inputs={"shard": {}}
)
ASKED = Started(alert_firing=True), ApprovalGranted("ask", 1, "p")
GRANTED = ApprovalGranted("a", 1, "x")
REVOKED = ApprovalDenied("a", 1, "x", "revoked", "bob", "wrong shard")
PLAN_REVOKED = ApprovalDenied("ask", 1, "p", "revoked", "bob", "wrong shard")
PASSING = StepFailed("a", 1, "timeout", "late", retryable=True)


def after(spec: Runbook, *facts: Fact) -> tuple[Frame, Sequence[Effect]]:
    """The frame after these facts, and the effects of the last one."""
    known = Known({"shard": "s1"}, occasion())
    frame, _ = advance(spec, Frame(), facts[:-1], known)
    return advance(spec, frame, facts[-1:], known)


def published(effects: Sequence[Effect]) -> list[str]:
    return [effect.type for effect in effects if isinstance(effect, PublishFact)]


def run_of(frame: Frame, path: str = "a") -> StepRun:
    run = frame.run(path, 1)
    assert run is not None
    return run


def asks_for_an_action(effects: Sequence[Effect]) -> bool:
    return any(isinstance(effect, RunAction) for effect in effects)


def test_a_step_of_high_risk_asks_before_anything_is_done() -> None:
    frame, effects = after(SPEC, START)

    asked = RequestApproval("a", 1, 1, of="action", risk="high", expires_seconds=900.0, prompt="Carry out a?")
    told = {"of": "action", "risk": "high", "expires_seconds": 900.0, "prompt": "Carry out a?", "approvers": []}
    assert effects[-2:] == (asked, PublishFact("blocked", {"reason": "approval", "path": "a", **told}))
    assert (frame.state, frame.phase, frame.blocked_reason) == ("blocked", "approval_wait", "approval")
    assert not asks_for_an_action(effects)


@pytest.mark.parametrize(
    ("step", "fields", "needs"),
    [
        ({"effect": "keyed"}, {}, False),
        ({"effect": "keyed", "risk": "medium"}, {}, False),
        ({"effect": "read", "risk": "high"}, {}, True),
        ({"effect": "keyed", "irreversible": True}, {}, True),
        ({"effect": "read", "approval": {}}, {}, True),
        ({"effect": "keyed"}, {"risk": "high"}, True),
        ({"effect": "keyed", "risk": "low"}, {"risk": "high"}, False),
        ({"effect": "read"}, {"risk": "high"}, False),
        ({"type": "manual", "instructions": "x"}, {"risk": "high"}, True),
        ({"type": "manual", "instructions": "x", "risk": "high"}, {}, True),
        ({"type": "manual", "instructions": "x", "approval": {}}, {}, True),
        ({"type": "manual", "instructions": "x"}, {}, False),
        ({"type": "notify", "channel": "x", "message": "x"}, {"risk": "high"}, False),
        ({"type": "check", "expect": "true"}, {"risk": "high"}, False),
    ],
)
def test_what_needs_an_approval(step: dict[str, Any], fields: dict[str, Any], needs: bool) -> None:
    spec = runbook({"id": "a", **step}, **fields)

    assert spec.needs_approval("a") is needs


def test_what_is_asked_is_what_the_step_says() -> None:
    own = {"prompt": "Reroute ${{ inputs.shard }}?", "expires": "2m", "approvers": ["commander", "owner"]}

    _, effects = after(runbook({"id": "a", "approval": own}, inputs={"shard": {}}), START)

    (asked,) = [effect for effect in effects if isinstance(effect, RequestApproval)]
    assert (asked.prompt, asked.expires_seconds, asked.approvers) == ("Reroute s1?", 120.0, ("commander", "owner"))
    assert (asked.of, asked.risk) == ("action", "low")


def test_a_granted_step_is_ready_and_its_claim_looks_for_the_grant() -> None:
    frame, effects = after(SPEC, START, GRANTED)

    assert effects == (
        PublishFact("unblocked", {"reason": "approval", "path": "a"}),
        RunAction("a", 1, attempt=1, attempt_limit=3, needs_approval=True),
    )
    assert (frame.state, run_of(frame).approval_id) == ("running", "x")


def test_what_needs_no_approval_says_so() -> None:
    _, effects = after(SPEC, START, GRANTED, StepSucceeded("a", 1))

    assert effects[-1] == RunAction("b", 1, attempt=1, attempt_limit=1, needs_approval=False)


def test_a_grant_covers_the_attempts_of_its_step() -> None:
    _, effects = after(SPEC, START, GRANTED, PASSING, TimerFired("retry", "a#1#1"))

    assert effects == (RunAction("a", 1, attempt=2, attempt_limit=3, needs_approval=True),)


def test_a_second_grant_says_nothing_new() -> None:
    frame, _ = after(SPEC, START, GRANTED)

    assert advance(SPEC, frame, [ApprovalGranted("a", 1, "y")]) == (frame, ())


def test_nothing_but_a_grant_lets_a_step_go_that_waits_for_one() -> None:
    frame, _ = after(SPEC, START)

    for fact in (
        StepReleased("a", 1),
        StepHeld("a", 1, "lock"),
        StepStarted("a", 1),
        StepSucceeded("a", 1),
        StepLost("a", 1),
        StepUnknown("a", 1, "reset"),
        StepDecided("a", 1, "succeeded", "ada", ""),
        TimerFired("retry", "a#1#0"),
    ):
        assert advance(SPEC, frame, [fact]) == (frame, ())


@pytest.mark.parametrize("why", ["rejected", "expired", "revoked"])
def test_a_step_that_was_not_granted_fails(why: Any) -> None:
    frame, effects = after(SPEC, START, ApprovalDenied("a", 1, "x", why, "bob", "too risky"))

    assert (frame.state, frame.reason) == ("failed", "step_failed")
    assert (run_of(frame).error_code, run_of(frame).message) == (f"approval_{why}", f"{why} by bob: too risky")
    assert not asks_for_an_action(effects)
    assert not any(isinstance(effect, CancelAction) for effect in effects)


def test_a_step_that_was_not_granted_may_lead_elsewhere() -> None:
    spec = runbook({**RISKY, "on_failure": "c"}, {"id": "b", "on_success": "end"}, {"id": "c"}, **VERIFY)

    _, effects = after(spec, START, ApprovalDenied("a", 1, "x", "expired"))

    assert effects[-1] == RunAction("c", 1, attempt=1, attempt_limit=1)
    assert effects[1].data["will_retry"] is False  # type: ignore[union-attr]


def test_a_revoked_step_that_has_not_begun_is_withdrawn() -> None:
    frame, effects = after(SPEC, START, GRANTED, REVOKED)

    assert effects[0] == CancelAction("a", 1, attempt=1)
    assert published(effects) == ["step_failed", "failed"]
    assert (frame.state, run_of(frame).error_code) == ("failed", "approval_revoked")


def test_a_revoked_step_that_a_lock_holds_is_withdrawn() -> None:
    frame, effects = after(SPEC, START, GRANTED, StepHeld("a", 1, "lock"), REVOKED)

    assert (effects[0], run_of(frame).state) == (CancelAction("a", 1, attempt=1), "failed")


def test_a_revoked_step_is_not_tried_again() -> None:
    frame, effects = after(SPEC, START, GRANTED, PASSING, REVOKED)

    assert CancelTimer("retry", "a#1#1") in effects
    assert (frame.state, run_of(frame).error_code) == ("failed", "approval_revoked")


@pytest.mark.parametrize("end", [PASSING, StepLost("a", 1)])
def test_a_revoked_step_that_is_under_way_is_let_finish_and_not_tried_again(end: Fact) -> None:
    waiting, effects = after(SPEC, START, GRANTED, StepStarted("a", 1), REVOKED)
    done, _ = advance(SPEC, waiting, [StepSucceeded("a", 1)])
    failed, told = advance(SPEC, waiting, [end])

    assert (run_of(waiting).state, effects) == ("running", ())
    assert run_of(done).state == "succeeded"
    assert (failed.state, asks_for_an_action(told)) == ("failed", False)


def test_the_end_of_another_approval_is_none_of_the_steps_business() -> None:
    frame, _ = after(SPEC, START, GRANTED)

    assert advance(SPEC, frame, [ApprovalDenied("a", 1, "y", "revoked", "bob", "")]) == (frame, ())


def test_a_denial_of_a_step_that_has_ended_changes_nothing() -> None:
    frame, _ = after(SPEC, START, GRANTED, StepSucceeded("a", 1))

    assert advance(SPEC, frame, [REVOKED]) == (frame, ())


def test_an_action_that_cannot_be_rendered_cannot_be_asked_about() -> None:
    frame, _ = after(SPEC, START, StepFailed("a", 1, "render_refused", "no such output"))

    assert (frame.state, run_of(frame).error_code) == ("failed", "render_refused")


def test_a_question_that_has_no_text_fails_the_step() -> None:
    spec = runbook({"id": "a", "approval": {"prompt": "${{ inputs.gone }}"}})

    frame, effects = after(spec, START)

    assert (frame.state, run_of(frame).error_code) == ("failed", "render_refused")
    assert not any(isinstance(effect, RequestApproval) for effect in effects)


def test_a_grant_comes_too_late_once_the_alert_has_ended() -> None:
    frame, effects = after(SPEC, START, AlertObserved(firing=False), GRANTED)

    assert (frame.state, run_of(frame).state) == ("completed", "skipped")
    assert not asks_for_an_action(effects)


@pytest.mark.parametrize("why", ["rejected", "expired"])
def test_a_no_comes_too_late_once_the_alert_has_ended(why: Any) -> None:
    frame, effects = after(SPEC, START, AlertObserved(firing=False), ApprovalDenied("a", 1, "x", why))

    assert (frame.state, frame.reason) == ("completed", "alert_resolved")
    assert (run_of(frame).state, run_of(frame).error_code) == ("skipped", "")
    assert not asks_for_an_action(effects)


def test_the_deadline_ends_the_wait_for_an_approval() -> None:
    frame, _ = after(SPEC, START, TimerFired("deadline", ""))

    assert (frame.state, frame.reason) == ("failed", "deadline_exceeded")
    assert advance(SPEC, frame, [GRANTED]) == (frame, ())


def test_a_manual_step_is_shown_only_after_its_approval() -> None:
    spec = runbook({"id": "a", "type": "manual", "instructions": "Pull the plug", "risk": "high"})

    asked, effects = after(spec, START)
    shown, told = advance(spec, asked, [GRANTED])

    assert not any(isinstance(effect, AskPerson) for effect in effects)
    assert AskPerson("a", 1, "Pull the plug") in told
    assert (asked.blocked_reason, shown.blocked_reason) == ("approval", "person")
    assert run_of(advance(spec, shown, [REVOKED])[0]).error_code == "approval_revoked"


# ── the approval of a plan ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_approval_step_asks_about_the_plan() -> None:
    frame, effects = after(PLAN, START)

    asked = RequestApproval("ask", 1, 1, of="plan", risk="low", expires_seconds=900.0, prompt="Go on with s1?")
    assert asked in effects
    assert (frame.phase, frame.blocked_reason) == ("approval_wait", "approval")


def test_a_granted_plan_goes_on() -> None:
    frame, effects = after(PLAN, *ASKED)

    assert published(effects) == ["unblocked", "step_completed", "blocked"]
    assert effects[1].data["decided_by_person"] is True  # type: ignore[union-attr]
    assert (run_of(frame, "ask").outputs, run_of(frame).waiting_for) == ({"approval_id": "p"}, "approval")


def test_a_rejected_plan_stops() -> None:
    frame, _ = after(PLAN, START, ApprovalDenied("ask", 1, "p", "rejected", "bob", "no"))

    assert (frame.state, run_of(frame, "ask").error_code) == ("failed", "approval_rejected")


def test_after_its_approval_is_revoked_nothing_of_the_plan_begins() -> None:
    frame, effects = after(PLAN, *ASKED, GRANTED, PLAN_REVOKED)

    assert (frame.state, frame.reason) == ("failed", "approval_revoked")
    assert effects[0] == CancelAction("a", 1, attempt=1)
    assert effects[-1] == Finish("failed", "approval_revoked")


def test_what_is_under_way_when_the_plan_is_revoked_is_let_finish() -> None:
    spec = runbook({"id": "ask", "type": "approval", "prompt": "?"}, {"id": "a"}, {"id": "b"})

    waiting, _ = after(spec, *ASKED, StepStarted("a", 1), PLAN_REVOKED)
    frame, effects = advance(spec, waiting, [StepSucceeded("a", 1)])

    assert (waiting.state, waiting.revoked) == ("running", True)
    assert (frame.state, frame.reason, run_of(frame).state) == ("failed", "approval_revoked", "succeeded")
    assert not asks_for_an_action(effects)


def test_after_the_last_step_there_is_nothing_left_to_revoke() -> None:
    spec = runbook({"id": "ask", "type": "approval", "prompt": "?"}, {"id": "a"}, **VERIFY)

    frame, _ = after(spec, *ASKED, StepSucceeded("a", 1), PLAN_REVOKED)
    last, _ = after(spec, *ASKED, StepStarted("a", 1), PLAN_REVOKED, StepSucceeded("a", 1))

    assert (frame.verify_state, last.verify_state) == ("waiting", "waiting")


def test_a_used_approval_of_a_plan_does_not_expire() -> None:
    frame, _ = after(PLAN, *ASKED)

    assert advance(PLAN, frame, [ApprovalDenied("ask", 1, "p", "expired")]) == (frame, ())
