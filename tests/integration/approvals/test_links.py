"""Links show, and a decision through one is about what it was made for; they are no right and change nothing."""

from typing import Any

import pytest

from libs.common.errors import Conflict, Denied, NotFound, Refusal
from libs.common.ids import new_id
from libs.common.policy import Principal
from tests.integration.approvals.room import ACTION, ADA, BOB, PLAN, RITA, VIC, Room, blocked

pytestmark = pytest.mark.stack

NEW, OLD = "the-new-secret-of-links", "the-old-secret-of-links"
BOTH = Principal("tom", frozenset({"default", "acme"}), frozenset({"approver"}))
TABLES = "approval", "vote", "timer", "outbox", "execution", "decision", "command", "inbox", "dead_letter"


@pytest.fixture
async def approval(room: Room) -> str:
    await room.start(RR_LINK_SECRET=f"{NEW},{OLD}")
    return await room.asked()


async def made(room: Room, approval: str, **more: Any) -> str:
    """The link to an approval."""
    token: str = (await room.ask("link", approval_id=approval, **more))["token"]
    return token


async def everything(room: Room) -> dict[str, list[Any]]:
    """Every row of every table; what the relay has yet to note of an outbox row is not there."""
    return {
        table: [row["row"] for row in await room.rows(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY 1")]
        for table in TABLES
    }


async def test_following_a_link_changes_nothing_whoever_does(room: Room, approval: str) -> None:
    token = await made(room, approval)
    await room.told(approval, "approval.requested")
    await room.consumed()
    before = await everything(room)

    for who in (ADA, BOB, RITA, VIC):
        shown = await room.ask("follow_link", who=who, token=token)
        assert (shown["state"], shown["plan_hash"], shown["action_hash"]) == ("requested", PLAN, ACTION)
        await made(room, approval, who=who)
        await room.ask("list", who=who, mine=True)

    assert await everything(room) == before


async def test_a_decision_through_a_link_is_about_what_it_was_made_for(room: Room, approval: str) -> None:
    answer = await room.ask("grant_by_link", token=await made(room, approval), rationale="on my way home")

    assert answer["state"] == "granted"
    facts = await room.told(approval, "approval.requested", "approval.granted")
    assert (facts[-1][1].approver, facts[-1][1].channel) == ("ada", "link")


async def test_a_link_is_no_right(room: Room, approval: str) -> None:
    token = await made(room, approval)

    for who, code in ((RITA, "policy.four_eyes"), (VIC, "policy.role")):
        with pytest.raises(Denied) as refused:
            await room.ask("grant_by_link", who=who, token=token, rationale="it is mine")
        assert refused.value.reason_code == code
    assert (await room.ask("reject_by_link", who=BOB, token=token, rationale="not now"))["state"] == "rejected"


@pytest.mark.parametrize("change", ["body", "signature", "cut", "long", "nothing"])
async def test_a_link_that_was_changed_is_refused(room: Room, approval: str, change: str) -> None:
    token = await made(room, approval)
    body, _, signature = token.partition(".")
    changed = {
        "body": f"{'A' if body[9] != 'A' else 'B'}{body[1:]}.{signature}",
        "signature": f"{body}.{signature[:-2]}AA",
        "cut": body,
        "long": f"{body}A.{signature}",
        "nothing": ".",
    }[change]

    for verb, more in (("follow_link", {}), ("grant_by_link", {"rationale": "looks fine"})):
        with pytest.raises(Denied) as refused:
            await room.ask(verb, token=changed, **more)
        assert refused.value.reason_code == "link_invalid"
    await room.told(approval, "approval.requested")


async def test_a_link_of_another_tenant_is_refused_by_that(room: Room, approval: str) -> None:
    token = await made(room, approval)

    for verb, more in (("follow_link", {}), ("grant_by_link", {"rationale": "looks fine"})):
        with pytest.raises(Denied) as refused:
            await room.ask(verb, who=BOTH, tenant="acme", token=token, **more)
        assert refused.value.reason_code == "link_other_tenant"


@pytest.mark.usefixtures("approval")
async def test_a_link_whose_time_is_over_is_refused_by_that(room: Room) -> None:
    short = await room.asked(expires_seconds=1.5)
    token = await made(room, short)
    await room.told(short, "approval.requested", "approval.expired")

    for verb, more in (("follow_link", {}), ("grant_by_link", {"rationale": "looks fine"})):
        with pytest.raises(Denied) as refused:
            await room.ask(verb, token=token, **more)
        assert refused.value.reason_code == "link_expired"
    with pytest.raises(Conflict):
        await made(room, short)


@pytest.mark.usefixtures("approval")
async def test_a_link_to_what_has_changed_since_is_refused_by_that(room: Room) -> None:
    execution_id = new_id()
    await room.say(blocked(execution_id))
    [old] = await room.listed(1, execution_id=execution_id)
    token = await made(room, old["approval_id"])

    await room.say(blocked(execution_id, action_hash="c" * 64))
    await room.listed(1, execution_id=execution_id, state="withdrawn")

    for verb, more in (("follow_link", {}), ("grant_by_link", {"rationale": "looks fine"})):
        with pytest.raises(Conflict) as refused:
            await room.ask(verb, token=token, **more)
        assert refused.value.reason_code == "approval_superseded"


async def test_a_secret_is_changed_without_a_link_being_lost(room: Room, approval: str) -> None:
    token = await made(room, approval)
    for instance in room.instances:
        await instance.end()

    await room.start("approvals-2", RR_LINK_SECRET=f"an-even-newer-secret,{NEW}")
    assert (await room.ask("follow_link", token=token))["approval_id"] == approval
    for instance in room.instances:
        await instance.end()
    await room.start("approvals-3", RR_LINK_SECRET="an-even-newer-secret")

    with pytest.raises(Denied):
        await room.ask("follow_link", token=token)


async def test_without_a_secret_there_are_no_links(room: Room) -> None:
    await room.start()
    approval = await room.asked()

    with pytest.raises(Refusal) as refused:
        await made(room, approval)
    assert refused.value.reason_code == "links_off"


async def test_what_one_may_not_see_has_no_link(room: Room, approval: str) -> None:
    with pytest.raises(NotFound):
        await made(room, approval, who=Principal("sam", frozenset({"acme"}), frozenset({"admin"})))


async def test_no_link_is_in_a_log_a_fact_or_a_table(room: Room, approval: str) -> None:
    token = await made(room, approval)
    await room.ask("grant_by_link", token=token, rationale="on my way home")
    await room.told(approval, "approval.requested", "approval.granted")

    kept = [str(await everything(room)), *(instance.output.read_text() for instance in room.instances)]

    assert not [text for text in kept for part in token.split(".") if part in text]
