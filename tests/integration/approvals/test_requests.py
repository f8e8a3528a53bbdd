"""An execution that waits for an approval asks once, and one that has ended asks no more."""

from typing import get_args

import pytest

from libs.common.contracts.execution import (
    BlockedReason,
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
)
from libs.common.errors import Conflict
from libs.common.ids import new_id
from tests.integration.approvals.room import ACTION, PLAN, Room, blocked

pytestmark = pytest.mark.stack

ENDS: list[tuple[type[ExecutionFact], dict[str, str]]] = [
    (ExecutionCompleted, {"verified": "none"}),
    (ExecutionFailed, {"reason": "deadline_exceeded"}),
    (ExecutionAborted, {"rationale": "enough"}),
]


def ended(execution_id: str, kind: type[ExecutionFact] = ExecutionAborted) -> ExecutionFact:
    fields = {"execution_id": execution_id, "incident_id": "i-1", "runbook_id": "reroute"}
    return kind.model_validate(fields | dict(ENDS)[kind])


async def test_a_question_is_asked_once_however_often_the_execution_says_that_it_waits(room: Room) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")
    execution_id = new_id()

    await room.say(*[blocked(execution_id) for _ in range(20)])
    await room.consumed()

    [item] = await room.listed(1, execution_id=execution_id)
    [(envelope, fact)] = await room.told(item["approval_id"], "approval.requested")
    assert (fact.plan_hash, fact.action_hash, fact.requester, fact.risk) == (PLAN, ACTION, "rita", "high")
    assert (fact.step, fact.approval_of, fact.action, fact.resource_id) == (
        "shift",
        "action",
        "http.request",
        "shard-7",
    )
    assert (envelope.execution_id, envelope.incident_id, envelope.actor) == (execution_id, "i-1", "svc_approvals")
    assert envelope.correlation == f"c-{execution_id}"
    assert item["prompt"] == "Shift all traffic?"
    assert item["state"] == "requested"


async def test_who_waits_for_something_else_asks_nothing(room: Room) -> None:
    await room.start()

    await room.say(*[blocked(new_id(), reason=reason) for reason in get_args(BlockedReason) if reason != "approval"])
    await room.consumed()

    assert await room.facts() == []


async def test_a_dry_run_asks_nobody_and_its_end_withdraws_nothing(room: Room) -> None:
    await room.start()
    approval = await room.asked()
    execution_id = (await room.ask("get", approval_id=approval))["execution_id"]

    await room.say(blocked(new_id(), dry_run=True), ended(execution_id).model_copy(update={"dry_run": True}))
    await room.consumed()

    assert [fact.subject for _, fact in await room.facts()] == ["approval.requested"]


async def test_what_an_ended_execution_asked_is_withdrawn(room: Room) -> None:
    await room.start()
    ids = {kind: await room.asked() for kind, _ in ENDS}
    executions = {kind: (await room.ask("get", approval_id=key))["execution_id"] for kind, key in ids.items()}

    await room.say(*[ended(execution_id, kind) for kind, execution_id in executions.items()])

    for approval_id in ids.values():
        facts = await room.told(approval_id, "approval.requested", "approval.withdrawn")
        assert facts[-1][1].reason == "execution_ended"
        with pytest.raises(Conflict, match="from withdrawn to granted"):
            await room.grant(approval_id)
    assert await room.rows("SELECT 1 FROM timer WHERE state = 'set'") == []


async def test_a_question_that_comes_after_the_end_is_not_asked(room: Room) -> None:
    await room.start()
    execution_id = new_id()

    await room.say(ended(execution_id), version=4)
    await room.say(blocked(execution_id), version=3)
    await room.consumed()

    assert await room.facts() == []


async def test_the_end_leaves_what_was_decided(room: Room) -> None:
    await room.start()
    approval_id = await room.asked()
    execution_id = (await room.grant(approval_id))["execution_id"]

    await room.say(ended(execution_id))
    await room.consumed()

    await room.told(approval_id, "approval.requested", "approval.granted")


async def test_a_step_that_asks_about_other_bytes_takes_its_first_question_back(room: Room) -> None:
    await room.start()
    execution_id = new_id()

    await room.say(blocked(execution_id), blocked(execution_id, action_hash="c" * 64))
    await room.consumed()

    [new, old] = sorted(await room.listed(2, execution_id=execution_id), key=lambda item: str(item["state"]))
    assert (new["state"], new["action_hash"], old["state"]) == ("requested", "c" * 64, "withdrawn")
    facts = await room.told(old["approval_id"], "approval.requested", "approval.withdrawn")
    assert facts[-1][1].reason == "superseded"


async def test_a_question_that_does_not_say_what_it_is_about_is_a_dead_letter(room: Room) -> None:
    await room.start()

    await room.say(blocked(new_id(), plan_hash=None))
    await room.consumed()

    [letter] = await room.rows("SELECT reason FROM dead_letter")
    assert "plan_hash" in letter["reason"]
    assert await room.facts() == []


async def test_lists_go_page_by_page_newest_first_and_by_what_is_asked_for(room: Room) -> None:
    await room.start()
    ids = [await room.asked(incident_id=f"i-{n % 2}") for n in range(5)]
    await room.say_no(ids[0])

    first = await room.ask("list", limit=2)
    second = await room.ask("list", limit=2, after=first["next"])
    third = await room.ask("list", limit=2, after=second["next"])

    pages = [item["approval_id"] for page in (first, second, third) for item in page["items"]]
    assert pages == ids[::-1]
    assert third["next"] is None
    assert [item["approval_id"] for item in await room.listed(1, state="rejected")] == [ids[0]]
    assert [item["approval_id"] for item in await room.listed(2, incident_id="i-1")] == [ids[3], ids[1]]
    assert (await room.ask("list", execution_id=new_id()))["items"] == []
