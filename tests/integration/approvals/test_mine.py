"""What is mine to decide: in the list exactly when policy lets me decide it, and a yes of mine would count."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pytest

from libs.common.errors import RangerError
from libs.common.policy import Context, Principal, decide
from services.approvals.docket import question
from services.approvals.views import about
from tests.integration.approvals.room import ADA, BOB, RITA, VIC, Room, blocked

pytestmark = pytest.mark.stack

TENANTS = frozenset({"default"})
CLEO = Principal("cleo", TENANTS, frozenset({"operator"}), groups=frozenset({"payments"}))
NARROW = Principal("nora", TENANTS, frozenset({"approver"}), scopes=frozenset({"approval.view"}))
SERVICE = Principal.system("executor")
PEOPLE = (ADA, BOB, RITA, VIC, CLEO, NARROW)
QUESTIONS: tuple[dict[str, Any], ...] = (
    {},
    {"requester": "ada"},
    {"approvers": ["approver"]},
    {"groups": ["payments"]},
    {"groups": ["payments"], "requester": "cleo"},
    {"quorum": 2},
    {"approvers": ["nobody"]},
    {"approvers": ["nobody"], "escalation": [{"after_seconds": 0.1, "groups": ["payments"]}]},
)


async def mine(room: Room, who: Principal, **more: Any) -> list[dict[str, Any]]:
    """Everything on every page."""
    found: list[dict[str, Any]] = []
    after: dict[str, Any] = {}
    while True:
        page = await room.ask("list", who=who, mine=True, limit=2, **after, **more)
        found += page["items"]
        if page["next"] is None:
            return found
        after = {"after": page["next"]}


async def test_it_is_in_the_list_exactly_when_a_yes_would_count(room: Room) -> None:
    await room.start()
    ids = [await room.asked(**asked) for asked in QUESTIONS]
    await room.told(ids[-1], "approval.requested", "approval.escalated")
    await room.grant(ids[5])
    over = await room.asked()
    await room.say_no(over)

    listed = {who.actor: {item["approval_id"] for item in await mine(room, who)} for who in PEOPLE}

    for who, key in product(PEOPLE, ids):
        assert (key in listed[who.actor]) == await _lets(room, who, key), (who.actor, QUESTIONS[ids.index(key)])
    assert not any(over in found for found in listed.values())
    assert listed["ada"] == {ids[0]}
    assert listed["cleo"] == {ids[0], ids[1], ids[3], ids[5], ids[7]}
    assert listed["vic"] == listed["nora"] == set()
    for who in (ADA, BOB, CLEO, RITA):
        for key in sorted(listed[who.actor]):
            shown = await room.ask("get", approval_id=key)
            if shown["state"] == "requested":
                await room.grant(key, who=who)
    for who, key in product((VIC, NARROW, SERVICE), ids):
        with pytest.raises(RangerError):
            await room.grant(key, who=who)


async def test_each_says_what_would_run_who_agreed_and_who_still_may(room: Room) -> None:
    await room.start()
    arguments = {"method": "POST", "url": "http://router/shards/7", "headers": {"authorization": "•••"}}
    approval = await room.asked(quorum=3, arguments=arguments, approvers=["approver"], groups=["payments"])
    await room.grant(approval, who=BOB)

    [item] = await mine(room, CLEO, state="requested")

    assert (item["step"], item["action"], item["resource_id"]) == ("shift", "http.request", "shard-7")
    assert (item["arguments"], item["arguments_left_out"]) == (arguments, False)
    assert (item["plan_hash"], item["action_hash"], item["requester"]) == ("a" * 64, "b" * 64, "rita")
    assert [vote["approver"] for vote in item["votes"]] == ["bob"]
    assert item["may_decide"] == {"names": ["approver", "payments"], "not": ["rita", "bob"], "missing": 2}
    assert item["expires_at"]
    assert await mine(room, BOB) == []


async def test_a_list_leaves_long_arguments_out_and_says_so(room: Room) -> None:
    await room.start()
    approval = await room.asked(arguments={"text": "x" * 5_000})

    [item] = await mine(room, ADA)

    assert (item["arguments"], item["arguments_left_out"]) == ({}, True)
    assert (await room.ask("get", approval_id=approval))["arguments"] == {"text": "x" * 5_000}


async def test_what_was_decided_is_nobodys_to_decide(room: Room) -> None:
    await room.start()
    approval = await room.asked()
    await room.say_no(approval)

    assert await mine(room, ADA) == []
    assert await mine(room, ADA, state="rejected") == []
    assert len(await room.listed(1, state="rejected")) == 1


async def _lets(room: Room, who: Principal, key: str) -> bool:
    """What policy says of this person and this question, and whether a vote of theirs stands already."""
    shown = await room.ask("get", approval_id=key)
    if any(vote["approver"] == who.actor for vote in shown["votes"]):
        return False
    names = {"approvers": shown["approvers"], "groups": shown["groups"], "escalation": shown["escalation"]}
    [(envelope, _), *_] = await room.facts(key)
    fact = blocked(shown["execution_id"], requester=shown["requester"], **names)
    asked = question(fact, envelope, now=datetime.now(UTC), default_seconds=60)
    resource = about(replace(asked, level=shown["level"]))
    return (await decide(who, "approval.decide", resource, Context(rationale_present=True))).allow
