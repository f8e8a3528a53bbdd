"""Votes: so many different people, of the same mind, about what is asked; whatever the order in which they speak."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from libs.common.contracts.approval import ApprovalGranted
from libs.common.errors import Refusal
from services.approvals.deciding import agreed, open_to, rejected, vote_withdrawn
from services.approvals.errors import AlreadyVoted, FormDiffers, FormFaults, NotAnApprover, NoVote
from services.approvals.model import Approval, Told, escalated, reminded
from tests.unit.approvals.samples import ACTION, MINUTES_15, NOW, PLAN, SOON, asked, word

PEOPLE = ("ada", "bob", "cleo", "rita")
"""Rita asked."""
FORM = {
    "window": {"type": "integer", "label": "w", "required": True, "one_of": []},
    "note": {"type": "string", "label": "n", "required": False, "one_of": []},
}
LEVELS = [{"after_seconds": 60.0, "approvers": ["lead"]}, {"after_seconds": 120.0, "groups": ["board"]}]


def yes(approval: Approval, who: str, *roles: str, **more: Any) -> list[Told]:
    said = {"plan_hash": PLAN, "action_hash": ACTION, "now": SOON, "valid_for": MINUTES_15} | more
    return agreed(approval, word(who, *roles), **said)


def after(approval: Approval, who: str, *roles: str, **more: Any) -> Approval:
    return yes(approval, who, *roles, **more)[-1].approval


MOVES = st.lists(st.tuples(st.sampled_from(PEOPLE), st.sampled_from(["yes", "yes", "back", "no"])), max_size=14)


@settings(max_examples=150, deadline=None)
@given(quorum=st.integers(1, 4), moves=MOVES)
def test_it_is_granted_exactly_when_so_many_others_agree_at_the_same_time(quorum: int, moves: Any) -> None:
    approval, voters, story = asked(quorum=quorum), [], []
    for who, move in moves:
        was_open = approval.state == "requested"
        try:
            if move == "yes":
                told = yes(approval, who)
            elif move == "back":
                told = [vote_withdrawn(approval, word(who), now=SOON)]
            else:
                told = [rejected(approval, word(who), now=SOON)]
        except Refusal:
            assert not was_open or who == "rita" or (move == "yes") == (who in voters)
            continue
        assert was_open
        voters = [*voters, who] if move == "yes" else [name for name in voters if name != who or move == "no"]
        story += told
        approval = told[-1].approval
        assert (approval.state == "granted") == (move == "yes" and len(voters) >= quorum)
        assert (approval.state == "rejected") == (move == "no")
    assert [told.approval.version for told in story] == list(range(2, len(story) + 2))
    assert "rita" not in voters
    grants = [told.fact for told in story if isinstance(told.fact, ApprovalGranted)]
    assert [grant.approvers for grant in grants] == ([voters] if approval.state == "granted" else [])


@settings(max_examples=150, deadline=None)
@given(
    who=st.sampled_from(PEOPLE),
    names=st.sets(st.sampled_from(["lead", "board", "ops"])),
    voted=st.sets(st.sampled_from(PEOPLE[:3]), max_size=2),
    level=st.integers(0, 2),
    late=st.booleans(),
    named=st.booleans(),
)
def test_a_yes_counts_exactly_where_the_list_says_so(
    who: str, names: set[str], voted: set[str], level: int, late: bool, named: bool
) -> None:
    approval = asked(quorum=4, approvers=["ops"] if named else None, escalation=LEVELS)
    for voter in sorted(voted):
        approval = after(approval, voter, "ops")
    for reached in range(1, level + 1):
        approval = escalated(approval, reached).approval
    now = approval.expires_at if late else SOON
    said = word(who, *(names or {"none"}))

    try:
        agreed(approval, said, plan_hash=PLAN, action_hash=ACTION, now=now, valid_for=MINUTES_15)
    except Refusal:
        assert not open_to(approval, said, now)
    else:
        assert open_to(approval, said, now)


def test_each_level_adds_to_those_who_may_decide() -> None:
    approval = asked(approvers=["ops"], escalation=LEVELS)

    with pytest.raises(NotAnApprover):
        yes(approval, "ada", "lead")
    first = escalated(approval, 1)
    assert after(first.approval, "ada", "lead").state == "granted"
    with pytest.raises(NotAnApprover):
        yes(first.approval, "ada", "board")
    second = escalated(first.approval, 2)
    assert after(second.approval, "ada", "board").state == "granted"
    assert after(second.approval, "ada", "ops").state == "granted"


def test_where_nobody_is_named_a_level_shuts_nobody_out() -> None:
    approval = escalated(asked(escalation=LEVELS), 1).approval

    assert after(approval, "ada", "whoever").state == "granted"


def test_a_reminder_says_how_many_have_agreed_and_who_still_may() -> None:
    approval = escalated(after(asked(quorum=2, approvers=["ops"], escalation=LEVELS), "ada", "ops"), 1).approval

    fact = reminded(approval, 2).fact.model_dump()

    assert {name: fact[name] for name in ("number", "votes", "quorum", "approvers", "groups")} == {
        "number": 2,
        "votes": 1,
        "quorum": 2,
        "approvers": ["ops", "lead"],
        "groups": [],
    }


def test_a_vote_is_for_the_hashes_it_named() -> None:
    """Votes on something else, wherever they come from, count for nothing."""
    voted = after(asked(quorum=2), "ada")
    elsewhere = replace(voted.votes[0], action_hash="c" * 64)

    approval = after(replace(voted, votes=(elsewhere,)), "bob")

    assert (approval.state, len(approval.standing)) == ("requested", 1)


def test_nobody_votes_twice_or_takes_back_what_is_not_theirs() -> None:
    approval = after(asked(quorum=2), "ada")

    with pytest.raises(AlreadyVoted):
        yes(approval, "ada")
    with pytest.raises(NoVote):
        vote_withdrawn(approval, word("bob"), now=SOON)


def test_what_is_filled_in_fits_the_form_and_is_the_same_for_all() -> None:
    approval = asked(quorum=2, form=FORM)

    with pytest.raises(FormFaults, match=r"values\.window is missing"):
        yes(approval, "ada")
    approval = after(approval, "ada", values={"window": 30})
    with pytest.raises(FormDiffers) as refused:
        yes(approval, "bob", values={"window": 30, "note": "and slowly"})
    assert refused.value.data["fields"] == ["note"]
    assert yes(approval, "bob", values={"window": 30})[-1].approval.filled == {"window": 30}


@pytest.mark.parametrize(
    ("seconds", "given_times", "times"),
    [
        (600.0, None, (300.0, 540.0)),
        (30.0, None, ()),
        (600.0, [], ()),
        (600.0, [500.0, 10.0, 600.0, 900.0, 0.0], (10.0, 500.0)),
    ],
)
def test_reminders_are_when_the_question_says_or_at_half_and_nine_tenths(
    seconds: float, given_times: Any, times: tuple[float, ...]
) -> None:
    assert asked(expires_seconds=seconds, remind_after_seconds=given_times).reminders == times


def test_a_level_that_comes_after_the_end_is_none() -> None:
    assert asked(expires_seconds=100.0, escalation=LEVELS).escalation[1:] == ()
    assert asked(expires_seconds=100.0).expires_at == NOW + timedelta(seconds=100)
