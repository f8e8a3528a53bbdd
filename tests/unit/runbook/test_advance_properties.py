"""What holds for every runbook and every history: examples are made by walking through facts that may come."""

from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import (
    AskPerson,
    CancelTimer,
    Effect,
    Finish,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    ApprovalDenied,
    ApprovalGranted,
    Fact,
    FailRequested,
    GrantRefused,
    Started,
    StepCompletedByPerson,
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
from tests.unit.runbook.generated import INPUTS, KINDS, KNOWN, OTHERS, WHEN, actions
from tests.unit.runbook.samples import runbook

IDS = ("a", "b", "c", "d")
ABORT = AbortRequested("ada", "enough")
ApprovalFact = ApprovalGranted | ApprovalDenied
ENDED = {"succeeded", "failed", "skipped"}


NEEDY = st.sampled_from(
    [kind for kind in actions() + OTHERS if kind.get("risk") == "high" or kind["type"] == "approval"]
)


@st.composite
def runbooks(draw: st.DrawFn, kinds: st.SearchStrategy[dict[str, Any]] = KINDS) -> Runbook:
    """Runbooks of every type of step, with conditions that hold, do not hold or have no value, and ways forward."""
    steps: list[dict[str, Any]] = []
    ids = IDS[: draw(st.integers(1, len(IDS)))]
    for index, step_id in enumerate(ids):
        later = ids[index + 1 :]
        ways = {
            "requires_firing": draw(st.booleans()),
            "on_failure": draw(st.sampled_from(["stop", "stop", "continue", *later])),
            "on_success": draw(st.sampled_from([None, None, None, "end", *later])),
            "when": draw(WHEN),
        }
        steps.append({"id": step_id, **draw(kinds), **{key: way for key, way in ways.items() if way is not None}})
    verify = {"verify": {"alert": "resolved", "within": "60s"}} if draw(st.booleans()) else {}
    return runbook(*steps, inputs=INPUTS, **verify)


@dataclass
class Walk:
    """A history: the facts that came, and for each the frame before it and the effects of it."""

    spec: Runbook
    frame: Frame = field(default_factory=Frame)
    facts: list[Fact] = field(default_factory=list)
    turns: list[tuple[Frame, tuple[Effect, ...], Frame]] = field(default_factory=list)

    def take(self, fact: Fact) -> None:
        before = self.frame
        self.frame, effects = advance(self.spec, before, [fact], KNOWN)
        self.facts.append(fact)
        self.turns.append((before, effects, self.frame))

    @property
    def effects(self) -> list[Effect]:
        return [effect for _, effects, _ in self.turns for effect in effects]


def step_facts(path: str, visit: int) -> list[Fact]:
    at: dict[str, Any] = {"path": path, "visit": visit}
    return [
        StepStarted(**at),
        StepSucceeded(**at, outputs={"n": 1, "list": ["x", {"deep": True}]}),
        StepFailed(**at, error_code="timeout", message="late", retryable=True),
        StepFailed(**at, error_code="refused"),
        StepLost(**at),
        StepUnknown(**at, reason="connection reset"),
        StepNotNeeded(**at),
        StepHeld(**at, reason="lock"),
        StepHeld(**at, reason="kill_switch"),
        StepReleased(**at),
        StepDecided(**at, decision="succeeded", actor="ada", rationale="saw it"),
        StepDecided(**at, decision="failed", actor="ada", rationale="saw nothing"),
        ApprovalGranted(**at, approval_id="x"),
        ApprovalGranted(**at, approval_id="x"),
        ApprovalDenied(**at, approval_id="x", why="rejected", actor="bob", rationale="no"),
        ApprovalDenied(**at, approval_id="x", why="expired"),
        ApprovalDenied(**at, approval_id="x", why="revoked", actor="bob", rationale="stop"),
        ApprovalDenied(**at, approval_id="y", why="revoked", actor="bob", rationale="stop"),
        GrantRefused(**at, approval_id="z", code="approval_other_plan", message="m", plan_hash="p", action_hash=""),
        StepCompletedByPerson(**at, outcome="succeeded", actor="ada", values={"n": 1}),
        StepCompletedByPerson(**at, outcome="succeeded", actor="ada"),
        StepCompletedByPerson(**at, outcome="failed", actor="ada"),
    ]


def possible(frame: Frame) -> list[Fact]:
    """What may come next, stale facts and stale timers among it."""
    facts: list[Fact] = [Started(alert_firing=True), Started(), AlertObserved(firing=True), AlertObserved(firing=False)]
    facts += [TimerFired(*timer) for timer in frame.timers]
    facts += [TimerFired("retry", "a#1#1"), TimerFired("wait", "a#1#0"), TimerFired("verify_due", "")]
    for run in frame.step_runs:
        facts += step_facts(run.path, run.visit)
    return facts


@st.composite
def walks(draw: st.DrawFn, max_size: int = 25) -> Walk:
    walk = Walk(draw(runbooks()))
    if draw(st.booleans()):
        walk.take(Started(alert_firing=True))
    for choice in draw(st.lists(st.none() | st.integers(0, 10_000), max_size=max_size)):
        options = possible(walk.frame)
        helps = choice is None and not walk.frame.terminal
        walk.take(helped(walk.frame) if helps else options[(choice or 0) % len(options)])
    return walk


def helped(frame: Frame) -> Fact:
    """The next fact when everyone does their part, and nobody aborts."""
    run = frame.current
    if run is None:
        return Started(alert_firing=True)
    if frame.verify_state == "waiting":
        return AlertObserved(firing=False)
    if run.state == "unknown":
        return StepDecided(run.path, run.visit, "succeeded", "ada", "saw it")
    if run.held:
        return StepReleased(run.path, run.visit)
    given_by: dict[str, Fact] = {
        "approval": ApprovalGranted(run.path, run.visit, "x"),
        "person": StepCompletedByPerson(run.path, run.visit, "succeeded", "ada", values={"n": 1}),
        "wait": TimerFired("wait", run.ref),
        "retry": TimerFired("retry", run.ref),
    }
    return given_by.get(run.waiting_for, StepSucceeded(run.path, run.visit, {"n": 1}))


@given(walks(), st.lists(st.integers(0, 10_000), max_size=10), st.sampled_from([ABORT, FailRequested("ada", "no")]))
def test_abort_and_fail_win_in_every_state_and_are_absorbing(walk: Walk, later: list[int], end: Fact) -> None:
    was_terminal = walk.frame.terminal

    walk.take(end)

    assert was_terminal or walk.frame.state == ("aborted" if end is ABORT else "failed")
    ended = walk.frame
    for choice in later:
        options = possible(ended)
        assert advance(walk.spec, ended, [options[choice % len(options)]], KNOWN) == (ended, ())


@given(walks())
def test_a_visit_of_a_step_completes_at_most_once(walk: Walk) -> None:
    completed = Counter(
        (effect.data["path"], effect.data["visit"])
        for effect in walk.effects
        if isinstance(effect, PublishFact) and effect.type == "step_completed"
    )

    assert all(count == 1 for count in completed.values())


@given(walks())
def test_nothing_is_asked_for_before_every_step_that_was_reached_earlier_has_ended(walk: Walk) -> None:
    for _, effects, after in walk.turns:
        for effect in effects:
            if isinstance(effect, RunAction | AskPerson | RequestApproval):
                earlier = [run for run in after.step_runs if run.path != effect.path]
                assert all(run.state in ENDED for run in earlier)


@given(walks())
def test_each_step_is_reached_as_the_one_before_it_says_and_at_most_once(walk: Walk) -> None:
    runs = walk.frame.step_runs

    assert len({run.path for run in runs}) == len(runs)
    assert all(run.visit == 1 for run in runs)
    for before, after in pairwise(runs):
        on = walk.spec.after_failure(before.path)[1] if before.state == "failed" else walk.spec.successor(before.path)
        assert after.path == on


@given(walks())
def test_nothing_runs_before_its_approval_is_granted(walk: Walk) -> None:
    granted: set[str] = set()
    for (_, effects, _), fact in zip(walk.turns, walk.facts, strict=True):
        if isinstance(fact, ApprovalGranted):
            granted.add(fact.path)
        for effect in effects:
            if isinstance(effect, RunAction | AskPerson):
                assert effect.path in granted or not walk.spec.needs_approval(effect.path)
            if isinstance(effect, RunAction):
                assert effect.needs_approval == walk.spec.needs_approval(effect.path)
        for run in walk.frame.step_runs:
            if walk.spec.needs_approval(run.path) and run.attempts:
                assert run.approval_id == "x"


@given(walks())
def test_what_was_denied_never_becomes_ready_again(walk: Walk) -> None:
    denied: set[str] = set()
    for (before, effects, after), fact in zip(walk.turns, walk.facts, strict=True):
        for effect in effects:
            assert not (isinstance(effect, RunAction | AskPerson) and effect.path in denied)
        if isinstance(fact, ApprovalDenied):
            run = before.run(fact.path, fact.visit)
            asked = run is not None and run.waits_for("approval") and not run.approval_id
            if run is not None and (asked or run.approval_id == fact.approval_id):
                denied.add(fact.path)
                ended = after.run(fact.path, fact.visit)
                assert ended is not None
                assert ended.state not in {"ready", "waiting"}


@given(walks())
def test_a_refused_grant_begins_nothing(walk: Walk) -> None:
    for (before, effects, after), fact in zip(walk.turns, walk.facts, strict=True):
        if isinstance(fact, GrantRefused):
            assert not any(isinstance(effect, RunAction | AskPerson) for effect in effects)
            again = advance(walk.spec, after, [fact], KNOWN)
            assert again == (after, ())
            assert len(before.step_runs) == len(after.step_runs) or after.terminal


@given(runbooks(NEEDY), st.integers(1, 8), st.booleans(), st.booleans())
def test_what_is_revoked_is_not_begun_again_and_with_the_plan_nothing_is(
    spec: Runbook, helps: int, under_way: bool, fails: bool
) -> None:
    walk = Walk(spec)
    for _ in range(helps):
        walk.take(Started() if walk.frame.terminal else helped(walk.frame))
    here = walk.frame.current
    if here is not None and under_way:
        walk.take(StepStarted(here.path, here.visit))
    revoked = {run.path for run in walk.frame.step_runs if run.approval_id}
    whole = any(spec.step(path).type == "approval" for path in revoked) and walk.frame.verify_state == "none"
    for path in sorted(revoked):
        walk.take(ApprovalDenied(path, 1, "x", "revoked", "bob", "stop"))
    told = len(walk.effects)

    for _ in range(8 * len(spec.steps)):
        run = walk.frame.current
        asked = run is not None and run.state in {"ready", "running"}
        walk.take(StepFailed(run.path, 1, "late", retryable=True) if run and asked and fails else helped(walk.frame))

    begun = [item.path for item in walk.effects[told:] if isinstance(item, RunAction | AskPerson | RequestApproval)]
    assert not revoked & set(begun)
    assert not (revoked and whole and begun)


@given(walks())
def test_an_attempt_is_asked_for_again_only_after_a_hold(walk: Walk) -> None:
    asked: set[tuple[str, int, int]] = set()
    for (before, effects, _), fact in zip(walk.turns, walk.facts, strict=True):
        for effect in effects:
            if isinstance(effect, RunAction):
                key = (effect.path, effect.visit, effect.attempt)
                assert key not in asked or isinstance(fact, StepReleased)
                assert not before.terminal
                asked.add(key)


@given(walks())
def test_an_unsafe_step_is_never_attempted_a_second_time(walk: Walk) -> None:
    attempts = {(run.path, run.attempts) for run in walk.frame.step_runs}

    assert all(count <= 1 for path, count in attempts if walk.spec.step(path).effect_name == "unsafe")


@given(walks())
def test_nothing_is_asked_for_while_a_step_is_unknown(walk: Walk) -> None:
    for (before, effects, _), fact in zip(walk.turns, walk.facts, strict=True):
        if before.blocked_reason == "unknown" and any(isinstance(effect, RunAction) for effect in effects):
            assert isinstance(fact, StepSucceeded | StepFailed | StepDecided)


@given(walks())
def test_a_step_that_needs_a_firing_alert_is_not_asked_for_once_it_has_ended(walk: Walk) -> None:
    for _, effects, after in walk.turns:
        for effect in effects:
            if isinstance(effect, RunAction) and after.alert_firing is False:
                assert not needs_firing(walk.spec, after, effect.path)


@given(walks())
def test_an_execution_ends_once_and_its_end_is_its_last_effect(walk: Walk) -> None:
    ends = [index for index, effect in enumerate(walk.effects) if isinstance(effect, Finish)]

    assert ends == ([len(walk.effects) - 1] if walk.frame.terminal else [])


@given(walks())
def test_every_execution_can_still_end_without_an_abort(walk: Walk) -> None:
    for _ in range(8 * len(walk.spec.steps) + 8):
        if walk.frame.terminal:
            break
        walk.take(helped(walk.frame))

    assert walk.frame.terminal


@given(walks())
def test_the_deadline_ends_whatever_is_neither_under_way_nor_unknown(walk: Walk) -> None:
    run = walk.frame.current
    under_way = run is not None and run.state in {"running", "unknown"}
    if ("deadline", "") not in walk.frame.timers:
        return

    walk.take(TimerFired("deadline", ""))

    assert walk.frame.terminal != under_way


@given(walks())
def test_the_books_of_timers_balance(walk: Walk) -> None:
    open_timers: set[tuple[str, str]] = set()
    for (_, effects, after), fact in zip(walk.turns, walk.facts, strict=True):
        if isinstance(fact, TimerFired):
            open_timers.discard((fact.kind, fact.ref))
        for effect in effects:
            if isinstance(effect, SetTimer):
                open_timers.add((effect.kind, effect.ref))
            elif isinstance(effect, CancelTimer):
                open_timers.remove((effect.kind, effect.ref))
        assert open_timers == set(after.timers)
        assert not (after.terminal and open_timers)


@given(walks())
def test_a_step_has_a_timer_only_while_it_waits_for_it(walk: Walk) -> None:
    names = {"retry": "retry", "wait": "wait", "timeout": "person"}
    for _, _, after in walk.turns:
        for kind, ref in after.timers:
            if kind in names:
                assert after.current is not None
                assert (after.current.ref, after.current.waiting_for) == (ref, names[kind])


@given(walks())
def test_blocked_is_a_state_exactly_while_something_blocks(walk: Walk) -> None:
    told = False
    for _, effects, after in walk.turns:
        assert (after.state == "blocked") == (after.blocked_reason is not None)
        for effect in effects:
            if isinstance(effect, PublishFact) and effect.type in {"blocked", "unblocked"}:
                # A question that was answered with a useless grant is asked once more: the same block, told again.
                assert told == (effect.type == "unblocked") or effect.data.get("refused_code")
                told = effect.type == "blocked"
        if not after.terminal:
            assert told == (after.state == "blocked")


@given(walks())
def test_equal_histories_give_equal_states_in_one_fold_or_in_many(walk: Walk) -> None:
    frame, effects = advance(walk.spec, Frame(), walk.facts, KNOWN)

    assert frame == walk.frame
    assert list(effects) == walk.effects


@given(walks())
@settings(max_examples=50)
def test_a_frame_survives_json(walk: Walk) -> None:
    for _, _, after in walk.turns:
        assert Frame.from_json(orjson.loads(orjson.dumps(after.to_json()))) == after


@given(walks())
def test_repeating_the_last_fact_of_a_step_changes_no_outcome(walk: Walk) -> None:
    for fact in walk.facts[-1:]:
        if isinstance(fact, StepSucceeded | StepNotNeeded | StepDecided | ApprovalFact | StepCompletedByPerson):
            assert advance(walk.spec, walk.frame, [fact], KNOWN) == (walk.frame, ())


@given(walks())
def test_a_timer_that_is_not_set_changes_nothing(walk: Walk) -> None:
    for (before, effects, after), fact in zip(walk.turns, walk.facts, strict=True):
        if isinstance(fact, TimerFired) and (fact.kind, fact.ref) not in before.timers:
            assert (after, effects) == (before, ())
