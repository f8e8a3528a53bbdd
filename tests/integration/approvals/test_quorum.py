"""So many different people as it takes, never whoever asked; and one no is a no."""

import asyncio
from typing import Any

import pytest

from libs.common.contracts.approval import ApprovalGranted
from libs.common.errors import Conflict, Denied, InvalidInput, RangerError
from libs.common.ids import new_id
from libs.common.policy import Principal
from tests.integration.approvals.room import ADA, BOB, RITA, Executor, Room, blocked

pytestmark = pytest.mark.stack

TENANTS = frozenset({"default"})
CLEO = Principal("cleo", TENANTS, frozenset({"operator"}), groups=frozenset({"payments"}))
DAN = Principal("dan", TENANTS, frozenset({"approver"}), groups=frozenset({"payments"}))
FORM = {
    "window": {"type": "integer", "label": "Minutes", "required": True, "one_of": []},
    "note": {"type": "string", "label": "Note", "required": False, "one_of": []},
}


@pytest.fixture(autouse=True)
async def _instances(room: Room) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")


async def voters(room: Room, approval: str) -> list[str]:
    """Who has agreed, as it is shown."""
    return [vote["approver"] for vote in (await room.ask("get", approval_id=approval))["votes"]]


async def test_the_last_of_so_many_people_grants_and_each_is_told(room: Room) -> None:
    approval = await room.asked(quorum=2)

    first = await room.grant(approval, channel="cli")
    second = await room.grant(approval, who=BOB, rationale="so did I")

    facts = await room.told(approval, "approval.requested", "approval.voted", "approval.voted", "approval.granted")
    _, one, two, granted = [fact for _, fact in facts]
    assert (first["state"], first["votes"], second["state"], second["votes"]) == ("requested", 1, "granted", 2)
    assert (one.approver, one.votes, one.quorum, one.channel) == ("ada", 1, 2, "cli")
    assert (two.approver, two.votes) == ("bob", 2)
    assert isinstance(granted, ApprovalGranted)
    assert (granted.approver, granted.approvers) == ("bob", ["ada", "bob"])
    assert [(vote.approver, vote.rationale) for vote in granted.votes or []] == [
        ("ada", "looked at it"),
        ("bob", "so did I"),
    ]
    assert [row["actor"] for row in await room.rows("SELECT actor FROM vote ORDER BY id")] == ["ada", "bob"]


async def test_every_decision_says_who_how_why_and_by_which_policies(room: Room) -> None:
    approval = await room.asked(quorum=2)

    await room.grant(approval, channel="chat")
    await room.say_no(approval)

    facts = await room.told(approval, "approval.requested", "approval.voted", "approval.rejected")
    for envelope, fact in facts[1:]:
        assert (envelope.actor, fact.method) == (fact.approver, "token")
        query = "SELECT actor, action, allow FROM decision WHERE decision_id::text = $1"
        [decided] = await room.rows(query, fact.decision_id)
        assert dict(decided) == {"actor": fact.approver, "action": "approval.decide", "allow": True}
        assert fact.policy_revision
        assert fact.rationale


async def test_nobody_counts_twice(room: Room) -> None:
    approval = await room.asked(quorum=2)
    await room.grant(approval)
    token = Principal(ADA.actor, ADA.tenants, ADA.roles, method="jwt", scopes=frozenset({"approval.*"}))

    for again in (ADA, token):
        with pytest.raises(Conflict) as refused:
            await room.grant(approval, who=again)
        assert refused.value.reason_code == "already_voted"

    assert await voters(room, approval) == ["ada"]


async def test_whoever_asked_does_not_vote_and_may_say_no(room: Room) -> None:
    approval = await room.asked(quorum=2)

    with pytest.raises(Denied) as refused:
        await room.grant(approval, who=RITA)

    assert refused.value.reason_code == "policy.four_eyes"
    assert (await room.say_no(approval, who=RITA))["state"] == "rejected"


async def test_one_no_is_a_no_however_many_agreed(room: Room) -> None:
    approval = await room.asked(quorum=3)
    await room.grant(approval)
    await room.grant(approval, who=BOB)

    await room.say_no(approval, who=DAN)

    with pytest.raises(Conflict, match="from rejected to granted"):
        await room.grant(approval, who=CLEO)


async def test_of_a_group_so_many_are_needed_and_others_do_not_count(room: Room) -> None:
    approval = await room.asked(quorum=2, groups=["payments"])

    with pytest.raises(Denied) as refused:
        await room.grant(approval)
    assert refused.value.reason_code == "policy.group"

    await room.grant(approval, who=CLEO)
    assert (await room.grant(approval, who=DAN))["state"] == "granted"


async def test_a_vote_that_is_taken_back_does_not_count_and_may_be_cast_again(room: Room) -> None:
    approval = await room.asked(quorum=2)
    await room.grant(approval)

    answer = await room.ask("withdraw_vote", approval_id=approval, rationale="wrong shard after all")

    assert (answer["state"], answer["votes"]) == ("requested", 0)
    assert (await room.grant(approval, who=BOB))["state"] == "requested"
    assert (await room.grant(approval))["state"] == "granted"
    facts = await room.told(
        approval,
        *("approval.requested", "approval.voted", "approval.vote_withdrawn", "approval.voted", "approval.voted"),
        "approval.granted",
    )
    assert (facts[2][1].approver, facts[2][1].rationale, facts[2][1].votes) == ("ada", "wrong shard after all", 0)
    assert facts[-1][1].approvers == ["bob", "ada"]


async def test_only_ones_own_vote_is_taken_back_and_only_while_it_is_open(room: Room, executor: Executor) -> None:
    approval = await room.asked(quorum=2)
    await room.grant(approval)

    with pytest.raises(Conflict) as refused:
        await room.ask("withdraw_vote", who=BOB, approval_id=approval, rationale="not mine")
    assert refused.value.reason_code == "no_vote"
    await room.grant(approval, who=BOB)
    with pytest.raises(Conflict, match="from granted"):
        await room.ask("withdraw_vote", who=BOB, approval_id=approval, rationale="too late")

    await room.revoke(approval)
    assert executor.asked[0]["body"]["approval_id"] == approval


async def test_votes_on_what_has_changed_since_count_for_nothing(room: Room) -> None:
    execution_id = new_id()
    await room.say(blocked(execution_id, quorum=2))
    [old] = await room.listed(1, execution_id=execution_id)
    await room.grant(old["approval_id"])

    await room.say(blocked(execution_id, quorum=2, action_hash="c" * 64))
    await room.consumed()

    [new] = await room.listed(1, execution_id=execution_id, state="requested")
    assert await voters(room, new["approval_id"]) == []
    with pytest.raises(Conflict):
        await room.grant(old["approval_id"], who=BOB)
    assert (await room.grant(new["approval_id"], who=BOB, action_hash="c" * 64))["state"] == "requested"


async def test_of_many_votes_at_two_processes_each_counts_once_and_one_grants(room: Room) -> None:
    approval = await room.asked(quorum=5)
    people = [Principal(f"p{n}", TENANTS, frozenset({"approver"})) for n in range(8)]

    outcomes = await asyncio.gather(*(_vote(room, approval, who) for who in people for _ in range(2)))

    facts = [envelope.type for envelope, _ in await room.facts(approval)]
    assert facts == ["approval.requested", *["approval.voted"] * 5, "approval.granted"]
    assert outcomes.count("ok") == 5
    assert len(await room.rows("SELECT DISTINCT actor FROM vote")) == 5


async def test_a_process_that_dies_with_a_vote_has_not_counted_it(room: Room, tmp_path: Any) -> None:
    for instance in room.instances:
        await instance.end()
    once = str(tmp_path / "crashed")
    dying = await room.start("approvals-3", RR_CRASH_AT="approvals_vote_counted", RR_CRASH_ONCE=once)
    approval = await room.asked(quorum=2)
    with pytest.raises(RangerError):
        await room.grant(approval, key="once")
    assert await dying.process.wait() == 137
    await room.start("approvals-4")

    assert await voters(room, approval) == []
    await room.grant(approval, key="once")
    await room.grant(approval, key="once")

    await room.told(approval, "approval.requested", "approval.voted")


async def test_what_is_filled_in_is_checked_stored_and_told(room: Room) -> None:
    approval = await room.asked(approval_of="plan", action_hash=None, form=FORM)

    await room.grant(approval, action_hash="", values={"window": 30})

    facts = await room.told(approval, "approval.requested", "approval.granted")
    assert facts[-1][1].values == {"window": 30}
    assert (await room.ask("get", approval_id=approval))["values"] == {"window": 30}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({}, "values.window is missing"),
        ({"window": "30"}, "values.window must be of type integer"),
        ({"window": 30, "more": 1}, "values.more the form has no such field"),
        ({"window": 30, "note": "x" * 70_000}, "64 KiB"),
    ],
)
async def test_what_does_not_fit_the_form_is_refused_by_name_and_nothing_is_lost(
    room: Room, values: dict[str, Any], says: str
) -> None:
    approval = await room.asked(approval_of="plan", action_hash=None, form=FORM)

    with pytest.raises(InvalidInput, match=says) as refused:
        await room.grant(approval, action_hash="", values=values)

    assert refused.value.reason_code == "form_faults"
    assert (await room.grant(approval, action_hash="", values={"window": 30}))["state"] == "granted"


async def test_who_agrees_agrees_to_the_same_values(room: Room) -> None:
    approval = await room.asked(approval_of="plan", action_hash=None, form=FORM, quorum=2)
    await room.grant(approval, action_hash="", values={"window": 30})

    with pytest.raises(Conflict) as refused:
        await room.grant(approval, who=BOB, action_hash="", values={"window": 60})
    assert (refused.value.reason_code, refused.value.data["fields"]) == ("form_differs", ["window"])

    await room.grant(approval, who=BOB, action_hash="", values={"window": 30})


async def _vote(room: Room, approval: str, who: Principal) -> str:
    try:
        await room.grant(approval, who=who)
    except RangerError as error:
        return error.reason_code
    return "ok"
