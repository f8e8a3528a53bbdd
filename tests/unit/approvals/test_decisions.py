"""What a person's word does to a question, and when it does nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import product
from typing import Any, Final

import pytest

from libs.common.errors import Refusal
from services.approvals.deciding import agreed, rejected, revoked
from services.approvals.errors import ApprovalDrift, ApprovalExpired, NotAnApprover, OwnRequest, UndefinedMove
from services.approvals.lifecycle import STATES, TABLE, State
from services.approvals.model import Approval, Told, Word, expired, withdrawn
from tests.unit.approvals.samples import ACTION, MINUTES_15, NOW, PLAN, SOON, asked, in_state, word


def yes(approval: Approval, who: Word | None = None, *, now: datetime = SOON, **seen: str) -> Told:
    hashes = {"plan_hash": PLAN, "action_hash": ACTION} | seen
    return agreed(approval, who or word(), now=now, valid_for=MINUTES_15, **hashes)[-1]


MOVES: Final[dict[str, Callable[[Approval], Told]]] = {
    "grant": yes,
    "reject": lambda approval: rejected(approval, word(), now=SOON),
    "revoke": lambda approval: revoked(approval, word(), now=SOON),
    "expire": lambda approval: expired(approval, now=SOON),
    "withdraw": lambda approval: withdrawn(approval, "execution_ended", now=SOON),
}


@pytest.mark.parametrize(("state", "name"), list(product(STATES, MOVES)))
def test_every_move_follows_the_table_and_tells_one_fact(state: State, name: Any) -> None:
    approval = in_state(state)

    if name not in TABLE[state]:
        with pytest.raises(UndefinedMove):
            MOVES[name](approval)
        return
    told = MOVES[name](approval)

    assert told.approval.state == TABLE[state][name]
    assert told.approval.version == approval.version + 1
    assert told.fact.subject == f"approval.{told.approval.state}"
    assert (told.fact.plan_hash, told.fact.action_hash) == (PLAN, ACTION)


def test_a_grant_says_who_why_and_until_when() -> None:
    told = yes(asked())

    assert told.fact.model_dump(exclude_none=True) == {
        "approval_id": asked().approval_id,
        "execution_id": "e-1",
        "incident_id": "i-1",
        "step_run_id": "s-1",
        "plan_hash": PLAN,
        "action_hash": ACTION,
        "approver": "ada",
        "rationale": "checked the plan",
        "expires_at": "2026-03-01T10:16:00.000000Z",
        "channel": "cli",
        "method": "token",
        "decision_id": "d-ada",
        "policy_revision": "r-1",
        "approvers": ["ada"],
        "votes": [
            {
                "approver": "ada",
                "rationale": "checked the plan",
                "channel": "cli",
                "method": "token",
                "decision_id": "d-ada",
                "policy_revision": "r-1",
                "voted_at": "2026-03-01T10:01:00.000000Z",
            }
        ],
    }
    assert told.approval.valid_until == SOON + MINUTES_15


@pytest.mark.parametrize(
    ("seen", "drifted"),
    [
        ({"plan_hash": "c" * 64}, ["plan_hash"]),
        ({"action_hash": "c" * 64}, ["action_hash"]),
        ({"action_hash": ""}, ["action_hash"]),
        ({"plan_hash": ACTION, "action_hash": PLAN}, ["plan_hash", "action_hash"]),
    ],
)
def test_other_hashes_grant_nothing(seen: dict[str, str], drifted: list[str]) -> None:
    with pytest.raises(ApprovalDrift) as refused:
        yes(asked(), **seen)

    assert refused.value.reason_code == "approval_drift"
    assert refused.value.data == {"drifted": drifted}


def test_an_approval_of_the_plan_has_no_action() -> None:
    plan = asked(approval_of="plan")

    assert yes(plan, action_hash="").fact.action_hash == ""
    with pytest.raises(ApprovalDrift):
        yes(plan)


def test_the_requester_does_not_grant_but_may_say_no() -> None:
    with pytest.raises(OwnRequest) as refused:
        yes(asked(), word("rita", "admin"))

    assert refused.value.reason_code == "own_request"
    assert rejected(asked(), word("rita"), now=SOON).approval.state == "rejected"


@pytest.mark.parametrize("late", [timedelta(0), timedelta(microseconds=1), timedelta(days=1)])
def test_after_its_time_nobody_decides_whatever_the_timer_has_said(late: timedelta) -> None:
    approval = asked()

    for decide in (lambda now: yes(approval, now=now), lambda now: rejected(approval, word(), now=now)):
        with pytest.raises(ApprovalExpired):
            decide(approval.expires_at + late)
        assert decide(approval.expires_at - timedelta(microseconds=1)).approval.version == 2


def test_where_roles_are_named_one_of_them_decides() -> None:
    approval = asked(approvers=["lead", "owner"])

    for decide in (lambda who: yes(approval, who), lambda who: rejected(approval, who, now=SOON)):
        with pytest.raises(NotAnApprover, match="lead, owner"):
            decide(word("ada", "admin", "operator"))
        assert decide(word("lea", "operator", "lead")).approval.approver == "lea"


def test_a_revocation_keeps_who_granted() -> None:
    grant = yes(asked()).approval

    told = revoked(grant, replace(word("bob"), rationale="wrong shard"), now=SOON)

    assert (told.approval.approver, told.approval.revoked_by) == ("ada", "bob")
    assert told.approval.rationale == "checked the plan"
    assert told.approval.revoke_rationale == "wrong shard"


def test_a_decided_question_is_refused_before_anything_else_is_said_about_it() -> None:
    decided = replace(asked(), state="rejected")

    with pytest.raises(Refusal) as refused:
        yes(decided, word("rita"), now=NOW + timedelta(days=1), plan_hash="c" * 64)

    assert refused.value.reason_code == "undefined_move"
