"""Who is told when an execution has failed."""

from typing import Any

import pytest

from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    FailRequested,
    StepStarted,
    TimerFired,
)
from libs.runbook.rendering import render_action
from tests.unit.runbook.samples import runbook
from tests.unit.runbook.test_composite_rules import faults
from tests.unit.runbook.test_composites import Play

CONTACTS = {"channels": ["on-call", "lead-${{ inputs.team }}"], "message": "Look at ${{ inputs.team }}."}
FIRST, SECOND = "escalate:0", "escalate:1"


def failing(*steps: dict[str, Any], **more: Any) -> Play:
    inputs = {"team": {"default": "a"}}
    return Play(runbook(*(steps or ({"id": "a"},)), escalation=CONTACTS, inputs=inputs, **more), team="a")


def test_each_is_told_before_the_execution_ends() -> None:
    play = failing().fail("a")

    assert (play.asked, play.frame.phase, play.frame.state) == ([FIRST], "escalate", "running")
    assert play.done(FIRST).asked == [SECOND]
    assert play.done(SECOND).ended == ("failed", "step_failed")


def test_what_is_told_is_filled_in() -> None:
    play = failing().fail("a").done(FIRST)
    rendered = render_action(play.spec, SECOND, play.known.scope(play.frame, path=SECOND))

    assert (rendered.action, rendered.arguments) == (
        "notify.send", {"channel": "lead-a", "message": "Look at a.", "severity": "critical"},
    )  # fmt: skip


def test_one_that_cannot_be_told_does_not_keep_the_next_from_it() -> None:
    play = failing().fail("a").fail(FIRST)

    assert play.asked == [SECOND]
    assert play.fail(SECOND).ended == ("failed", "step_failed")


def test_it_is_told_after_what_was_changed_is_taken_back() -> None:
    change = {"effect": "keyed", "resource": "r", "rollback": {"action": "http.request"}}
    verify = {"alert": "resolved", "within": "60s"}
    play = failing({"id": "a", **change}, {"id": "b"}, on_failed="rollback", verify=verify).done("a").fail("b")

    assert play.asked == ["rollback:1"]
    assert play.done("rollback:1").asked == [FIRST]
    assert play.done(FIRST, SECOND).ended == ("failed", "step_failed")


def test_what_waits_ends_and_what_runs_is_let_finish_before_anybody_is_told() -> None:
    waiting = failing({"id": "a", "type": "wait", "for": "1h"})(TimerFired("deadline", ""))
    running = failing()(StepStarted("a", 1), TimerFired("deadline", ""))

    assert (waiting.asked, running.asked) == ([FIRST], [])
    assert running.done("a").asked == [FIRST]
    assert running.done(FIRST, SECOND).ended == ("failed", "deadline_exceeded")


def test_a_failed_verification_is_told() -> None:
    verify = {"alert": "resolved", "within": "60s"}
    play = failing({"id": "a", "effect": "keyed", "resource": "r"}, verify=verify).done("a")(
        TimerFired("verify_due", "")
    )

    assert play.asked == [FIRST]
    assert play(AlertObserved(firing=False)).asked == []
    assert play.done(FIRST, SECOND).ended == ("failed", "verification_failed")


def test_nobody_is_told_of_what_succeeded() -> None:
    assert failing().done("a").ended == ("completed", "done")


@pytest.mark.parametrize(
    ("word", "state"), [(AbortRequested("ada", "no"), "aborted"), (FailRequested("ada", "no"), "failed")]
)
def test_a_person_who_ends_it_knows(word: Any, state: str) -> None:
    assert failing()(word).frame.state == state
    assert failing().fail("a")(word).frame.state == state


def test_only_what_is_known_from_the_beginning_may_be_named() -> None:
    spec = runbook({"id": "a"}, escalation={"channels": ["x"], "message": "${{ steps.a.outputs.y }}"})

    assert [line.split(": ")[0] for line in faults(spec)] == ["escalation.message"]
