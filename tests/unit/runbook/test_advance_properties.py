"""What holds for every runbook and every history: examples are made by walking through facts that may come."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import CancelTimer, Effect, Finish, PublishFact, RunAction, SetTimer
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

IDS = ("a", "b", "c", "d")
ABORT = AbortRequested("ada", "enough")


@st.composite
def runbooks(draw: st.DrawFn) -> Runbook:
    steps = []
    for step_id in IDS[: draw(st.integers(1, len(IDS)))]:
        effect = draw(st.sampled_from(["read", "idempotent", "keyed", "unsafe"]))
        attempts = 1 if effect == "unsafe" else draw(st.integers(1, 3))
        step = {"id": step_id, "effect": effect, "retry": {"attempts": attempts}}
        steps.append({**step, "requires_firing": draw(st.booleans())})
    verify = {"verify": {"alert": "resolved", "within": "60s"}} if draw(st.booleans()) else {}
    return runbook(*steps, **verify)


@dataclass
class Walk:
    """A history: the facts that came, and for each the frame before it and the effects of it."""

    spec: Runbook
    frame: Frame = field(default_factory=Frame)
    facts: list[Fact] = field(default_factory=list)
    turns: list[tuple[Frame, tuple[Effect, ...], Frame]] = field(default_factory=list)

    def take(self, fact: Fact) -> None:
        before = self.frame
        self.frame, effects = advance(self.spec, before, [fact])
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
    ]


def possible(frame: Frame) -> list[Fact]:
    """What may come next, stale facts and stale timers among it."""
    facts: list[Fact] = [Started(alert_firing=True), Started(), AlertObserved(firing=True), AlertObserved(firing=False)]
    facts += [TimerFired(*timer) for timer in frame.timers]
    facts += [TimerFired("retry", "a#1#1"), TimerFired("verify_due", "")]
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
    if run.state == "waiting":
        return TimerFired("retry", run.ref)
    return StepSucceeded(run.path, run.visit)


@given(walks(), st.lists(st.integers(0, 10_000), max_size=10))
def test_abort_wins_in_every_state_and_is_absorbing(walk: Walk, later: list[int]) -> None:
    was_terminal = walk.frame.terminal

    walk.take(ABORT)

    assert walk.frame.aborted or was_terminal
    end = walk.frame
    for choice in later:
        options = possible(end)
        assert advance(walk.spec, end, [options[choice % len(options)]]) == (end, ())


@given(walks())
def test_a_visit_of_a_step_completes_at_most_once(walk: Walk) -> None:
    completed = Counter(
        (effect.data["path"], effect.data["visit"])
        for effect in walk.effects
        if isinstance(effect, PublishFact) and effect.type == "step_completed"
    )

    assert all(count == 1 for count in completed.values())


@given(walks())
def test_no_action_is_asked_for_before_every_earlier_step_has_succeeded(walk: Walk) -> None:
    order = [step.id for step in walk.spec.steps]
    for _, effects, after in walk.turns:
        for effect in effects:
            if isinstance(effect, RunAction):
                states = {run.path: run.state for run in after.step_runs}
                assert all(states[earlier] == "succeeded" for earlier in order[: order.index(effect.path)])


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

    assert all(count <= 1 for path, count in attempts if walk.spec.step(path).effect == "unsafe")


@given(walks())
def test_nothing_is_asked_for_while_a_step_is_unknown(walk: Walk) -> None:
    for (before, effects, _), fact in zip(walk.turns, walk.facts, strict=True):
        if before.blocked_reason == "unknown" and any(isinstance(effect, RunAction) for effect in effects):
            assert isinstance(fact, StepSucceeded | StepDecided)


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
def test_blocked_is_a_state_exactly_while_something_blocks(walk: Walk) -> None:
    told = 0
    for _, effects, after in walk.turns:
        assert (after.state == "blocked") == (after.blocked_reason is not None)
        for effect in effects:
            if isinstance(effect, PublishFact):
                told += (effect.type == "blocked") - (effect.type == "unblocked")
        if not after.terminal:
            assert told == (after.state == "blocked")


@given(walks())
def test_equal_histories_give_equal_states_in_one_fold_or_in_many(walk: Walk) -> None:
    frame, effects = advance(walk.spec, Frame(), walk.facts)

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
        if isinstance(fact, StepSucceeded | StepNotNeeded | StepDecided):
            assert advance(walk.spec, walk.frame, [fact]) == (walk.frame, ())


@given(walks())
def test_a_timer_that_is_not_set_changes_nothing(walk: Walk) -> None:
    for (before, effects, after), fact in zip(walk.turns, walk.facts, strict=True):
        if isinstance(fact, TimerFired) and (fact.kind, fact.ref) not in before.timers:
            assert (after, effects) == (before, ())
