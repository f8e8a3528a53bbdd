"""A person's yes, no and not any more: by whom, about what, until when, and never twice."""

from datetime import datetime, timedelta
from typing import Any

import pytest

from libs.common.errors import Conflict, Denied, InvalidInput, NotFound, RangerError, Unavailable
from libs.common.ids import new_id
from libs.common.policy import Principal
from tests.integration.approvals.room import ADA, BOB, RITA, VIC, Executor, Instance, Room, blocked
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

STRANGER = Principal("sam", frozenset({"acme"}), frozenset({"admin"}))
SERVICE = Principal.system("executor")
WRONG: list[dict[str, Any]] = [
    {"rationale": ""},
    {"rationale": "  \n "},
    {"rationale": None},
    {"rationale": "x" * 2001},
    {"rationale": "nul\x00l"},
    {"plan_hash": None},
    {"action_hash": None},
    {"approver": "somebody else"},
    {"channel": "Say: yes"},
    {"approval_id": "1"},
]


@pytest.fixture
async def instance(room: Room) -> Instance:
    return await room.start(RR_APPROVAL_VALID_SECONDS="120")


@pytest.fixture
async def approval(room: Room, instance: Instance) -> str:
    """An open question of rita's."""
    assert instance.process.returncode is None
    return await room.asked()


async def test_a_grant_is_told_with_hashes_person_reason_and_its_end(
    room: Room, instance: Instance, approval: str
) -> None:
    answer = await room.grant(approval, channel="cli")

    facts = await room.told(approval, "approval.requested", "approval.granted")
    envelope, fact = facts[-1]
    shown = await room.ask("get", approval_id=approval)
    assert (answer["state"], answer["version"], answer["valid_until"]) == ("granted", 2, fact.expires_at)
    assert (fact.approver, fact.rationale, fact.channel, envelope.actor) == ("ada", "looked at it", "cli", "ada")
    assert (shown["plan_hash"], shown["action_hash"]) == (fact.plan_hash, fact.action_hash)
    assert instant(fact.expires_at) - instant(shown["decided_at"]) == timedelta(seconds=120)
    assert {row["state"] for row in await room.rows("SELECT state FROM timer")} == {"cancelled"}
    assert await instance.metric('approval_decisions_total{outcome="granted"}') == 1
    assert await instance.metric('approval_latency_seconds_count{outcome="granted"}') == 1


async def test_a_rejection_is_told_with_person_and_reason(room: Room, approval: str) -> None:
    await room.say_no(approval)

    facts = await room.told(approval, "approval.requested", "approval.rejected")
    assert (facts[-1][1].approver, facts[-1][1].rationale) == ("bob", "not now")


async def test_silence_is_a_rejection(room: Room, instance: Instance) -> None:
    approval = await room.asked(expires_seconds=0.2)

    facts = await room.told(approval, "approval.requested", "approval.expired")

    asked, silent = (envelope for envelope, _ in facts)
    assert silent.time >= facts[0][1].expires_at
    assert silent.correlation == asked.correlation
    assert await instance.metric('approval_decisions_total{outcome="expired"}') == 1
    with pytest.raises(Conflict, match="from expired to granted"):
        await room.grant(approval)


async def test_an_expired_question_is_refused_although_its_timer_has_not_fired(room: Room, approval: str) -> None:
    await room.rows("UPDATE approval SET expires_at = clock_timestamp() RETURNING 1")

    for decide in (room.grant, room.say_no):
        with pytest.raises(Conflict) as refused:
            await decide(approval)
        assert refused.value.reason_code == "approval_expired"

    await room.told(approval, "approval.requested")


async def test_a_plan_or_an_action_that_has_changed_since_it_was_looked_at_is_not_granted(
    room: Room, approval: str
) -> None:
    for wrong in ("plan_hash", "action_hash"):
        with pytest.raises(Conflict) as refused:
            await room.grant(approval, **{wrong: "c" * 64})

        assert refused.value.reason_code == "approval_drift"
        assert refused.value.data == {"drifted": [wrong]}
    await room.told(approval, "approval.requested")


async def test_the_requester_does_not_grant_her_own_request(room: Room, approval: str) -> None:
    with pytest.raises(Denied) as refused:
        await room.grant(approval, who=RITA)

    assert refused.value.reason_code == "policy.four_eyes"
    await room.told(approval, "approval.requested")


async def test_only_people_who_may_decide_do(room: Room, approval: str) -> None:
    for who in (VIC, SERVICE):
        for decide in (room.grant, room.say_no, room.revoke):
            with pytest.raises(Denied) as refused:
                await decide(approval, who=who)
            assert refused.value.reason_code == "policy.role"


async def test_where_the_runbook_names_roles_one_of_them_decides(room: Room, instance: Instance) -> None:
    assert instance.process.returncode is None
    approval = await room.asked(approvers=["storage_lead"])
    lead = Principal("lea", ADA.tenants, frozenset({"operator", "storage_lead"}))

    with pytest.raises(Denied) as refused:
        await room.grant(approval)
    assert refused.value.reason_code == "policy.group"

    assert (await room.grant(approval, who=lead))["state"] == "granted"


async def test_what_is_decided_stays_decided(room: Room, approval: str) -> None:
    await room.say_no(approval)

    for decide, target in ((room.grant, "granted"), (room.say_no, "rejected"), (room.revoke, "revoked")):
        with pytest.raises(Conflict, match=f"from rejected to {target}") as refused:
            await decide(approval)
        assert refused.value.reason_code == "undefined_move"
    await room.told(approval, "approval.requested", "approval.rejected")


async def test_the_same_request_again_has_the_same_answer(room: Room, approval: str) -> None:
    first = await room.grant(approval, key="once")

    assert await room.grant(approval, key="once") == first
    await room.told(approval, "approval.requested", "approval.granted")


async def test_a_decision_without_reason_or_hashes_or_with_more_is_not_one(room: Room, approval: str) -> None:
    whole = {"approval_id": approval, "rationale": "looked", "plan_hash": "a" * 64, "action_hash": "b" * 64}

    for wrong in WRONG:
        body = {name: value for name, value in (whole | wrong).items() if value is not None}
        with pytest.raises(InvalidInput, match=next(iter(wrong))):
            await room.ask("grant", **body)


async def test_another_tenant_neither_sees_nor_decides(room: Room, approval: str) -> None:
    theirs = {"who": STRANGER, "tenant": "acme"}
    seen = {"rationale": "mine now", "plan_hash": "a" * 64, "action_hash": "b" * 64}

    for verb, body in (("get", {}), ("grant", seen), ("reject", {"rationale": "no"}), ("revoke", {"rationale": "no"})):
        more = body | ({"rationale": "mine now"} if body else {})
        for who in (theirs, {"who": STRANGER, "tenant": "default"}):
            with pytest.raises(NotFound) as refused:
                await room.ask(verb, **who, approval_id=approval, **more)  # type: ignore[arg-type]
            assert refused.value.reason_code == "approval_not_found"
    assert (await room.ask("list", who=STRANGER, tenant="acme"))["items"] == []
    with pytest.raises(Denied):
        await room.ask("list", who=STRANGER)
    with pytest.raises(NotFound):
        await room.ask("get", approval_id=new_id())


async def test_two_tenants_with_the_same_names_have_two_questions(room: Room, approval: str) -> None:
    execution_id = (await room.ask("get", approval_id=approval))["execution_id"]
    await room.say(blocked(execution_id), tenant="acme")

    [other] = await room.listed(1, tenant="acme")
    assert other["execution_id"] == execution_id
    assert other["approval_id"] != approval


async def test_a_revocation_is_told_once_the_executor_has_let_go(room: Room, executor: Executor, approval: str) -> None:
    await room.grant(approval)

    answer = await room.revoke(approval)

    facts = await room.told(approval, "approval.requested", "approval.granted", "approval.revoked")
    assert answer["state"] == "revoked"
    assert (facts[-1][1].revoked_by, facts[-1][1].rationale) == ("bob", "wrong shard")
    [request] = executor.asked
    assert request["body"] == {"approval_id": approval, "rationale": "wrong shard"}
    assert (request["principal"]["actor"], request["tenant"]) == ("bob", "default")
    assert (await room.ask("get", approval_id=approval))["approver"] == "ada"


async def test_a_used_grant_cannot_be_revoked(room: Room, executor: Executor, approval: str) -> None:
    executor.answer = {"ok": {"revoked": False, "reason": "used"}}
    await room.grant(approval)

    with pytest.raises(Conflict) as refused:
        await room.revoke(approval)

    assert refused.value.reason_code == "approval_used"
    assert refused.value.data == {"reason": "used"}
    await room.told(approval, "approval.requested", "approval.granted")


async def test_without_the_executors_word_nothing_is_revoked(room: Room, approval: str) -> None:
    await room.grant(approval)

    with pytest.raises(Unavailable):
        await room.revoke(approval, key="again")
    assert (await room.ask("get", approval_id=approval))["state"] == "granted"

    await Executor(room.bus).serve()
    assert (await room.revoke(approval, key="again"))["state"] == "revoked"


async def test_only_a_grant_is_revoked_and_the_executor_is_not_asked_otherwise(
    room: Room, executor: Executor, approval: str
) -> None:
    with pytest.raises(Conflict, match="from requested to revoked"):
        await room.revoke(approval)

    assert executor.asked == []


async def test_a_revocation_cut_off_after_the_executors_word_is_completed_by_asking_again(
    room: Room, executor: Executor, tmp_path: Any
) -> None:
    once = str(tmp_path / "crashed")
    dying = await room.start(RR_CRASH_AT="approvals_revocation_confirmed", RR_CRASH_ONCE=once)
    approval = await room.asked()
    await room.grant(approval)

    with pytest.raises(RangerError):
        await room.ask("revoke", who=BOB, key="again", approval_id=approval, rationale="wrong shard")
    assert await dying.process.wait() == 137
    await room.start("approvals-2")
    assert (await room.ask("get", approval_id=approval))["state"] == "granted"

    await room.revoke(approval, key="again")

    await room.told(approval, "approval.requested", "approval.granted", "approval.revoked")
    assert len({request["request_key"] for request in executor.asked}) == 1


async def test_open_questions_are_counted_by_risk(room: Room, instance: Instance) -> None:
    counting = await room.start("approvals-2", RR_APPROVAL_CENSUS_SECONDS="0.1")
    await room.asked(risk="medium")
    closed = await room.asked(risk="high")
    await room.say_no(closed)

    async def counted() -> bool:
        found = [await counting.metric(f'approvals_open{{risk="{risk}"}}') for risk in ("low", "medium", "high")]
        return found == [0, 1, 0]

    assert instance.process.returncode is None
    await eventually(counted)


def instant(text: str) -> datetime:
    """A moment from its text."""
    return datetime.fromisoformat(text)
