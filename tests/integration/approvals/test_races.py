"""Whoever races, a question has one end, and its facts tell just that one."""

import asyncio
import signal
from typing import Any

import pytest

from libs.common.contracts.execution import ExecutionAborted
from libs.common.errors import Conflict, RangerError
from libs.common.ids import new_id
from tests.integration.approvals.room import ADA, BOB, Executor, Room, blocked
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

ROUNDS = 25


async def attempt(work: Any) -> str:
    """`ok`, or the code of the refusal."""
    try:
        await work
    except RangerError as error:
        return error.reason_code
    return "ok"


async def many(room: Room, count: int = ROUNDS, **more: Any) -> list[str]:
    """So many open questions."""
    executions = [new_id() for _ in range(count)]
    await room.say(*[blocked(execution_id, **more) for execution_id in executions])
    await room.consumed()
    return [str(row["id"]) for row in await room.rows("SELECT approval_id AS id FROM approval ORDER BY 1")]


async def ends(room: Room, ids: list[str]) -> dict[str, list[str]]:
    """What was told of each, once each has come to an end."""

    async def decided() -> bool:
        return await room.rows("SELECT 1 FROM approval WHERE state = 'requested' LIMIT 1") == []

    await eventually(decided, timeout=20)
    found: dict[str, list[str]] = {key: [] for key in ids}
    for envelope, _ in await room.facts():
        found[envelope.aggregate_id].append(envelope.type)
        assert envelope.aggregate_version == len(found[envelope.aggregate_id])
    return found


async def test_of_a_grant_and_a_rejection_at_two_processes_exactly_one_wins(room: Room) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")
    ids = await many(room)

    outcomes = await asyncio.gather(
        *(asyncio.gather(attempt(room.grant(key)), attempt(room.say_no(key))) for key in ids)
    )

    told = await ends(room, ids)
    for key, pair in zip(ids, outcomes, strict=True):
        assert sorted(pair) == ["ok", "undefined_move"]
        winner = "approval.granted" if pair[0] == "ok" else "approval.rejected"
        assert told[key] == ["approval.requested", winner]


async def test_of_an_expiry_and_a_grant_exactly_one_wins(room: Room) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")
    ids = await many(room)
    await room.rows("UPDATE approval SET expires_at = clock_timestamp() + interval '400 milliseconds' RETURNING 1")
    await room.rows("UPDATE timer SET due_at = a.expires_at FROM approval a WHERE approval_id = ref_id RETURNING 1")

    async def keep_trying(key: str) -> str:
        code = await attempt(room.grant(key, rationale="", who=ADA))  # malformed: warms the path, decides nothing
        assert code == "invalid"
        await asyncio.sleep(0.35 + 0.005 * ids.index(key))
        return await attempt(room.grant(key))

    outcomes = dict(zip(ids, await asyncio.gather(*map(keep_trying, ids)), strict=True))

    told = await ends(room, ids)
    assert set(outcomes.values()) <= {"ok", "undefined_move", "approval_expired"}
    for key, code in outcomes.items():
        winner = "approval.granted" if code == "ok" else "approval.expired"
        assert told[key] == ["approval.requested", winner]


async def test_of_a_grant_and_the_executions_end_exactly_one_wins(room: Room) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")
    ids = await many(room)
    executions = {
        str(row["id"]): row["execution_id"]
        for row in await room.rows("SELECT approval_id AS id, execution_id FROM approval")
    }

    def end(key: str) -> ExecutionAborted:
        return ExecutionAborted(
            execution_id=executions[key], incident_id="i-1", runbook_id="reroute", rationale="enough"
        )

    outcomes, _ = await asyncio.gather(
        asyncio.gather(*(attempt(room.grant(key)) for key in ids)), room.say(*[end(key) for key in ids])
    )

    await room.consumed()
    told = await ends(room, ids)
    for key, code in zip(ids, outcomes, strict=True):
        winner = "approval.granted" if code == "ok" else "approval.withdrawn"
        assert told[key] == ["approval.requested", winner]


async def test_of_two_revocations_exactly_one_wins(room: Room, executor: Executor) -> None:
    await room.start("approvals-1")
    await room.start("approvals-2")
    approval = await room.asked()
    await room.grant(approval)

    codes = await asyncio.gather(*(attempt(room.revoke(approval, who=who)) for who in (ADA, BOB)))

    assert sorted(codes) == ["ok", "undefined_move"]
    assert len(executor.asked) == 1
    await room.told(approval, "approval.requested", "approval.granted", "approval.revoked")


async def test_a_timer_outlives_the_process_and_fires_once(room: Room) -> None:
    dying = await room.start("approvals-1")
    approval = await room.asked(expires_seconds=1.0)

    await dying.end(signal.SIGKILL)
    await room.start("approvals-2")
    await room.start("approvals-3")

    await room.told(approval, "approval.requested", "approval.expired")
    assert [row["state"] for row in await room.rows("SELECT state FROM timer")] == ["fired"]


async def test_a_process_that_dies_while_its_timer_fires_leaves_it_to_the_next(room: Room, tmp_path: Any) -> None:
    dying = await room.start(RR_CRASH_AT="approvals_timer_fired", RR_CRASH_ONCE=str(tmp_path / "crashed"))
    execution_id = new_id()
    await room.say(blocked(execution_id, expires_seconds=0.1))
    assert await asyncio.wait_for(dying.process.wait(), 20) == 137

    await room.start("approvals-2")

    [item] = await room.listed(1, execution_id=execution_id)
    await room.told(item["approval_id"], "approval.requested", "approval.expired")


async def test_a_process_killed_while_it_asks_asks_once(room: Room, tmp_path: Any) -> None:
    dying = await room.start(RR_CRASH_AT="consumer_after_commit", RR_CRASH_ONCE=str(tmp_path / "crashed"))
    execution_id = new_id()
    await room.say(blocked(execution_id))
    assert await asyncio.wait_for(dying.process.wait(), 20) == 137

    await room.start("approvals-2")
    await room.say(blocked(execution_id))

    [item] = await room.listed(1, execution_id=execution_id)
    await room.told(item["approval_id"], "approval.requested")
    with pytest.raises(Conflict):
        await room.grant(item["approval_id"], plan_hash="")
