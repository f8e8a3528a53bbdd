"""Publishing: every message gets an answer in time, whatever happens to the server, and order survives an outage."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from nats.aio.msg import Msg

from libs.common import bus as bus_module
from libs.common.bus import Bus, Outgoing, PublishRefused, Stored, round_trip
from libs.common.contracts.choreography import EVENTS
from tests.integration.common.lab import Lab, fact, facts, outgoing
from tests.support.eventually import eventually
from tests.support.processes import freeze
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


@pytest.fixture
def stopped_nats(servers: Servers) -> Iterator[int]:
    """The pid of a server that the test may stop (SIGSTOP); it goes on afterwards."""
    assert servers.nats.process is not None
    pid = servers.nats.process.pid
    yield pid
    running = servers.nats.process
    if running.poll() is None:
        os.kill(running.pid, signal.SIGCONT)


def connected(bus: Bus) -> bool:
    """Whether the client thinks so."""
    return bool(bus.nc.is_connected)


async def test_a_window_is_stored_in_order_and_each_message_hears_where(lab: Lab) -> None:
    events = facts(10, 25)

    outcomes = await lab.bus.publish([outgoing(event) for event in events])

    assert outcomes == [Stored(EVENTS, seq, duplicate=False) for seq in range(1, 251)]
    assert await lab.on_stream() == [(e.envelope.aggregate_id, e.envelope.aggregate_version) for e in events]


async def test_a_subscription_is_known_after_a_round_trip(lab: Lab) -> None:
    asker = await lab.another_bus("asker")

    async def answer(message: Msg) -> None:
        await message.respond(message.data)

    for number in range(300):
        await lab.bus.nc.subscribe(f"rpc.catalog.{number}", cb=answer)
        await round_trip(lab.bus.nc)
        assert (await asker.nc.request(f"rpc.catalog.{number}", b"hello", timeout=5)).data == b"hello"


async def test_a_repeated_publish_is_the_message_that_stands_there_already(lab: Lab) -> None:
    event = outgoing(fact("a", 1))

    first, again = [(await lab.bus.publish([event]))[0] for _ in range(2)]

    assert first == Stored(EVENTS, 1, duplicate=False)
    assert again == Stored(EVENTS, 1, duplicate=True)


async def test_what_cannot_be_stored_is_refused_alone(lab: Lab) -> None:
    good = [outgoing(event) for event in facts(2, 1)]
    lost = Outgoing("nowhere.at_all", b"{}", {})
    huge = Outgoing("incident.created", b"x" * (9 << 20), {})
    wrong = Outgoing("incident created", b"{}", {})

    outcomes = await lab.bus.publish([lost, good[0], huge, wrong, good[1]])

    assert [type(outcome) for outcome in outcomes] == [PublishRefused, Stored, PublishRefused, PublishRefused, Stored]
    assert "provision" in str(outcomes[0])
    assert await lab.bus.publish([]) == []


async def test_a_window_that_meets_the_servers_end_is_refused_and_nothing_hangs(lab: Lab, servers: Servers) -> None:
    events = [outgoing(event) for event in facts(1, 200)]
    servers.kill(servers.nats)

    outcomes = await asyncio.wait_for(lab.bus.publish(events), 10)

    assert {type(outcome) for outcome in outcomes} == {PublishRefused}
    assert {type(outcome) for outcome in await lab.bus.publish(events)} == {PublishRefused}
    servers.restart(servers.nats)
    await eventually(lambda: connected(lab.bus))
    assert {type(outcome) for outcome in await lab.bus.publish(events)} == {Stored}


async def test_a_silent_server_refuses_in_time_and_a_repeat_finds_what_it_stored_after_all(
    lab: Lab, stopped_nats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "ACK_TIMEOUT_SECONDS", 0.3)
    events = [outgoing(event) for event in facts(1, 20)]
    freeze(stopped_nats)

    outcomes = await asyncio.wait_for(lab.bus.publish(events), 5)

    assert {str(outcome) for outcome in outcomes} == {"no acknowledgement within 0.3 s"}
    os.kill(stopped_nats, signal.SIGCONT)

    async def all_there() -> bool:
        return (await lab.bus.js.stream_info(EVENTS)).state.messages == 20

    await eventually(all_there)
    assert await lab.bus.publish(events) == [Stored(EVENTS, seq, duplicate=True) for seq in range(1, 21)]


async def test_bytes_that_an_outage_left_unsent_are_not_sent_behind_what_it_lost(
    lab: Lab, servers: Servers, stopped_nats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The socket takes a part, the client keeps the rest. Sent after reconnecting it would overtake that part."""
    monkeypatch.setattr(bus_module, "ACK_TIMEOUT_SECONDS", 1.0)
    monkeypatch.setattr(bus_module, "FLUSH_SECONDS", 0.2)
    clogged = await lab.another_bus("clogged")
    events = facts(1, 40, size=500_000)
    freeze(stopped_nats)
    outcomes = await clogged.publish([outgoing(event) for event in events])
    assert {type(outcome) for outcome in outcomes} == {PublishRefused}
    assert clogged.nc.pending_data_size > 0
    servers.kill(servers.nats)
    await eventually(lambda: not connected(clogged))

    servers.restart(servers.nats)
    await eventually(lambda: connected(clogged))
    await clogged.ping()

    monkeypatch.undo()
    for event in events:
        assert isinstance((await clogged.publish([outgoing(event)]))[0], Stored)
    assert [version for _, version in await lab.on_stream()] == list(range(1, 41))


async def test_the_connection_outlives_more_attempts_than_the_client_would_make(
    lab: Lab, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "RECONNECT_WAIT_SECONDS", 0.002)
    patient = await lab.another_bus("patient")
    attempts = 0

    async def counted(_error: Exception) -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0)

    patient.nc._error_cb = counted
    servers.kill(servers.nats)
    await eventually(lambda: attempts > 80)

    servers.restart(servers.nats)

    await eventually(lambda: connected(patient))
    assert isinstance((await patient.publish([outgoing(fact("a", 1))]))[0], Stored)


async def test_a_connection_that_is_closed_for_good_ends_the_process(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    doomed = await lab.another_bus("doomed")
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)

    await doomed.nc.close()

    assert ended == [bus_module.EXIT_CLOSED]


async def test_a_server_that_says_nothing_is_noticed(
    lab: Lab, stopped_nats: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bus_module, "PING_SECONDS", 0.2)
    watchful = await lab.another_bus("watchful")
    freeze(stopped_nats)

    await eventually(lambda: not connected(watchful), timeout=5)

    os.kill(stopped_nats, signal.SIGCONT)
    await eventually(lambda: connected(watchful))


def test_half_open_connections_are_noticed_within_fifteen_seconds() -> None:
    assert bus_module.PING_SECONDS * (bus_module.PINGS_OUTSTANDING + 1) <= 15
