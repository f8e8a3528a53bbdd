"""Streams and consumers are provisioning's: they are what the choreography says, and no service touches them."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from libs.common.contracts.choreography import EVENTS, INGRESS, STREAMS, consumers
from libs.common.streams import Epochs
from runbook_ranger.stack.errors import DriftError
from runbook_ranger.stack.provision import Purpose, provision_streams
from tests.integration.common.lab import Lab, fact, manage
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


async def durables(lab: Lab, stream: str) -> dict[str, dict[str, Any]]:
    """Configuration of each consumer of a stream."""
    listed = await manage(lab.bus.nc, f"CONSUMER.LIST.{stream}", {})
    assert listed["total"] == len(listed["consumers"])
    return {info["name"]: info["config"] for info in listed["consumers"]}


async def configurations(lab: Lab) -> bytes:
    """All of JetStream's configuration, in one order."""
    streams = {name: (await manage(lab.bus.nc, f"STREAM.INFO.{name}", {}))["config"] for name in STREAMS}
    everyone = {name: await durables(lab, name) for name in STREAMS}
    return orjson.dumps([streams, everyone], option=orjson.OPT_SORT_KEYS)


async def test_the_servers_consumers_are_the_choreographys_and_no_others(lab: Lab) -> None:
    found = {(stream, name): config for stream in STREAMS for name, config in (await durables(lab, stream)).items()}

    assert set(found) == set(consumers())
    for (stream, name), subjects in consumers().items():
        config = found[stream, name]
        heard = config.get("filter_subjects") or [config["filter_subject"]]
        assert sorted(heard) == sorted(subjects)
        assert config["ack_policy"] == ("all" if name == "timeline" else "explicit")
        assert config["max_deliver"] == -1
        assert config["ack_wait"] == 30_000_000_000
        assert "deliver_subject" not in config
        assert 0 < config["max_ack_pending"] <= 10_000


async def test_streams_take_the_choreographys_subjects(lab: Lab) -> None:
    for name, subjects in STREAMS.items():
        config = (await manage(lab.bus.nc, f"STREAM.INFO.{name}", {}))["config"]
        assert sorted(config["subjects"]) == sorted(subjects)
        assert config["retention"] == "limits"


async def test_starting_a_service_changes_neither_streams_nor_consumers(lab: Lab) -> None:
    """Not even settings that someone else has changed: FastStream's default would put them back to its own."""
    config = (await manage(lab.bus.nc, f"STREAM.INFO.{EVENTS}", {}))["config"]
    await manage(lab.bus.nc, f"STREAM.UPDATE.{EVENTS}", {**config, "max_age": 3600 * 10**9, "max_bytes": 12_345_678})
    await lab.impatient(seconds=7)
    before = await configurations(lab)

    await lab.probe("catalog")
    await lab.publish([fact("a", 1)])
    await lab.settled()

    assert await configurations(lab) == before


async def test_provisioning_refuses_what_has_drifted_and_changes_nothing(lab: Lab, servers: Servers) -> None:
    await lab.resize(12_345_678)
    await lab.impatient(seconds=7)
    before = await configurations(lab)
    targets = servers.targets(lab.env["RR_POSTGRES_URL"].partition("@/")[2].partition("?")[0])

    with pytest.raises(DriftError) as refused:
        await provision_streams(lab.admin, targets, Purpose())

    drifted = {(difference.what, difference.field) for difference in refused.value.differences}
    assert {("stream EVENTS", "max_bytes"), ("consumer EVENTS/catalog", "ack_wait")} <= drifted
    assert await configurations(lab) == before


async def test_the_epoch_is_read_once_a_connection(lab: Lab) -> None:
    epochs = Epochs(lab.bus)

    assert await epochs.of(EVENTS) == await epochs.of(INGRESS) == 1

    await lab.bounce_nats()
    await eventually(lambda: not epochs._known)
    assert await epochs.of(EVENTS) == 1
