"""Branches, iterations and decisions: what begins side by side, and what one that ends decides for the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from libs.runbook.advance import advance
from libs.runbook.effects import CancelAction, Effect, Finish, FrameEnded, KeepItems, PublishFact, RunAction
from libs.runbook.facts import (
    AbortRequested,
    ApprovalGranted,
    Fact,
    PersonChose,
    Started,
    StepDecided,
    StepFailed,
    StepStarted,
    StepSucceeded,
    StepUnknown,
    TimerFired,
)
from libs.runbook.frame import Frame
from libs.runbook.known import Known
from libs.runbook.rendering import render_action
from libs.runbook.spec import Runbook
from tests.unit.runbook.samples import runbook

START = Started()
READ = {"type": "action", "action": "http.request", "effect": "read"}


class Play:
    """An execution that is told one fact after the other."""

    def __init__(self, spec: Runbook, **inputs: Any) -> None:
        self.spec = spec
        self.known = Known(inputs)
        self.frame = Frame()
        self.effects: list[Effect] = []
        self.new: Sequence[Effect] = ()
        self(START)

    def __call__(self, *facts: Fact) -> "Play":
        self.frame, self.new = advance(self.spec, self.frame, facts, self.known)
        self.effects += self.new
        return self

    def done(self, *paths: str) -> "Play":
        for path in paths:
            self(StepSucceeded(path, 1))
        return self

    def fail(self, *paths: str) -> "Play":
        for path in paths:
            self(StepFailed(path, 1, "refused", "404"))
        return self

    @property
    def asked(self) -> list[str]:
        """What was asked for by the last facts."""
        return [effect.path for effect in self.new if isinstance(effect, RunAction)]

    @property
    def told(self) -> list[str]:
        return [effect.type for effect in self.new if isinstance(effect, PublishFact)]

    @property
    def ended(self) -> tuple[str, str]:
        return self.frame.state, self.frame.reason


def fan(**fields: Any) -> Runbook:
    branches = {name: [{"id": f"{name}-1", **READ}, {"id": f"{name}-2", **READ}] for name in "abc"}
    return runbook({"id": "fan", "type": "parallel", "branches": branches, **fields}, {"id": "after"})


def loop(**fields: Any) -> Runbook:
    steps = [{"id": "drain", **READ, "with": {"host": "${{ each.item }}", "n": "${{ each.index }}"}}]
    each = {"id": "each", "type": "loop", "over": ["x", "y", "z", "u", "v"], "concurrency": 2, "steps": steps}
    return runbook({**each, **fields}, {"id": "after"})


def rendered(play: Play, path: str) -> Mapping[str, Any]:
    return render_action(play.spec, path, play.known.scope(play.frame, path=path)).arguments


def test_branches_begin_side_by_side_and_each_is_a_sequence_of_its_own() -> None:
    play = Play(fan())

    assert play.asked == ["fan/a/a-1", "fan/b/b-1", "fan/c/c-1"]
    assert play.done("fan/b/b-1").asked == ["fan/b/b-2"]
    assert play.frame.phase == "apply"


def test_a_parallel_step_succeeds_when_every_branch_has() -> None:
    play = Play(fan()).done(*(f"fan/{name}/{name}-{n}" for name in "ab" for n in (1, 2)), "fan/c/c-1")

    assert play.asked == ["fan/c/c-2"]
    assert play.done("fan/c/c-2").asked == ["after"]
    assert play.frame.children == {}
    assert play.frame.run("fan", 1).outputs == {"total": 3, "succeeded": 3, "failed": 0, "failures": []}  # type: ignore[union-attr]
    assert play.done("after").ended == ("completed", "done")


def test_what_a_branch_answered_is_known_after_it() -> None:
    spec = runbook(
        {"id": "fan", "type": "parallel", "branches": {"a": [{"id": "ask", **READ}]}},
        {"id": "use", "with": {"x": "${{ steps.ask.outputs.size }}"}},
    )
    play = Play(spec)(StepSucceeded("fan/a/ask", 1, {"size": 7}))

    assert rendered(play, "use") == {"x": 7}


def test_one_failure_stops_what_has_not_begun_and_waits_for_what_has() -> None:
    play = Play(fan())(StepStarted("fan/a/a-1", 1)).fail("fan/b/b-1")

    assert CancelAction("fan/c/c-1", 1, 1) in play.new
    assert not any(isinstance(effect, CancelAction) and effect.path == "fan/a/a-1" for effect in play.effects)
    assert play.frame.state == "running"
    play.done("fan/a/a-1")
    assert play.asked == []
    assert play.ended == ("failed", "step_failed")


def test_failures_are_collected_where_the_step_says_so() -> None:
    play = Play(fan(failures="collect")).fail("fan/b/b-1", "fan/a/a-1").done("fan/c/c-1", "fan/c/c-2")

    assert play.ended == ("failed", "step_failed")
    told = [e.data for e in play.effects if isinstance(e, PublishFact) and e.type == "step_failed"][-1:]
    assert [(data["error_code"], data["message"]) for data in told] == [("parts_failed", "2 of 3 failed: b, a")]


def test_any_branch_is_enough_and_the_others_stop() -> None:
    play = Play(fan(join="any"))(StepStarted("fan/c/c-1", 1)).done("fan/a/a-1", "fan/a/a-2")

    assert CancelAction("fan/b/b-1", 1, 1) in play.new
    assert play.asked == []  # one is under way still
    assert play.done("fan/c/c-1").asked == ["after"]


def test_as_many_as_are_asked_for_are_enough_in_spite_of_a_failure() -> None:
    play = Play(fan(join=2)).fail("fan/a/a-1").done("fan/b/b-1", "fan/b/b-2", "fan/c/c-1", "fan/c/c-2")

    assert play.asked == ["after"]


def test_too_many_failures_for_the_number_asked_for_stop_the_rest() -> None:
    play = Play(fan(join=2)).fail("fan/a/a-1", "fan/b/b-1")

    assert play.ended == ("failed", "step_failed")


def test_the_failure_of_a_part_leads_where_the_composite_step_says() -> None:
    spec = runbook(
        {"id": "fan", "type": "parallel", "branches": {"a": [{"id": "x", **READ}]}, "on_failure": "continue"},
        {"id": "after"},
    )

    assert Play(spec).fail("fan/a/x").asked == ["after"]


def test_begun_again_as_a_whole_everything_inside_is_visited_once_more() -> None:
    inner = {"id": "inner", "type": "loop", "over": [1], "steps": [{"id": "do", **READ}], "on_failure": "ask"}
    play = Play(runbook({"id": "outer", "type": "loop", "over": ["p"], "steps": [inner], "on_failure": "ask"}))
    visits = [play.new[-1]]
    for visit in (1, 2):
        play(StepFailed("outer/0/inner/0/do", visit, "refused"))
        play(PersonChose("outer/0/inner", visit, "retry", "ada", "again"))
        visits.append(play.new[-1])

    found = [(effect.path, effect.visit) for effect in visits if isinstance(effect, RunAction)]
    assert found == [("outer/0/inner/0/do", 1), ("outer/0/inner/0/do", 2), ("outer/0/inner/0/do", 3)]
    play(StepSucceeded("outer/0/inner/0/do", 3))
    assert play.ended == ("completed", "done")


def test_a_loop_keeps_to_its_concurrency_and_the_order_of_its_list() -> None:
    play = Play(loop())

    assert play.asked == ["each/0/drain", "each/1/drain"]
    assert play.done("each/1/drain").asked == ["each/2/drain"]
    assert play.done("each/0/drain").asked == ["each/3/drain"]
    assert [rendered(play, path) for path in ("each/2/drain", "each/3/drain")] == [
        {"host": "z", "n": 2}, {"host": "u", "n": 3},
    ]  # fmt: skip
    play.done("each/2/drain", "each/3/drain", "each/4/drain")
    assert play.asked == ["after"]
    assert play.frame.items == {}


def test_a_loop_over_nothing_is_done_at_once() -> None:
    assert Play(loop(over="${{ inputs.hosts }}"), hosts=[]).asked == ["after"]


@pytest.mark.parametrize(("hosts", "why"), [("x", "must be a list"), (["a"] * 3, "holds 3 items; the limit is 2")])
def test_what_cannot_be_looped_over_fails_before_anything_begins(hosts: Any, why: str) -> None:
    play = Play(loop(over="${{ inputs.hosts }}", limit=2), hosts=hosts)

    assert play.asked == []
    assert play.ended == ("failed", "step_failed")
    assert play.frame.step_runs[0].message == f"over: {why}"


def test_what_a_loop_goes_over_is_kept_when_it_begins() -> None:
    play = Play(loop(over="${{ inputs.hosts }}"), hosts=["p", "q"])

    assert [effect.items for effect in play.new if isinstance(effect, KeepItems)] == [["p", "q"]]


def test_a_frame_is_let_go_of_when_it_has_ended() -> None:
    play = Play(loop()).done("each/0/drain")

    ended = [effect.frame for effect in play.new if isinstance(effect, FrameEnded)]
    assert [(frame.path, frame.step_runs[-1].state) for frame in ended] == [("each/0", "succeeded")]
    assert play(StepSucceeded("each/0/drain", 1)).new == ()


def test_ten_thousand_iterations_leave_nothing_behind_but_counts() -> None:
    spec = loop(over="${{ inputs.hosts }}", limit=10_000, concurrency=100)
    play = Play(spec, hosts=list(range(10_000)))
    largest = 0
    for number in range(10_000):
        play.effects.clear()
        play.done(f"each/{number}/drain")
        largest = max(largest, len(play.frame.children))

    assert largest == 100
    assert play.asked == ["after"]
    assert len(str(play.frame.to_json())) < 2_000


def test_many_steps_that_need_nobody_are_no_deep_recursion() -> None:
    steps = [{"id": "look", "type": "check", "expect": "each.index >= 0"}]
    play = Play(loop(over="${{ inputs.hosts }}", limit=10_000, steps=steps), hosts=[1] * 5_000)

    assert play.asked == ["after"]


def test_composite_steps_hold_each_other() -> None:
    inner = {"id": "inner", "type": "loop", "over": [1, 2], "steps": [
        {"id": "do", **READ, "with": {"x": "${{ each.item }}", "y": "${{ each.outer.item }}"}},
    ]}  # fmt: skip
    play = Play(runbook({"id": "outer", "type": "loop", "over": ["p", "q"], "concurrency": 2, "steps": [inner]}))

    assert play.asked == ["outer/0/inner/0/do", "outer/1/inner/0/do"]
    assert rendered(play, "outer/1/inner/0/do") == {"x": 1, "y": "q"}
    play.done("outer/0/inner/0/do", "outer/0/inner/1/do", "outer/1/inner/0/do", "outer/1/inner/1/do")
    assert play.ended == ("completed", "done")


def test_a_failure_deep_inside_ends_everything_around_it() -> None:
    inner = {"id": "inner", "type": "parallel", "branches": {n: [{"id": f"do-{n}", **READ}] for n in "ab"}}
    play = Play(runbook({"id": "outer", "type": "loop", "over": ["p", "q"], "concurrency": 2, "steps": [inner]}))

    play.fail("outer/0/inner/a/do-a")

    assert play.ended == ("failed", "step_failed")
    assert play.frame.children == {}
    assert {e.path for e in play.new if isinstance(e, CancelAction)} == {
        "outer/0/inner/b/do-b", "outer/1/inner/a/do-a", "outer/1/inner/b/do-b",
    }  # fmt: skip


def test_an_abort_takes_back_what_goes_on_in_every_branch() -> None:
    play = Play(fan())(AbortRequested("ada", "no"))

    assert play.ended == ("aborted", "aborted")
    assert [e.path for e in play.new if isinstance(e, CancelAction)] == ["fan/c/c-1", "fan/b/b-1", "fan/a/a-1"]
    assert {e.frame.step_runs[-1].state for e in play.new if isinstance(e, FrameEnded)} == {"cancelled"}
    assert isinstance(play.new[-1], Finish)


def test_the_deadline_lets_finish_what_is_under_way_in_a_branch() -> None:
    play = Play(fan())(StepStarted("fan/a/a-1", 1), TimerFired("deadline", ""))

    assert play.frame.state == "running"
    assert {e.path for e in play.new if isinstance(e, CancelAction)} == {"fan/b/b-1", "fan/c/c-1"}
    assert play.done("fan/a/a-1").ended == ("failed", "deadline_exceeded")
    assert play.asked == []


def test_a_doubt_in_a_branch_holds_the_step_open_until_a_person_decides() -> None:
    play = Play(fan())(StepUnknown("fan/a/a-1", 1, "lease_lost")).done(
        "fan/b/b-1", "fan/b/b-2", "fan/c/c-1", "fan/c/c-2"
    )

    assert (play.frame.state, play.frame.blocked_reason) == ("blocked", "unknown")
    play(StepDecided("fan/a/a-1", 1, "succeeded", "ada", "seen"))
    assert play.asked == ["fan/a/a-2"]


def test_a_branch_that_waits_for_a_grant_does_not_block_the_others() -> None:
    branches = {
        "a": [{"id": "ask", "type": "approval", "prompt": "?"}, {"id": "do", **READ}],
        "b": [{"id": "go", **READ}],
    }
    play = Play(runbook({"id": "fan", "type": "parallel", "branches": branches}))

    assert play.told == ["started", "blocked"]
    assert (play.frame.state, play.frame.phase) == ("running", "apply")
    play.done("fan/b/go")
    assert (play.frame.state, play.frame.phase, play.frame.blocked_reason) == ("blocked", "approval_wait", "approval")
    play(ApprovalGranted("fan/a/ask", 1, "g-1"))
    assert play.told == ["unblocked", "step_completed"]
    assert play.asked == ["fan/a/do"]


def test_a_decision_takes_the_first_branch_that_holds() -> None:
    branches = [{"when": "inputs.load > 90", "goto": "scale"}, {"when": "inputs.load > 70", "goto": "watch"}]
    spec = runbook(
        {"id": "choose", "type": "decision", "branches": branches, "otherwise": "end"},
        {"id": "scale", "on_success": "end"},
        {"id": "watch"},
        inputs={"load": {"type": "integer"}},
    )

    assert [Play(spec, load=load).asked for load in (95, 80, 10)] == [["scale"], ["watch"], []]
    assert Play(spec, load=10).ended == ("completed", "done")


def test_a_decision_without_a_branch_that_holds_may_be_a_failure() -> None:
    spec = runbook(
        {"id": "choose", "type": "decision", "branches": [{"when": "inputs.go", "goto": "a"}], "otherwise": "fail"},
        {"id": "a"},
        inputs={"go": {"type": "boolean"}},
    )
    play = Play(spec, go=False)

    assert play.ended == ("failed", "step_failed")
    assert play.frame.step_runs[0].error_code == "no_branch"


def test_a_frame_with_branches_survives_being_stored() -> None:
    play = Play(fan()).done("fan/a/a-1")
    root = Frame.from_json(play.frame.to_json())
    children = {path: Frame.from_json(child.to_json()) for path, child in play.frame.children.items()}

    assert (root.step_runs, children) == (play.frame.step_runs, play.frame.children)
