"""Steps that are verified by themselves, and probes of steps of which nobody knows whether they took effect."""

from typing import Any

from libs.runbook.effects import AskProbe, CancelTimer, KeepRollback, PublishFact, SetTimer
from libs.runbook.facts import AlertObserved, Probed, StepDecided, StepSucceeded, StepUnknown, TimerFired
from libs.runbook.rendering import render_probe
from tests.unit.runbook.samples import runbook
from tests.unit.runbook.test_composite_rules import faults
from tests.unit.runbook.test_composites import Play

VERIFY = {"verify": {"alert": "resolved", "within": "60s"}}
PROBE = {"action": "http.request", "with": {"url": "http://t/state"}, "took_effect": "outputs.done == true"}
UNSAFE: dict[str, Any] = {"id": "a", "effect": "unsafe", "resource": "r", "probe": PROBE}
LOST = StepUnknown("a", 1, "lease_lost")


def doubtful(**more: Any) -> Play:
    return Play(runbook({**UNSAFE, **more}, {"id": "b"}, **VERIFY))(LOST)


def test_in_doubt_the_probe_is_asked_and_a_person_sees_the_doubt() -> None:
    play = doubtful()

    assert AskProbe("a", 1, 1) in play.new
    assert play.frame.blocked_reason == "unknown"
    assert play.told == ["step_unknown", "blocked"]


def test_a_probe_that_saw_the_effect_ends_the_doubt() -> None:
    play = doubtful()(Probed("a", 1, {"done": True}))

    assert play.asked == ["b"]
    assert play.frame.step_runs[0].outputs == {"done": True}


def test_a_probe_that_saw_none_fails_the_step_which_may_be_tried_again() -> None:
    once = doubtful()(Probed("a", 1, {"done": False}))
    again = Play(runbook({**UNSAFE, "effect": "keyed", "retry": {"attempts": 2}}, **VERIFY))(LOST)

    assert (once.ended, once.frame.step_runs[0].error_code) == (("failed", "step_failed"), "no_effect")
    assert again(Probed("a", 1, {"done": False})).frame.step_runs[0].waits_for("retry")


def test_a_probe_without_an_answer_is_asked_three_times() -> None:
    play = doubtful()
    for number in (2, 3):
        play(Probed("a", 1, None))
        assert SetTimer("probe", "a#1#1", 10.0) in play.new
        play(TimerFired("probe", "a#1#1"))
        assert AskProbe("a", 1, number) in play.new

    play(Probed("a", 1, None))(TimerFired("probe", "a#1#1"))

    assert play.new == ()
    assert play.frame.blocked_reason == "unknown"


def test_an_answer_that_says_nothing_leaves_it_to_a_person() -> None:
    play = doubtful()(Probed("a", 1, {}))

    assert play.frame.blocked_reason == "unknown"
    assert "the probe:" in play.frame.step_runs[0].message
    assert play(StepDecided("a", 1, "succeeded", "ada", "seen")).asked == ["b"]


def test_a_person_is_not_bound_to_wait_for_the_probe() -> None:
    play = doubtful()(StepDecided("a", 1, "failed", "ada", "seen"))

    assert play(Probed("a", 1, {"done": True})).new == ()


def test_a_probe_takes_no_lock_and_changes_nothing() -> None:
    play = doubtful()
    probe = render_probe(play.spec, "a", play.known.scope(play.frame, path="a"))

    assert (probe.path, probe.effect, probe.resource, probe.tags_url) == ("a?", "read", None, None)


def test_a_probe_is_checked_like_any_step() -> None:
    bad = {**PROBE, "with": {"url": "${{ inputs.x }}"}, "took_effect": "outputs.done == true && steps.b.outputs.x == 1"}
    found = faults(runbook({**UNSAFE, "probe": bad}, {"id": "b"}, **VERIFY))

    assert [line.split(": ")[0] for line in found] == ["steps[0].probe.with.url", "steps[0].probe.took_effect"]
    assert faults(runbook({"id": "a", "probe": PROBE})) == [
        "steps[0].probe: does not fit effect: read, which changes nothing"
    ]


# ── a step that is verified by itself ────────────────────────────────────────────────────────────────────────────

OWN = {"id": "a", "effect": "keyed", "resource": "r", "verify": {"alert": "resolved", "within": "30s"}}
BACK = {"rollback": {"action": "http.request"}}


def test_a_step_succeeds_when_the_alert_ends_after_it() -> None:
    play = Play(runbook({**OWN, **BACK}, {"id": "b"}))(StepSucceeded("a", 1))

    assert play.asked == []
    assert SetTimer("timeout", "a#1#1", 30.0) in play.new
    assert [effect.number for effect in play.new if isinstance(effect, KeepRollback)] == [1]
    play(AlertObserved(firing=False))
    assert play.asked == ["b"]
    assert CancelTimer("timeout", "a#1#1") in play.new
    assert play.frame.kept == 1


def test_a_step_after_which_the_alert_goes_on_has_failed() -> None:
    play = Play(runbook(OWN, {"id": "b"}))(StepSucceeded("a", 1), TimerFired("timeout", "a#1#1"))

    assert (play.ended, play.frame.step_runs[0].error_code) == (("failed", "step_failed"), "verification_failed")


def test_an_alert_that_has_ended_verifies_at_once() -> None:
    assert Play(runbook(OWN, {"id": "b"}))(AlertObserved(firing=False), StepSucceeded("a", 1)).asked == ["b"]


def test_a_result_that_comes_again_while_it_is_verified_changes_nothing() -> None:
    play = Play(runbook(OWN, {"id": "b"}))(StepSucceeded("a", 1))

    assert play(StepSucceeded("a", 1)).new == ()


def test_what_is_taken_back_is_not_verified_any_more() -> None:
    from libs.runbook.facts import RollbackRequested

    spec = runbook({"id": "a", "effect": "keyed", "resource": "r", **BACK}, **VERIFY)
    play = Play(spec)(StepSucceeded("a", 1))(RollbackRequested("ada", "no"))

    assert CancelTimer("verify_due", "") in play.new
    assert play(AlertObserved(firing=False)).frame.state == "running"
    assert [e.type for e in play.done("rollback:1").new if isinstance(e, PublishFact)][-1] == "failed"
