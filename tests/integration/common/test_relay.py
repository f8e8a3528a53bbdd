"""From outbox to stream: nothing lost, each aggregate in order, whatever dies."""

from __future__ import annotations

import asyncio

import pytest

from libs.common.contracts.choreography import EVENTS
from libs.common.ids import new_id
from libs.common.outbox import POSITION_SUBJECT
from libs.common.relay import Relay
from tests.integration.common.lab import Lab, fact, facts, running
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack

HOUR = 3600.0


def in_order(found: list[tuple[str, int]], aggregates: int, versions: int) -> None:
    """Every version of every aggregate once, ascending."""
    per: dict[str, list[int]] = {}
    for aggregate, version in found:
        per.setdefault(aggregate, []).append(version)
    assert list(per.values()) == [list(range(1, versions + 1))] * aggregates


async def test_a_commit_wakes_the_relay(lab: Lab) -> None:
    """The poll comes an hour later."""
    async with running(lab.relay(poll_seconds=HOUR).run):
        await eventually(lambda: _listens(lab))

        await lab.tell([fact("a", 1)])

        await eventually(lab.published)
        await lab.tell([fact("a", 2)])
        await eventually(lab.published)
    assert await lab.on_stream() == [("a", 1), ("a", 2)]


async def test_what_was_rolled_back_is_never_told(lab: Lab) -> None:
    async with running(lab.relay(poll_seconds=0.02).run):
        with pytest.raises(ZeroDivisionError):
            await _told_and_undone(lab)
        await lab.tell([fact("a", 2)])
        await eventually(lab.published)

    assert await lab.on_stream() == [("a", 2)]


async def _told_and_undone(lab: Lab) -> None:
    from tests.integration.common.lab import OUTBOX

    async with lab.incident.transaction("undone") as tx:
        await OUTBOX.add(tx, [fact("a", 1)])
        raise ZeroDivisionError


async def test_two_relays_that_race_publish_each_fact_once_and_each_aggregate_in_order(lab: Lab) -> None:
    other = lab.relay(bus=await lab.another_bus(), database=await lab.another_database("incident"), poll_seconds=0.01)
    batches = facts(12, 50)

    async with running(lab.relay(poll_seconds=0.01).run, other.run):
        for start in range(0, len(batches), 24):
            await lab.tell(batches[start : start + 24])
        await eventually(lab.published, timeout=20)

    in_order(await lab.on_stream(), 12, 50)
    assert await lab.admin.fetchval("SELECT max(attempts) FROM incident.outbox") == 1


@pytest.mark.parametrize("point", ["relay_before_publish", "relay_after_publish"])
async def test_a_relay_that_dies_loses_nothing_and_doubles_nothing(lab: Lab, point: str) -> None:
    await lab.tell(facts(6, 50))
    doomed = await lab.probe("incident", wait=False, RR_CRASH_AT=point)
    assert await doomed.exit_code() == 137
    assert await lab.unpublished() == 300

    other = lab.relay(bus=await lab.another_bus(), database=await lab.another_database("incident"), poll_seconds=0.01)
    async with running(lab.relay(poll_seconds=0.01).run, other.run, lab.consumer().run):
        await eventually(lab.published, timeout=20)
        await lab.settled()

    in_order(await lab.on_stream(), 6, 50)
    in_order(await lab.tallied(), 6, 50)


async def test_while_the_stream_is_full_the_outbox_waits_and_then_goes_on_in_order(lab: Lab) -> None:
    """Long and short facts: a nearly full stream refuses the long one and would take the short one behind it."""
    await lab.resize(100_000)
    names = [new_id() for _ in range(4)]
    await lab.tell([fact(name, v, size=20_000 if v % 2 else 10) for v in range(1, 11) for name in names])

    async with running(lab.relay(poll_seconds=0.02).run):

        async def refused() -> bool:
            return bool(await lab.admin.fetchval("SELECT bool_or(last_error LIKE '10077%') FROM incident.outbox"))

        await eventually(refused)
        assert 0 < await lab.unpublished() < 40
        await lab.resize(10_000_000)
        await eventually(lab.published)

    in_order(await lab.on_stream(), 4, 10)


async def test_one_fact_that_no_stream_takes_holds_up_its_own_aggregate_only(lab: Lab) -> None:
    await lab.tell([fact("stuck", 1), fact("a", 1), fact("stuck", 2), fact("a", 2)])
    await lab.admin.execute("UPDATE incident.outbox SET subject = 'nowhere.at_all' WHERE aggregate_version = 1"
                            " AND aggregate_id = 'stuck'")  # fmt: skip

    async with running(lab.relay(poll_seconds=0.02).run):

        async def only_stuck() -> bool:
            return await lab.unpublished() == 2

        await eventually(only_stuck)

    assert await lab.on_stream() == [("a", 1), ("a", 2)]
    error = await lab.admin.fetchval("SELECT last_error FROM incident.outbox WHERE subject = 'nowhere.at_all'")
    assert "no stream takes this subject" in error


async def test_a_row_goes_when_the_log_has_passed_it(lab: Lab) -> None:
    async def left() -> list[int]:
        rows = await lab.admin.fetch("SELECT aggregate_version FROM incident.outbox ORDER BY id")
        return [row["aggregate_version"] for row in rows]

    async def position(epoch: int, seq: int) -> None:
        await lab.bus.note(POSITION_SUBJECT, {"stream": EVENTS, "epoch": epoch, "seq": seq})

    await lab.tell([fact("a", version) for version in range(1, 6)])
    async with running(lab.relay(poll_seconds=0.02).run):
        await eventually(lab.published)
        await lab.bus.nc.publish(POSITION_SUBJECT, b"not a position")
        await position(0, 5)
        await position(1, 3)

        async def some_left() -> bool:
            return await left() == [4, 5]

        await eventually(some_left)
        await position(1, 9)

        async def none_left() -> bool:
            return await left() == []

        await eventually(none_left)


async def test_what_is_not_published_stays_wherever_the_log_is(lab: Lab) -> None:
    relay = lab.relay(poll_seconds=0.02)
    await lab.tell([fact("a", 1), fact("a", 2)])
    assert await relay.publish_once() == 2
    await lab.tell([fact("a", 3)])

    async with running(lambda: _positions_only(lab, relay)):
        await eventually(lambda: _rows(lab, 1))

    assert await lab.unpublished() == 1


async def _positions_only(lab: Lab, relay: Relay) -> None:
    """The log's position, told to a relay that cannot publish any more: another holds the lock."""
    holder = await lab.another_database("incident")
    async with holder.transaction("hold") as tx:
        await tx.execute("SELECT pg_advisory_xact_lock(hashtext('outbox_incident'))")
        async with running(relay.run):
            while True:
                await lab.bus.note(POSITION_SUBJECT, {"stream": EVENTS, "epoch": 1, "seq": 1000})
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("kept", [0, 3, 70])
async def test_what_the_stream_lost_is_published_again_and_no_position_frees_it(lab: Lab, kept: int) -> None:
    """A power failure: the end of the stream is gone, and another's facts have its sequences."""
    told = facts(10, 9)
    await lab.tell(told)
    assert await lab.relay().publish_once() == 90
    await lab.lose_stream(keeping=kept)
    others = [fact(new_id(), 1) for _ in range(40)]
    await lab.publish(others)

    relay = lab.relay(bus=await lab.another_bus(), poll_seconds=0.02)
    async with running(relay.run):
        for _ in range(20):
            await lab.bus.note(POSITION_SUBJECT, {"stream": EVENTS, "epoch": 1, "seq": kept + len(others)})
        await eventually(lambda: _on_stream(lab, 90 + len(others)))

    found = await lab.on_stream()
    in_order([one for one in found if one[0] in {each.envelope.aggregate_id for each in told}], 10, 9)


async def _on_stream(lab: Lab, number: int) -> bool:
    return (await lab.bus.js.stream_info(EVENTS)).state.last_seq == number


async def test_a_relay_whose_stream_is_whole_publishes_nothing_again(lab: Lab) -> None:
    await lab.tell(facts(10, 20))
    assert await lab.relay().publish_once() == 200

    assert await lab.relay(bus=await lab.another_bus()).publish_once() == 0
    assert await lab.admin.fetchval("SELECT max(attempts) FROM incident.outbox") == 1


async def _rows(lab: Lab, number: int) -> bool:
    return await lab.count("incident.outbox") == number


async def _listens(lab: Lab) -> bool:
    return bool(await lab.admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'incident-lab own' AND query LIKE 'LISTEN%'"
    ))  # fmt: skip


async def test_a_terminated_listener_is_opened_again(lab: Lab) -> None:
    async with running(lab.relay(poll_seconds=HOUR).run):
        await eventually(lambda: _listens(lab))
        killed = await lab.admin.fetchval(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'incident-lab own'"
        )
        assert killed == 1

        async def gone_and_back() -> bool:
            return await _listens(lab)

        await eventually(gone_and_back)
        await lab.tell([fact("a", 1)])

        await eventually(lab.published)


async def test_a_relay_goes_on_after_postgres_and_nats_were_killed(lab: Lab, servers: Servers) -> None:
    async with running(lab.relay(poll_seconds=0.05).run):
        await lab.tell([fact("a", 1)])
        await eventually(lab.published)
        servers.kill(servers.nats)
        await lab.tell([fact("a", 2), fact("a", 3)])
        servers.restart(servers.nats)
        await eventually(lab.published)
        servers.kill(servers.postgres)
        servers.restart(servers.postgres)
        await lab.readmitted()
        await lab.tell([fact("a", 4)])
        await eventually(lab.published)

    assert await lab.on_stream() == [("a", 1), ("a", 2), ("a", 3), ("a", 4)]
