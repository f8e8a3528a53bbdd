"""The puller: hands over what is there at once, shares with others, survives the server, and never goes silent."""

from __future__ import annotations

import asyncio

import pytest
from nats.aio.msg import Msg

from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS
from libs.common.puller import EXIT_CONSUMER_GONE, Puller
from tests.integration.common.lab import Lab, fact, facts
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack


def _versions(messages: list[Msg]) -> list[int]:
    return [int((message.headers or {})["ce-aggregateversion"]) for message in messages]


async def _puller(bus: Bus, batch: int = 256) -> Puller:
    puller = Puller(bus, stream=EVENTS, durable="catalog", batch=batch)
    await puller.start()
    return puller


async def test_a_single_message_is_handed_over_before_the_next_one_is_even_sent(lab: Lab) -> None:
    """A batch of 256 that waited for company would never see the first alone."""
    puller = await _puller(lab.bus)

    for version in (1, 2, 3):
        await lab.publish([fact("a", version)])
        assert _versions(await asyncio.wait_for(puller.next(), 5)) == [version]


async def test_what_has_arrived_is_one_batch_up_to_its_size_in_the_streams_order(lab: Lab) -> None:
    await lab.publish(facts(1, 100))
    puller = await _puller(lab.bus, batch=64)
    await eventually(lambda: len(puller._buffer) == 100)

    assert _versions(await puller.next()) == list(range(1, 65))
    assert _versions(await puller.next()) == list(range(65, 101))


async def test_more_than_one_request_holds_flows_through_without_a_gap(lab: Lab) -> None:
    await lab.publish(facts(1, 1500))
    puller = await _puller(lab.bus, batch=100)
    found: list[int] = []

    while len(found) < 1500:
        messages = await asyncio.wait_for(puller.next(), 5)
        found += _versions(messages)
        await puller.acknowledge(messages)

    assert found == list(range(1, 1501))
    await lab.settled()


async def test_one_instance_never_holds_all_there_is(lab: Lab) -> None:
    greedy = await _puller(lab.bus)
    await lab.publish(facts(1, 1200))
    await eventually(lambda: len(greedy._buffer) == 512)

    other = await _puller(await lab.another_bus())

    assert len(await asyncio.wait_for(other.next(), 5)) > 0


async def test_messages_flow_again_after_the_server_was_restarted(lab: Lab) -> None:
    puller = await _puller(lab.bus)
    await lab.publish([fact("a", 1)])
    first = await asyncio.wait_for(puller.next(), 5)
    await puller.acknowledge(first)
    await lab.bounce_nats()

    await lab.publish([fact("a", 2)])

    assert _versions(await asyncio.wait_for(puller.next(), 10)) == [2]


async def test_a_lost_request_is_made_again(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server has forgotten what was asked, and the client has not noticed an outage."""
    from libs.common import puller as puller_module

    monkeypatch.setattr(puller_module, "QUIET_SECONDS", 0.1)
    monkeypatch.setattr(puller_module, "LOOK_SECONDS", 0.05)
    puller = await _puller(lab.bus)
    puller._inbox = lab.bus.nc.new_inbox()
    await lab.bus.nc.subscribe(puller._inbox, cb=puller._receive)
    assert puller._subscription is not None
    await puller._subscription.unsubscribe()

    waiting = asyncio.create_task(puller.next())
    await lab.publish([fact("a", 1)])

    assert _versions(await asyncio.wait_for(waiting, 10)) == [1]


async def asked(lab: Lab) -> bool:
    """Whether somebody waits for messages of the consumer."""
    return bool((await lab.bus.js.consumer_info(EVENTS, "catalog")).num_waiting)


async def test_a_deleted_consumer_ends_the_process_loudly(lab: Lab) -> None:
    probe = await lab.probe("catalog", RR_CONSUMER_CHECK_SECONDS="600")
    await eventually(lambda: asked(lab), timeout=20)  # it is ready before it has looked at its consumer

    await lab.bus.js.delete_consumer(EVENTS, "catalog")

    assert await probe.exit_code() == EXIT_CONSUMER_GONE, probe.output.read_text()
    assert "consumer_gone" in probe.output.read_text()


async def test_a_consumer_deleted_while_nobody_looked_is_noticed_by_the_check(lab: Lab) -> None:
    probe = await lab.probe("catalog", RR_CONSUMER_CHECK_SECONDS="0.2")
    await eventually(lambda: asked(lab), timeout=20)
    await lab.bounce_nats()

    await lab.bus.js.delete_consumer(EVENTS, "catalog")

    assert await probe.exit_code() == EXIT_CONSUMER_GONE, probe.output.read_text()
