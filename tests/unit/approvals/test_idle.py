"""The approvals service claims no more than it does."""

import pytest
from pydantic import SecretStr

from libs.common.bus import Bus
from libs.common.contracts.choreography import PLANNED, UnlistedFact, check_publisher, consumers
from libs.common.contracts.fact import Fact
from libs.common.database import Database
from libs.common.health import Health
from libs.common.process import Runtime
from libs.common.rpc import RpcServer
from libs.common.settings import ProcessSettings
from libs.common.streams import Epochs
from services.approvals.wiring import wire


async def test_it_consumes_nothing_and_answers_nothing() -> None:
    bus = Bus("nats://127.0.0.1:1", name="approvals")
    database = Database("postgresql:///none", schema="approvals", instance="approvals", pool_size=1)
    settings = ProcessSettings(nats_url=SecretStr("nats://127.0.0.1:1"), postgres_url=SecretStr("postgresql:///none"))
    health = Health("approvals", "approvals")
    rpc = RpcServer(bus, database, "approvals")
    runtime = Runtime("approvals", settings, database, bus, Epochs(bus), health, rpc)

    await wire(runtime)

    assert runtime.parts == []
    assert runtime.consumers == {}
    assert list(bus.broker.subscribers) == []


def test_the_bus_keeps_no_durable_for_it() -> None:
    assert [key for key in consumers() if key[1] == "approvals"] == []


@pytest.mark.parametrize("fact", PLANNED)
def test_its_facts_have_contracts_and_cannot_be_published_yet(fact: type[Fact]) -> None:
    with pytest.raises(UnlistedFact):
        check_publisher("approvals", [fact.subject])
