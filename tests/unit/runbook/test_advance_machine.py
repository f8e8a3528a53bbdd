"""The engine under any history, over runbooks of any shape: abort is absorbing, no step is asked for twice in a visit
while it is under way, none out of order, every execution can end, and equal histories give equal states.
"""

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from libs.runbook.advance import advance
from libs.runbook.effects import RunAction
from libs.runbook.facts import (
    AbortRequested,
    AlertObserved,
    FailRequested,
    PauseRequested,
    PersonChose,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
    Started,
    StepFailed,
    StepLost,
    StepStarted,
    StepSucceeded,
    TimerFired,
)
from libs.runbook.frame import Frame
from libs.runbook.spec import Runbook
from tests.unit.runbook.generated import KNOWN, any_runbooks
from tests.unit.runbook.histories import History, facts_about, helping, timers
from tests.unit.runbook.samples import runbook

ABORT = AbortRequested("ada", "enough")
MANY = 2_000
INDEX = st.integers(0, 10_000)


class Executions(RuleBasedStateMachine):
    """One execution; what holds after each fact is in `History`, what holds at the end in `teardown`."""

    @initialize(spec=any_runbooks(), firing=st.sampled_from([True, True, False, None]), by_person=st.booleans())
    def begins(self, spec: Runbook, firing: bool | None, by_person: bool) -> None:
        self.history = History(spec)
        self.history.take(Started(alert_firing=firing, by_person=by_person))

    @property
    def frame(self) -> Frame:
        return self.history.frame

    @rule()
    def everyone_does_their_part(self) -> None:
        self.history.take(helping(self.history.spec, self.frame))

    @precondition(lambda self: bool(self.frame.live))
    @rule(where=INDEX, how=st.sampled_from(["starts", "succeeds", "fails", "passes", "lost"]))
    def a_worker_tells(self, where: int, how: str) -> None:
        run = self.frame.live[where % len(self.frame.live)]
        at: dict[str, Any] = {"path": run.path, "visit": run.visit}
        told = {
            "starts": StepStarted(**at),
            "succeeds": StepSucceeded(**at, outputs={"n": 1}),
            "fails": StepFailed(**at, error_code="refused"),
            "passes": StepFailed(**at, error_code="timeout", retryable=True),
            "lost": StepLost(**at),
        }
        self.history.take(told[how])

    @precondition(lambda self: bool(self.history.places))
    @rule(where=INDEX, what=INDEX)
    def anything_is_told_of_any_step(self, where: int, what: int) -> None:
        runs = self.history.reached()
        facts = facts_about(runs[where % len(runs)])
        self.history.take(facts[what % len(facts)])

    @precondition(lambda self: bool(timers(self.frame)))
    @rule(which=INDEX)
    def a_time_comes(self, which: int) -> None:
        due = sorted(timers(self.frame))
        self.history.take(TimerFired(*due[which % len(due)]))  # type: ignore[arg-type]  # the engine's own kinds

    @rule(firing=st.booleans())
    def the_alert_is_seen(self, firing: bool) -> None:
        self.history.take(AlertObserved(firing=firing))

    @rule(what=st.sampled_from([PauseRequested, ResumeRequested]))
    def somebody_pauses_or_resumes(self, what: type[PauseRequested | ResumeRequested]) -> None:
        self.history.take(what("ada", "wait"))

    @rule()
    def somebody_signals(self) -> None:
        self.history.take(SignalReceived("go", {"n": 1}, "ada"))

    @precondition(lambda self: len(self.history.facts) > 8)
    @rule(what=st.sampled_from([AbortRequested, FailRequested, RollbackRequested]))
    def somebody_ends_it(self, what: type[AbortRequested | FailRequested | RollbackRequested]) -> None:
        self.history.take(what("ada", "enough"))
        assert self.frame.state != "running" or what is RollbackRequested

    def teardown(self) -> None:
        if not hasattr(self, "history"):
            return
        self._equal_histories_give_equal_states()
        self._abort_is_absorbing()
        self._it_can_end()

    def _equal_histories_give_equal_states(self) -> None:
        frame, effects = advance(self.history.spec, Frame(), self.history.facts, KNOWN)

        assert frame == self.frame
        assert list(effects) == self.history.effects
        assert self.history.asked_in_order()

    def _abort_is_absorbing(self) -> None:
        aborted, _ = advance(self.history.spec, self.frame, [ABORT], KNOWN)

        assert aborted.terminal
        assert aborted.state == (self.frame.state if self.frame.terminal else "aborted")
        for run in self.history.reached():
            for fact in facts_about(run):
                assert advance(self.history.spec, aborted, [fact], KNOWN) == (aborted, ())
        for later in (helping(self.history.spec, aborted), FailRequested("ada", "no"), RollbackRequested("ada", "no")):
            assert advance(self.history.spec, aborted, [later], KNOWN) == (aborted, ())

    def _it_can_end(self) -> None:
        for _ in range(MANY):
            if self.frame.terminal:
                return
            self.history.take(helping(self.history.spec, self.frame))
        raise AssertionError("it does not end although everyone does their part")


TestExecutions = Executions.TestCase
TestExecutions.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_the_time_of_a_verification_that_has_ended_changes_nothing() -> None:
    spec = runbook(
        {"id": "change", "effect": "keyed", "resource": "r", "rollback": {"action": "http.request"}},
        verify={"alert": "resolved", "within": "60s"},
        on_failed="rollback",
    )
    history = History(spec)
    history.take(Started(alert_firing=True))
    history.take(StepSucceeded("change", 1))
    history.take(TimerFired("deadline", ""))
    before = history.frame
    assert before.phase == "rollback"

    history.take(TimerFired("verify_due", ""))

    assert history.frame.step_runs == before.step_runs


def test_what_is_tried_again_as_a_whole_is_another_visit() -> None:
    bodies = {name: [{"id": name, "type": "action", "action": "http.request", "effect": "read"}] for name in "ab"}
    history = History(runbook({"id": "fan", "type": "parallel", "branches": bodies, "on_failure": "ask"}))
    history.take(Started())
    history.take(StepSucceeded("fan/a/a", 1))
    history.take(StepFailed("fan/b/b", 1, "refused"))

    history.take(PersonChose("fan", 1, "retry", "ada", "again"))

    asked = [(e.path, e.visit, e.attempt) for e in history.effects if isinstance(e, RunAction)]
    assert len(asked) == len(set(asked))


def test_what_nobody_knows_stays_unknown_when_its_execution_is_ended() -> None:
    told = Executions()
    told.history = History(runbook({"id": "before"}, {"id": "risky", "effect": "unsafe"}, {"id": "after"}))
    for fact in (Started(), StepSucceeded("before", 1), StepStarted("risky", 1), StepLost("risky", 1), ABORT):
        told.history.take(fact)

    assert told.frame.state == "aborted"
    assert [(run.path, run.state) for run in told.frame.step_runs] == [("before", "succeeded"), ("risky", "unknown")]
    told.teardown()
