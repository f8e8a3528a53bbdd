"""What the server does not permit is told by the bus as that, and at once: publish, request, subscribe, answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest
from nats.aio.msg import Msg
from pydantic import SecretStr

from libs.common.bus import ACK_TIMEOUT_SECONDS, Bus, Outgoing, PublishRefused, Stored
from libs.common.contracts.choreography import EVENTS
from libs.common.denials import NotPermitted
from libs.common.errors import Misconfigured, Unavailable
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from libs.common.streams import stored_message
from runbook_ranger.stack import keyring
from tests.integration.common.lab import Lab, fact, outgoing
from tests.support.servers import Servers

pytestmark = pytest.mark.stack
LONG = 60.0


@pytest.fixture
async def incident(lab: Lab, servers: Servers) -> AsyncIterator[Bus]:
    """A bus as the incident service has it."""
    key = SecretStr(keyring.seed(servers.nats.keys, "incident"))
    bus = Bus(servers.nats.url(), name="refused", identity="incident", nkey=key)
    await bus.connect()
    yield bus
    await bus.close()
    assert lab


async def test_a_window_is_refused_where_it_is_not_permitted_and_stored_where_it_is(incident: Bus) -> None:
    own = [outgoing(fact("a", version)) for version in (1, 2)]
    foreign = Outgoing("approval.granted", b"{}", {"Nats-Msg-Id": "forged"})
    began = time.monotonic()

    outcomes = await incident.publish([own[0], foreign, own[1], foreign])

    assert time.monotonic() - began < ACK_TIMEOUT_SECONDS
    assert [type(outcome) for outcome in outcomes] == [Stored, PublishRefused, Stored, PublishRefused]
    assert str(outcomes[1]) == "not permitted: publish approval.granted"
    assert (await incident.js.stream_info(EVENTS)).state.messages == 2


async def test_a_question_that_is_not_permitted_is_no_time_out_and_hinders_no_other(lab: Lab, incident: Bus) -> None:
    client, asker = RpcClient(incident, timeout=LONG), Principal.system("incident")
    patient = asyncio.create_task(incident.nc.request(f"$JS.API.STREAM.INFO.{EVENTS}", b"", timeout=LONG))
    began = time.monotonic()

    with pytest.raises(Misconfigured, match=r"rpc\.catalog\.publish") as refused:
        await client.ask("catalog", "publish", {}, principal=asker, tenant="default")

    assert time.monotonic() - began < LONG / 2
    assert refused.value.reason_code == "not_permitted"
    assert not isinstance(refused.value, Unavailable)
    assert "error" not in orjson.loads((await patient).data)
    assert lab


async def test_many_of_one_kind_are_each_refused(incident: Bus) -> None:
    subject = "$JS.API.STREAM.PURGE.EVENTS"

    outcomes = await asyncio.gather(
        *(incident.nc.request(subject, b"", timeout=LONG) for _ in range(20)), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [NotPermitted] * 20


async def test_what_may_not_be_heard_is_refused_before_anybody_relies_on_it(incident: Bus) -> None:
    async def unheard(_message: Msg) -> None:
        raise AssertionError

    with pytest.raises(NotPermitted, match=r"subscribe incident\.created"):
        await incident.subscribe("incident.created", unheard)


async def test_a_process_that_may_not_answer_ends_instead_of_being_silent(lab: Lab, servers: Servers) -> None:
    key = SecretStr(keyring.seed(servers.nats.keys, "worker"))
    bus = Bus(servers.nats.url(), name="mute", identity="worker", nkey=key)
    bus.broker.subscriber("rpc.catalog.get", queue="catalog")(_answer)
    await bus.connect()

    with pytest.raises(NotPermitted, match=r"subscribe rpc\.catalog\.get"):
        await bus.serve()

    await bus.close()
    assert lab


async def test_a_process_under_anothers_name_does_not_begin(lab: Lab, servers: Servers) -> None:
    key = SecretStr(keyring.seed(servers.nats.keys, "worker"))
    bus = Bus(servers.nats.url(), name="disguised", identity="approvals", nkey=key)

    with pytest.raises(NotPermitted, match="subscribe _INBOX_approvals"):
        await bus.connect()

    await bus.close()
    assert lab


async def test_reading_the_stream_says_why_it_cannot(lab: Lab, servers: Servers) -> None:
    key = SecretStr(keyring.seed(servers.nats.keys, "worker"))
    bus = Bus(servers.nats.url(), name="blind", identity="worker", nkey=key)
    await bus.connect()

    with pytest.raises(ConnectionError, match="cannot be read: NotPermitted: not permitted: publish"):
        await stored_message(bus, EVENTS, {"seq": 1})

    await bus.close()
    assert lab


async def _answer(message: bytes) -> bytes:
    return message
