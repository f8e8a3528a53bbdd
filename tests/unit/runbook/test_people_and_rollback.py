"""What people may ask of an execution under way, and how its changes are taken back."""

from typing import Any

import pytest

from libs.runbook.effects import CancelAction, CancelTimer, KeepRollback, PublishFact, RunAction, SetTimer
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    ApprovalGranted,
    PauseRequested,
    PersonChose,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
    Started,
    StepCompletedByPerson,
    StepFailed,
    StepHeld,
    StepStarted,
    StepSucceeded,
    TimerFired,
)
from libs.runbook.rendering import render_rollback
from tests.unit.runbook.samples import runbook
from tests.unit.runbook.test_composites import READ, Play

PAUSE, RESUME = PauseRequested("ada", "look first"), ResumeRequested("ada", "go on")
BACK = {"action": "http.request", "with": {"to": "${{ outputs.before }}"}}
CHANGE: dict[str, Any] = {"effect": "keyed", "resource": "r", "rollback": BACK}
VERIFY = {"alert": "resolved", "within": "60s"}


def changing(*names: str, **fields: Any) -> Play:
    """A runbook of changes that can be taken back."""
    steps = ({"id": name, **CHANGE} for name in names)
    return Play(runbook(*steps, **{"verify": VERIFY, "on_failed": "rollback", **fields}))


def chose(path: str, choice: str) -> PersonChose:
    return PersonChose(path, 1, choice, "ada", "because")  # type: ignore[arg-type]


# ── a person is asked ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_step_that_asks_waits_for_a_choice_when_it_has_failed() -> None:
    play = Play(runbook({"id": "a", "on_failure": "ask"}, {"id": "b"})).fail("a")

    assert (play.frame.state, play.frame.blocked_reason) == ("blocked", "choice")
    assert play.told == ["step_failed", "blocked"]


@pytest.mark.parametrize(
    ("choice", "asked", "ended"),
    [("retry", ["a"], ("running", "")), ("skip", ["b"], ("running", "")), ("abort", [], ("aborted", "aborted"))],
)
def test_a_choice_is_tried_again_left_out_or_the_end(choice: str, asked: list[str], ended: tuple[str, str]) -> None:
    play = Play(runbook({"id": "a", "on_failure": "ask"}, {"id": "b"})).fail("a")(chose("a", choice))

    assert (play.asked, play.ended) == (asked, ended)
    assert "step_decided" in play.told


def test_tried_again_by_choice_it_has_all_its_tries_again() -> None:
    play = Play(runbook({"id": "a", "on_failure": "ask", "retry": {"attempts": 2}}))
    passing = StepFailed("a", 1, "timeout", "", retryable=True)
    play(passing)(TimerFired("retry", "a#1#1"))(passing)
    assert play.frame.blocked_reason == "choice"

    play(chose("a", "retry"))(passing)

    assert play.frame.step_runs[0].waits_for("retry")


@pytest.mark.parametrize("choice", ["retry", "abort"])
def test_what_was_not_asked_cannot_be_chosen(choice: str) -> None:
    assert Play(runbook({"id": "a"}))(chose("a", choice)).new == ()


def test_a_step_that_has_not_begun_may_be_left_out() -> None:
    play = Play(runbook({"id": "a"}, {"id": "b"}))(chose("a", "skip"))

    assert CancelAction("a", 1, 1) in play.new
    assert play.asked == ["b"]
    assert play.frame.step_runs[0].error_code == "skipped_by_person"


def test_a_wait_may_be_left_out_and_its_timer_goes() -> None:
    play = Play(runbook({"id": "a", "type": "wait", "for": "1h"}, {"id": "b"}))(chose("a", "skip"))

    assert CancelTimer("wait", "a#1#0") in play.new
    assert play.asked == ["b"]


def test_neither_a_step_under_way_nor_an_approval_may_be_left_out() -> None:
    running = Play(runbook({"id": "a"}))(StepStarted("a", 1), chose("a", "skip"))
    approval = Play(runbook({"id": "a", "type": "approval", "prompt": "?"}))(chose("a", "skip"))

    assert running.asked == approval.asked == []
    assert (running.frame.state, approval.frame.state) == ("running", "blocked")


def test_the_right_to_choose_ends_with_the_deadline() -> None:
    play = Play(runbook({"id": "a", "on_failure": "ask"}))(StepStarted("a", 1), TimerFired("deadline", "")).fail("a")

    assert play.ended == ("failed", "step_failed")


# ── pause ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_paused_nothing_begins_and_what_is_under_way_is_let_finish() -> None:
    play = Play(runbook({"id": "a"}, {"id": "b"}))(PAUSE).done("a")

    assert play.asked == []
    assert (play.frame.state, play.frame.blocked_reason) == ("blocked", "paused")
    assert play(RESUME).asked == ["b"]
    assert play.told == ["unblocked", "resumed"]


def test_pausing_twice_is_pausing_once_and_resuming_needs_a_pause() -> None:
    play = Play(runbook({"id": "a"}))(PAUSE)

    assert play(PAUSE).new == ()
    play(RESUME)
    assert play(RESUME).new == ()


def test_a_retry_that_came_due_while_paused_begins_when_it_is_resumed() -> None:
    play = Play(runbook({"id": "a", "retry": {"attempts": 2}}))(StepFailed("a", 1, "timeout", "", retryable=True))
    play(PAUSE)(TimerFired("retry", "a#1#1"))
    assert play.asked == []

    assert play(RESUME).asked == ["a"]
    assert play.frame.step_runs[0].attempts == 2


def test_a_retry_that_is_not_due_when_it_is_resumed_waits_for_its_time() -> None:
    play = Play(runbook({"id": "a", "retry": {"attempts": 2}}))(StepFailed("a", 1, "timeout", "", retryable=True))

    assert play(PAUSE)(RESUME).asked == []
    assert play(TimerFired("retry", "a#1#1")).asked == ["a"]


def test_a_claim_that_was_turned_away_by_a_pause_is_the_same_attempt_afterwards() -> None:
    play = Play(runbook({"id": "a"}))(PAUSE, StepHeld("a", 1, "paused"))(RESUME)

    assert [(e.path, e.attempt) for e in play.new if isinstance(e, RunAction)] == [("a", 1)]


def test_a_grant_that_comes_while_paused_counts_when_it_is_resumed() -> None:
    play = Play(runbook({"id": "a", "approval": {}, "effect": "keyed"}, verify=VERIFY))
    play(PAUSE)(ApprovalGranted("a", 1, "g"))
    assert play.asked == []

    assert play(RESUME).asked == ["a"]
    assert play.frame.step_runs[0].approval_id == "g"


def test_an_abort_ends_what_is_paused() -> None:
    assert Play(runbook({"id": "a"}))(PAUSE)(AbortRequested("ada", "no")).ended == ("aborted", "aborted")


def test_every_branch_stands_still_and_goes_on() -> None:
    branches = {name: [{"id": f"{name}1", **READ}, {"id": f"{name}2", **READ}] for name in "ab"}
    play = Play(runbook({"id": "fan", "type": "parallel", "branches": branches}))(PAUSE).done("fan/a/a1", "fan/b/b1")

    assert play.frame.blocked_reason == "paused"
    assert play(RESUME).asked == ["fan/a/a2", "fan/b/b2"]


# ── waits ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wait_until_a_moment_says_it_in_utc() -> None:
    play = Play(runbook({"id": "a", "type": "wait", "until": "${{ inputs.at }}"}), at="2026-03-01T12:00:00+02:00")

    assert SetTimer("wait", "a#1#0", 0.0, at="2026-03-01T10:00:00Z") in play.new


def test_what_is_no_moment_is_refused() -> None:
    play = Play(runbook({"id": "a", "type": "wait", "until": "${{ inputs.at }}"}), at="tomorrow")

    assert play.frame.step_runs[0].error_code == "render_refused"
    assert "until: must be a moment with an offset" in play.frame.step_runs[0].message


EVENT = {"id": "a", "type": "wait", "event": "drained", "timeout": "5m"}


def test_a_wait_for_an_event_takes_what_it_says() -> None:
    play = Play(runbook(EVENT, {"id": "b", "with": {"x": "${{ steps.a.outputs.left }}"}}))
    assert play.frame.state == "running"
    assert play(SignalReceived("other", {}, "ada")).asked == []

    play(SignalReceived("drained", {"left": 3}, "ada"))

    assert play.asked == ["b"]
    assert CancelTimer("timeout", "a#1#0") in play.new
    assert play.frame.step_runs[0].outputs == {"left": 3}


def test_an_event_that_does_not_come_fails_the_step() -> None:
    play = Play(runbook(EVENT))(TimerFired("timeout", "a#1#0"))

    assert (play.ended, play.frame.step_runs[0].error_code) == (("failed", "step_failed"), "timeout")


def test_the_end_of_the_alert_is_an_event_that_nobody_may_signal() -> None:
    play = Play(runbook({**EVENT, "event": "alert-resolved"}, {"id": "b"}))

    assert play(SignalReceived("alert-resolved", {}, "ada")).asked == []
    assert play(AlertObserved(firing=False)).asked == ["b"]


# ── mode ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_mode_approve_the_plan_is_asked_about_first() -> None:
    play = Play(runbook({"id": "a"}, mode="approve"))

    assert (play.asked, play.frame.phase) == ([], "approval_wait")
    assert play(ApprovalGranted("plan", 1, "g")).asked == ["a"]


def test_a_suggestion_waits_to_be_taken_unless_a_person_asked_for_it() -> None:
    spec = runbook({"id": "a"}, mode="suggest")
    suggested = Play(spec)

    assert (suggested.asked, suggested.frame.blocked_reason) == ([], "person")
    assert suggested(StepCompletedByPerson("begin", 1, "succeeded", "ada")).asked == ["a"]
    taken = Play.__new__(Play)
    taken.spec, taken.known, taken.frame, taken.effects = spec, suggested.known, type(suggested.frame)(), []
    assert taken(Started(by_person=True)).asked == ["a"]


# ── taking back ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_took_effect_is_kept_and_filled_in_at_once() -> None:
    play = changing("a", "b")(StepSucceeded("a", 1, {"before": "x"}))

    assert KeepRollback("a", 1, 1, {"before": "x"}) in play.new
    scope = {**play.known.scope(play.frame, path="a"), "outputs": {"before": "x"}}
    back = render_rollback(play.spec, "a", 1, scope)
    assert (back.path, back.arguments, back.resource) == ("rollback:1", {"to": "x"}, "r")


def test_a_failure_takes_back_what_was_changed_the_last_change_first() -> None:
    play = changing("a", "b", "c").done("a", "b").fail("c")

    assert play.frame.phase == "rollback"
    assert play.told == ["step_failed", "rolling_back"]
    assert play.asked == ["rollback:2"]
    assert play.done("rollback:2").asked == ["rollback:1"]
    play.done("rollback:1")
    assert play.ended == ("failed", "step_failed")
    failed = [e for e in play.new if isinstance(e, PublishFact) and e.type == "failed"]
    assert failed[0].data == {"reason": "step_failed", "path": "c", "rolled_back": 2}


def test_without_anything_to_take_back_a_failure_is_the_end() -> None:
    assert changing("a").fail("a").ended == ("failed", "step_failed")


def test_a_runbook_that_stops_takes_nothing_back_by_itself() -> None:
    assert changing("a", "b", on_failed="stop").done("a").fail("b").ended == ("failed", "step_failed")


def test_what_does_not_help_is_taken_back() -> None:
    play = changing("a").done("a")(TimerFired("verify_due", ""))

    assert (play.asked, play.frame.phase) == (["rollback:1"], "rollback")
    assert play.done("rollback:1").ended == ("failed", "verification_failed")


def test_a_check_that_verifies_and_does_not_hold_is_a_failed_verification() -> None:
    seen = {"id": "seen", "type": "check", "action": "http.request", "expect": "outputs.ok"}
    spec = runbook({"id": "a", **CHANGE}, seen, verify={"checks": ["seen"]})

    good = Play(spec).done("a")(StepSucceeded("seen", 1, {"ok": True}))
    bad = Play(spec).done("a")(StepSucceeded("seen", 1, {"ok": False}))

    assert (good.ended, bad.ended) == (("completed", "done"), ("failed", "verification_failed"))
    assert [e.data["verified"] for e in good.new if isinstance(e, PublishFact) and e.type == "completed"] == ["checks"]


def test_a_person_may_want_it_taken_back_while_a_step_waits_or_runs() -> None:
    waiting = changing("a", "b", on_failed="stop").done("a")(RollbackRequested("ada", "wrong"))
    running = changing("a", "b", on_failed="stop").done("a")(StepStarted("b", 1), RollbackRequested("ada", "wrong"))

    assert waiting.asked == ["rollback:1"]
    assert CancelAction("b", 1, 1) in waiting.new
    assert running.asked == []
    assert running.done("b").asked == ["rollback:2"]
    assert running.done("rollback:2", "rollback:1").ended == ("failed", "rolled_back_by_person")


def test_a_step_that_fails_while_it_is_to_be_taken_back_does_not_end_that() -> None:
    play = changing("a", "b", on_failed="stop").done("a")(StepStarted("b", 1), RollbackRequested("ada", "wrong"))

    assert play.fail("b").asked == ["rollback:1"]


def test_taking_back_that_fails_asks_a_person() -> None:
    play = changing("a", "b", "c").done("a", "b").fail("c").fail("rollback:2")

    assert play.frame.blocked_reason == "choice"
    assert play(chose("rollback:2", "skip")).asked == ["rollback:1"]
    play.done("rollback:1")
    assert play.frame.undone == 1
    assert play.ended == ("failed", "step_failed")


def test_taking_back_goes_on_past_the_deadline_and_ends_with_an_abort() -> None:
    play = changing("a", "b").done("a").fail("b")(TimerFired("deadline", ""))

    assert play.frame.state == "running"
    assert play(AbortRequested("ada", "enough")).ended == ("aborted", "aborted")


def test_of_many_changes_only_those_at_hand_are_kept_in_the_frame() -> None:
    play = changing(*(f"s{n}" for n in range(50)), "last").done(*(f"s{n}" for n in range(50))).fail("last")
    for number in range(50, 1, -1):
        play.done(f"rollback:{number}")

    kept = [(run.path, run.state) for run in play.frame.step_runs if run.path.startswith("rollback:")]
    assert kept == [("rollback:2", "succeeded"), ("rollback:1", "ready")]


def test_changes_inside_a_loop_are_taken_back_too() -> None:
    spec = runbook(
        {"id": "all", "type": "loop", "over": ["x", "y"], "steps": [
            {"id": "do", "type": "action", "action": "http.request", **CHANGE},
        ]},
        {"id": "end-it"}, verify=VERIFY, on_failed="rollback",
    )  # fmt: skip
    play = Play(spec).done("all/0/do", "all/1/do").fail("end-it")

    assert play.asked == ["rollback:2"]
