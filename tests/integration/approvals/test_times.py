"""Reminders, levels and the end of a question: each once, by the database's clock, whoever dies meanwhile."""

import asyncio
import signal
from typing import Any

import pytest

from libs.common.errors import Denied
from libs.common.ids import new_id
from libs.common.policy import Principal
from tests.integration.approvals.room import ADA, Room, blocked
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

LEAD = Principal("lea", frozenset({"default"}), frozenset({"operator", "lead"}))
LATER = [{"after_seconds": 0.3, "approvers": ["operator"], "groups": ["storage"]}]


async def test_who_may_decide_is_reminded_and_then_others_may_too(room: Room) -> None:
    await room.start()
    approval = await room.asked(approvers=["lead"], remind_after_seconds=[0.2, 0.4], escalation=LATER)

    facts = await room.told(
        approval, "approval.requested", "approval.reminded", "approval.escalated", "approval.reminded"
    )

    (_, first), (_, level), (_, second) = facts[1:]
    assert (first.number, first.approvers, first.votes, first.quorum) == (1, ["lead"], 0, 1)
    assert (level.level, level.approvers, level.groups) == (1, ["operator"], ["storage"])
    assert (second.number, second.approvers, second.groups) == (2, ["lead", "operator"], ["storage"])
    assert (await room.grant(approval))["state"] == "granted"


async def test_before_its_time_the_next_level_may_not(room: Room) -> None:
    await room.start()
    approval = await room.asked(approvers=["lead"], escalation=[LATER[0] | {"after_seconds": 300.0}])

    with pytest.raises(Denied) as refused:
        await room.grant(approval)
    assert refused.value.reason_code == "policy.group"

    await room.grant(approval, who=LEAD)
    assert {row["state"] for row in await room.rows("SELECT state FROM timer")} == {"cancelled"}


async def test_by_default_it_is_reminded_at_half_and_at_nine_tenths_of_the_time(room: Room) -> None:
    await room.start()
    await room.asked(expires_seconds=600.0)

    rows = await room.rows(
        "SELECT kind, round(extract(epoch FROM t.due_at - a.requested_at))::int AS after FROM timer t"
        " JOIN approval a ON approval_id = ref_id ORDER BY t.due_at"
    )
    assert [(row["kind"], row["after"]) for row in rows] == [("reminder", 300), ("reminder", 540), ("expiry", 600)]


async def test_times_are_told_once_by_two_processes_and_across_their_death(room: Room) -> None:
    dying = await room.start("approvals-1")
    ids = [new_id() for _ in range(10)]
    asked = {"approvers": ["lead"], "remind_after_seconds": [1.0, 1.2], "expires_seconds": 2.5}
    await room.say(*[blocked(key, **asked, escalation=[LATER[0] | {"after_seconds": 1.1}]) for key in ids])
    await room.consumed()
    await dying.end(signal.SIGKILL)

    await room.start("approvals-2")
    await room.start("approvals-3")

    for key in ids:
        [item] = await room.listed(1, execution_id=key)
        await room.told(item["approval_id"], *await _subjects(room, item["approval_id"]))
        told = await _subjects(room, item["approval_id"])
        assert told[-1] == "approval.expired"
        assert len(told) - len(set(told)) <= 1  # two reminders, of different numbers
    assert {row["state"] for row in await room.rows("SELECT state FROM timer")} <= {"fired", "cancelled"}


async def test_a_process_that_dies_while_it_escalates_leaves_it_to_the_next(room: Room, tmp_path: Any) -> None:
    dying = await room.start(RR_CRASH_AT="approvals_timer_fired", RR_CRASH_ONCE=str(tmp_path / "crashed"))
    execution_id = new_id()
    await room.say(blocked(execution_id, approvers=["lead"], escalation=LATER))
    assert await asyncio.wait_for(dying.process.wait(), 20) == 137

    await room.start("approvals-2")

    [item] = await room.listed(1, execution_id=execution_id)
    await room.told(item["approval_id"], "approval.requested", "approval.escalated")
    assert (await room.grant(item["approval_id"], who=ADA))["state"] == "granted"


async def test_what_is_decided_is_neither_reminded_nor_escalated(room: Room) -> None:
    await room.start()
    approval = await room.asked(remind_after_seconds=[0.4], approvers=["operator"], escalation=LATER)
    await room.grant(approval)
    other = await room.asked(remind_after_seconds=[0.8])

    await room.told(other, "approval.requested", "approval.reminded")

    await room.told(approval, "approval.requested", "approval.granted")


async def _subjects(room: Room, approval: str) -> list[str]:
    """What was told of it, once it has come to its end."""

    async def over() -> bool:
        return (await room.facts(approval))[-1][0].type == "approval.expired"

    await eventually(over, timeout=20)
    return [envelope.type for envelope, _ in await room.facts(approval)]
