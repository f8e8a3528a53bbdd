"""Why a grant does not stand: one code for each reason, and of several grants the one that comes closest."""

from dataclasses import replace
from itertools import permutations
from typing import Any, get_args

import pytest

from services.executor.grants import Code, Grant, Wanted, closest_fault, fault

WANTED = Wanted("e", "s", "p" * 64, "a" * 64, "rita")
GOOD = Grant("x", "e", "s", "p" * 64, "a" * 64, "granted", "grace", over=False)
WRONG: list[tuple[dict[str, Any], Code]] = [
    ({"state": "expired"}, "approval_expired"),
    ({"over": True}, "approval_expired"),
    ({"state": "used"}, "approval_used"),
    ({"state": "revoked"}, "approval_revoked"),
    ({"state": "rejected"}, "approval_rejected"),
    ({"execution_id": "f"}, "approval_other_step"),
    ({"step_run_id": "t"}, "approval_other_step"),
    ({"plan_hash": "q" * 64}, "approval_other_plan"),
    ({"action_hash": "b" * 64}, "approval_other_action"),
    ({"action_hash": ""}, "approval_other_action"),
    ({"actor": "rita"}, "approval_own"),
]


def test_the_grant_of_just_this_stands() -> None:
    assert fault(GOOD, WANTED) is None


@pytest.mark.parametrize(("wrong", "code"), WRONG)
def test_whatever_is_wrong_has_a_code_and_a_sentence_that_names_the_approval(wrong: dict[str, Any], code: Code) -> None:
    found = fault(replace(GOOD, **wrong), WANTED)

    assert found is not None
    assert (found.code, found.why) == (code, code.removeprefix("approval_"))
    assert found.sentence.startswith("Approval x ")
    assert found.text.endswith(found.fix)


def test_every_code_has_its_case() -> None:
    assert {code for _, code in WRONG} | {"approval_missing"} == set(get_args(Code))


@pytest.mark.parametrize("state", ["revoked", "rejected", "expired", "used"])
def test_what_is_void_is_called_so_whatever_else_is_wrong(state: str) -> None:
    grant = Grant("x", "", "", "", "", state, "rita", over=True)

    found = fault(grant, WANTED)

    assert found is not None
    assert found.code == f"approval_{state}"


def test_both_ends_are_told_whole_to_programs_and_short_to_people() -> None:
    found = fault(replace(GOOD, plan_hash="q" * 64), WANTED)

    assert found is not None
    assert found.told(WANTED) == {
        "approval_id": "x",
        "approved": {"plan_hash": "q" * 64, "action_hash": "a" * 64},
        "present": {"plan_hash": "p" * 64, "action_hash": "a" * 64},
    }
    assert found.sentence == f"Approval x is for another plan: approved was {'q' * 12}, present is {'p' * 12}."


def test_of_several_the_one_that_comes_closest_is_told_in_whatever_order_they_come() -> None:
    stale = replace(GOOD, approval_id="stale", plan_hash="q" * 64)
    elsewhere = replace(GOOD, approval_id="elsewhere", step_run_id="t", action_hash="b" * 64)
    late = replace(GOOD, approval_id="late", over=True)

    for known in permutations([stale, elsewhere, late]):
        assert closest_fault(known, WANTED).code == "approval_expired"
    assert closest_fault([elsewhere, stale], WANTED).code == "approval_other_plan"


def test_where_none_is_known_that_is_the_reason() -> None:
    found = closest_fault([], WANTED)

    assert (found.code, found.grant) == ("approval_missing", None)
    assert found.told(WANTED) == {"present": {"plan_hash": "p" * 64, "action_hash": "a" * 64}}
