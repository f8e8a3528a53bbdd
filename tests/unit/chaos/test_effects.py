"""Invariants 5 to 8 on small evidence: when they hold, and what breaks them."""

from typing import Any

import pytest

from runbook_ranger.chaos.evidence import Ledger
from runbook_ranger.chaos.invariants import effects, gates, states
from tests.unit.chaos.samples import (
    ACTION,
    ATTEMPT,
    EFFECT,
    EXECUTION,
    KEY,
    RUN,
    SPEC,
    STEP,
    at,
    attempt,
    call,
    changes,
    claimed,
    evidence,
)

AGAIN = {**EFFECT, "call": 2}
SECONDS_LATER = {"start": "2026-03-01T10:00:05+00:00", "end": "2026-03-01T10:00:06+00:00"}
OTHER_ATTEMPT = {**ATTEMPT, "action_id": "action-2", "execution_id": "execution-2", "idem_key": "other"}
OTHER = {**EFFECT, "call": 2, "key": "other", "fence": 8}
TWO = {
    "executor.action_log": [ATTEMPT, OTHER_ATTEMPT],
    "executor.execution": [RUN, {**RUN, "execution_id": "execution-2"}],
}

# ── 5: once ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["unsafe", "keyed"])
def test_one_effect_a_key_is_as_it_should_be_and_two_are_not(kind: str) -> None:
    rows = {"executor.action_log": [{**ATTEMPT, "effect": kind}]}

    assert list(effects.check_once(evidence(rows=rows))) == []
    [found] = effects.check_once(evidence(rows=rows, ledger=Ledger(effects=[EFFECT, AGAIN])))

    assert (found.invariant, found.subject) == (5, f"key {KEY}")
    assert "the calls [1, 2]" in found.detail


def test_an_idempotent_effect_may_repeat() -> None:
    rows = {"executor.action_log": [{**ATTEMPT, "effect": "idempotent"}]}

    assert list(effects.check_once(evidence(rows=rows, ledger=Ledger(effects=[EFFECT, AGAIN])))) == []


# ── 6: apart ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_effects_of_one_execution_one_after_the_other_are_apart() -> None:
    ledger = Ledger(effects=[EFFECT, {**AGAIN, **SECONDS_LATER}])

    assert list(effects.check_apart(evidence(ledger=ledger))) == []


def test_effects_that_overlap_on_a_resource_are_told_with_their_fences() -> None:
    found = list(effects.check_apart(evidence(rows=TWO, ledger=Ledger(effects=[EFFECT, OTHER]))))

    assert "call 2 (fence 8) began before call 1 (fence 7) ended" in [violation.detail for violation in found]


def test_the_same_on_another_resource_is_nobodys_business() -> None:
    ledger = Ledger(effects=[EFFECT, {**OTHER, "resource": "q"}])

    assert list(effects.check_apart(evidence(rows=TWO, ledger=ledger))) == []


def test_nobody_comes_between_a_change_and_its_verification_unless_a_person_broke_the_lock() -> None:
    ledger = Ledger(effects=[EFFECT, {**OTHER, **SECONDS_LATER}])
    broken = call("break_lock", answer={"was_held_by": EXECUTION})

    [found] = effects.check_apart(evidence(rows=TWO, ledger=ledger))

    assert "came between call 1 of execution execution-1 and that execution's end" in found.detail
    assert list(effects.check_apart(evidence(rows=TWO, ledger=ledger, history=[broken]))) == []


# ── 7: gates ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def switch(*, engaged: bool, began: float) -> list[Any]:
    row = {"scope": "tenant:default", "engaged": engaged, "epoch": 1}
    return changes("executor.kill_switch", row, first=100, began=began)


def test_an_effect_that_was_claimed_is_as_it_should_be() -> None:
    assert list(gates.check(evidence(*claimed()))) == []


def test_an_effect_that_nobody_claimed_is_found() -> None:
    [found] = gates.check(evidence(*attempt()))

    assert (found.invariant, found.subject) == (7, "call 1")
    assert "was never claimed" in found.detail


def test_an_effect_before_its_claim_is_found() -> None:
    late = [type(c)(c.number, c.at + 30, c.table, c.old, c.new) for c in claimed()]

    [found] = gates.check(evidence(*late))

    assert "was claimed only later" in found.detail


def test_a_claim_while_the_kill_switch_is_engaged_is_found() -> None:
    assert list(gates.check(evidence(*claimed(), *switch(engaged=True, began=2.5)))) == []
    assert list(gates.check(evidence(*claimed(), *switch(engaged=False, began=1.5)))) == []

    [found] = gates.check(evidence(*claimed(), *switch(engaged=True, began=1.5)))

    assert (found.invariant, found.subject) == (7, f"action {ACTION} (act, fence 7)")
    assert "while the kill switch tenant:default was engaged" in found.detail


GRANT = {
    "approval_id": "approval-1", "step_run_id": STEP, "state": "granted", "plan_hash": "p", "action_hash": "a",
    "valid_until": "2026-03-01T10:05:00+00:00",
}  # fmt: skip
GUARDED = {"spec_hash": "s", "body": {"risk": "low", "steps": [{"id": "act", "type": "action", "approval": {}}]}}


@pytest.mark.parametrize(
    ("bent", "fine"),
    [
        ({}, True),
        ({"plan_hash": "other"}, False),
        ({"action_hash": "other"}, False),
        ({"step_run_id": "other"}, False),
        ({"state": "requested"}, False),
        ({"state": "revoked"}, False),
        ({"valid_until": "2026-03-01T10:00:01+00:00"}, False),
    ],
)
def test_a_guarded_step_needs_a_grant_of_its_own_that_stands(bent: dict[str, str], *, fine: bool) -> None:
    granted = changes("approvals.approval", {**GRANT, **bent}, first=50, began=0.5)

    found = list(gates.check(evidence(*claimed(), *granted, rows={"executor.spec": [GUARDED]})))

    assert (found == []) is fine
    assert all("without a grant" in violation.detail for violation in found)


def test_a_grant_that_comes_after_the_claim_does_not_count() -> None:
    granted = changes("approvals.approval", GRANT, first=50, began=3)

    assert len(list(gates.check(evidence(*claimed(), *granted, rows={"executor.spec": [GUARDED]})))) == 1


@pytest.mark.parametrize(("state", "fine"), [("succeeded", True), ("skipped", True), ("running", False)])
def test_a_step_waits_for_those_before_it(state: str, *, fine: bool) -> None:
    before = {"execution_id": EXECUTION, "path": "act", "step_run_id": "first", "state": state}
    noted = [*claimed(path="after"), *changes("executor.step_run", before, first=50, began=0.5)]

    found = list(gates.check(evidence(*noted, rows={"executor.spec": [SPEC]})))

    assert (found == []) is fine
    assert all(f"step act before it was {state}" in violation.detail for violation in found)


# ── 8: unsafe ────────────────────────────────────────────────────────────────────────────────────────────────────────

LOST = {"error_code": "lease_lost", "message": states.SWEPT}
STOPPED = {"error_code": "lease_lost", "message": "stopped before anything was sent"}


def test_an_unsafe_action_whose_worker_died_is_unknown_until_a_person_decides() -> None:
    noted = attempt({"state": "running", "fence": 7}, {"state": "unknown", **LOST}, {"state": "succeeded"})

    assert list(states.check_unsafe(evidence(*noted))) == []


def test_an_unsafe_action_that_is_ready_again_is_found() -> None:
    [found] = states.check_unsafe(evidence(*attempt({"state": "running", "fence": 7}, {"state": "ready"})))

    assert (found.invariant, found.detail) == (8, "is unsafe and went from running to ready")


def test_an_unsafe_action_that_failed_for_its_lease_and_was_tried_again_is_found_twice() -> None:
    first = attempt({"state": "running", "fence": 7}, {"state": "failed", **LOST})
    second = [type(c)(c.number + 10, at(20), c.table, c.old, {**c.new, "attempt": 2}) for c in attempt()]

    found = [violation.detail for violation in states.check_unsafe(evidence(*first, *second))]

    assert found == [
        "is unsafe, lost its lease and is failed instead of unknown",
        "is unsafe; attempt 2 was made after attempt 1 was lost",
    ]


@pytest.mark.parametrize(("calls", "broken"), [([], False), ([{"key": "other"}], False), ([{"key": KEY}], True)])
def test_a_worker_that_says_nothing_was_sent_is_believed_if_the_target_heard_nothing(
    calls: list[dict[str, Any]], *, broken: bool
) -> None:
    noted = attempt({"state": "running", "fence": 7}, {"state": "failed", **STOPPED})

    assert bool(list(states.check_unsafe(evidence(*noted, ledger=Ledger(calls=calls))))) is broken


def test_a_keyed_action_may_be_tried_again() -> None:
    noted = attempt({"state": "running", "fence": 7}, {"state": "failed", **LOST}, effect="keyed")

    assert list(states.check_unsafe(evidence(*noted))) == []
