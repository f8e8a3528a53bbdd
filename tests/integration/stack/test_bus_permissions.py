"""What the server of the bus lets whom do: every identity against every fact, consumer, verb and inbox not its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg
from pydantic import SecretStr

from libs.common.bus import ACK_TIMEOUT_SECONDS, Bus, Outgoing, PublishRefused, Stored, round_trip
from libs.common.contracts.choreography import (
    ADMIN,
    ASKS,
    EVENTS,
    IDENTITIES,
    INTAKES,
    NOTES,
    ROWS,
    SERVICES,
    STREAMS,
    consumers,
)
from libs.common.contracts.permissions import inbox
from libs.common.denials import NotPermitted
from libs.common.errors import Misconfigured, Unavailable
from libs.common.metrics import BUS_DENIALS
from libs.common.policy import Principal
from libs.common.puller import Puller
from libs.common.rpc import RpcClient
from runbook_ranger.stack import keyring
from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.messaging import administrator
from runbook_ranger.stack.nkeys import new_seed
from services.gateway.reader import Reader
from tests.support.servers import Servers, StackEnv

pytestmark = pytest.mark.stack

EVERYBODY = pytest.mark.parametrize("identity", IDENTITIES)
MANAGEMENT = [
    *(f"STREAM.{verb}.{EVENTS}" for verb in ("CREATE", "UPDATE", "DELETE", "PURGE", "MSG.DELETE", "RESTORE")),
    f"CONSUMER.CREATE.{EVENTS}.mine",
    f"CONSUMER.CREATE.{EVENTS}",
    f"CONSUMER.DURABLE.CREATE.{EVENTS}.mine",
    f"CONSUMER.DELETE.{EVENTS}.timeline",
    f"CONSUMER.PAUSE.{EVENTS}.timeline",
    f"CONSUMER.LIST.{EVENTS}",
    "STREAM.LIST",
]


@pytest.fixture
def servers_ready(stack_env: StackEnv, servers: Servers) -> Servers:
    """Servers with clean streams."""
    assert stack_env
    return servers


@asynccontextmanager
async def signed_in(servers: Servers, identity: str) -> AsyncIterator[Bus]:
    """A bus as that process has it."""
    key = SecretStr(keyring.seed(servers.nats.keys, identity))
    bus = Bus(servers.nats.url(), name=f"{identity}-test", identity=identity, nkey=key)
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()


async def refused(bus: Bus, subject: str) -> None:
    """Assert that the server refuses a request on `subject`, and that this is heard at once."""
    began = time.monotonic()
    with pytest.raises(NotPermitted) as denied:
        await bus.nc.request(subject, b"{}", timeout=20)
    assert denied.value.subject == subject
    assert time.monotonic() - began < 10


@EVERYBODY
async def test_a_fact_is_stored_from_its_publisher_and_refused_from_anybody_else(
    servers_ready: Servers, identity: str
) -> None:
    wanted = [row.subject for row in ROWS] + [intake.subject for intake in INTAKES]
    own = {row.subject for row in ROWS if row.publisher == identity}
    own |= {intake.subject for intake in INTAKES} if identity == "gateway" else set()
    async with signed_in(servers_ready, identity) as bus:
        began = time.monotonic()

        outcomes = await bus.publish([Outgoing(subject, b"{}", {}) for subject in wanted])

        assert time.monotonic() - began < ACK_TIMEOUT_SECONDS
        told = dict(zip(wanted, outcomes, strict=True))
        assert {subject for subject, outcome in told.items() if isinstance(outcome, Stored)} == own
        for subject in set(wanted) - own:
            assert isinstance(told[subject], PublishRefused)
            assert str(told[subject]) == f"not permitted: publish {subject}"


@EVERYBODY
async def test_nobody_takes_from_anothers_consumer_or_acknowledges_for_it(
    servers_ready: Servers, identity: str
) -> None:
    async with signed_in(servers_ready, identity) as bus:
        for stream, durable in consumers():
            puller = Puller(bus, stream=stream, durable=durable, batch=1)
            if durable == identity:
                await puller.start()
                await puller.stop()
                continue
            with pytest.raises(NotPermitted, match=f"publish .*CONSUMER.INFO.{stream}.{durable}"):
                await puller.start()
            await refused(bus, f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{durable}")
            await refused(bus, f"$JS.ACK.{stream}.{durable}.1.1.1.1.0")


@EVERYBODY
async def test_nobody_changes_streams_or_consumers(servers_ready: Servers, identity: str) -> None:
    async with signed_in(servers_ready, identity) as bus:
        for verb in MANAGEMENT:
            await refused(bus, f"$JS.API.{verb}")


@EVERYBODY
async def test_nobody_sets_aside_for_another_or_says_what_is_anothers_to_say(
    servers_ready: Servers, identity: str
) -> None:
    foreign = [f"dlq.{durable}:{stream}" for stream, durable in consumers() if durable != identity]
    foreign += [note.subject for note in NOTES if note.sender != identity]
    async with signed_in(servers_ready, identity) as bus:
        for subject in (*foreign, "incident.invented", "anything.at_all"):
            await refused(bus, subject)


@EVERYBODY
async def test_nobody_answers_for_another_or_listens_beside_the_queue(servers_ready: Servers, identity: str) -> None:
    async with signed_in(servers_ready, identity) as bus:
        for service in SERVICES:
            with pytest.raises(NotPermitted, match=rf"subscribe rpc\.{service}\.get"):
                await bus.subscribe(f"rpc.{service}.get", ignore)
            await bus.nc.subscribe(f"rpc.{service}.list", queue=service, cb=ignore)
            await round_trip(bus.nc)
            if service == identity:
                bus._denials.check_all()
            else:
                with pytest.raises(NotPermitted, match=rf"subscribe rpc\.{service}\.list"):
                    bus._denials.check_all()


@EVERYBODY
async def test_nobody_hears_anothers_answers(servers_ready: Servers, identity: str) -> None:
    others = [inbox(other) for other in (*IDENTITIES, ADMIN) if other != identity]
    async with signed_in(servers_ready, identity) as bus:
        for subject in (*(f"{other}.>" for other in others), "_INBOX.>", "*.>", ">", "$JS.API.>", "rpc.>", "dlq.>"):
            with pytest.raises(NotPermitted):
                await bus.subscribe(subject, ignore)


@EVERYBODY
async def test_a_process_asks_whom_the_table_lets_it_ask_and_nobody_else(servers_ready: Servers, identity: str) -> None:
    def may(service: str, verb: str) -> bool:
        return any((ask.asker, ask.asked) == (identity, service) and {verb, "*"} & set(ask.verbs) for ask in ASKS)

    verbs = {verb for ask in ASKS for verb in ask.verbs} | {"invented"}
    async with signed_in(servers_ready, identity) as bus:
        client = RpcClient(bus, timeout=20)
        for service in SERVICES:
            for verb in verbs - {"*"}:
                wanted = Unavailable if may(service, verb) else Misconfigured  # nobody is there to answer
                with pytest.raises(wanted) as answer:
                    await client.ask(service, verb, {}, principal=Principal.system(identity), tenant="default")
                assert wanted is Unavailable or answer.value.detail.endswith(f"rpc.{service}.{verb}.")


async def test_a_question_goes_to_its_service_alone_and_the_answer_to_who_asked(servers_ready: Servers) -> None:
    heard: list[str] = []

    async def answer(message: Msg) -> None:
        heard.append(message.reply)
        await message.respond(b"here")

    async with signed_in(servers_ready, "catalog") as catalog, signed_in(servers_ready, "executor") as executor:
        await catalog.nc.subscribe("rpc.catalog.get_version", queue="catalog", cb=answer)
        await round_trip(catalog.nc)

        assert (await executor.nc.request("rpc.catalog.get_version", b"?", timeout=5)).data == b"here"
        assert heard[0].startswith(f"{inbox('executor')}.")
        await refused(catalog, f"{inbox('approvals')}.guessed")


async def test_nobody_has_an_answer_published_as_somebodys_fact(servers_ready: Servers) -> None:
    """It is the asker who names the subject of the answer."""
    answered = asyncio.Event()

    async def answer(message: Msg) -> None:
        await message.respond(b"{}")
        answered.set()

    async with signed_in(servers_ready, "timeline") as timeline, signed_in(servers_ready, "worker") as worker:
        await timeline.nc.subscribe("rpc.timeline.list", queue="timeline", cb=answer)
        await round_trip(timeline.nc)

        await worker.nc.publish("rpc.timeline.list", b"{}", reply="runbook.started")

        await asyncio.wait_for(answered.wait(), 5)
        await round_trip(timeline.nc)
        assert (await timeline.js.stream_info(EVENTS)).state.messages == 0


async def test_the_log_is_read_and_the_outboxes_hear_how_far_it_is(servers_ready: Servers) -> None:
    heard = asyncio.Event()

    async def note(_message: Msg) -> None:
        heard.set()

    async with signed_in(servers_ready, "timeline") as timeline, signed_in(servers_ready, "incident") as incident:
        (stored,) = await incident.publish([Outgoing("incident.created", b"{}", {})])
        await incident.subscribe("timeline.position", note)

        await timeline.note("timeline.position", {"seq": 1})
        found = await timeline.js.get_msg(EVENTS, seq=1)

        assert isinstance(stored, Stored)
        assert found.data == b"{}"
        await asyncio.wait_for(heard.wait(), 5)


async def test_the_gateway_hears_facts_as_they_come(servers_ready: Servers) -> None:
    async with signed_in(servers_ready, "gateway") as gateway:
        for subject in STREAMS[EVENTS]:
            await gateway.subscribe(subject, ignore)
        page = await Reader(gateway).page(0)

        assert (page.last, page.events) == (0, ())


async def test_the_administrator_may_do_everything(servers_ready: Servers) -> None:
    client = await administrator(servers_ready.nats.url(), keyring.seed(servers_ready.nats.keys, ADMIN))
    try:
        assert {info.config.name for info in await client.jetstream().streams_info()} == set(STREAMS)
        await client.subscribe(">")
        await round_trip(client)
    finally:
        await client.close()


async def test_a_key_that_the_server_does_not_know_is_not_let_in(servers_ready: Servers) -> None:
    async def unheard(_error: Exception) -> None:
        """Raised below."""

    with pytest.raises(StackError, match="does not let the administrator in"):
        await administrator(servers_ready.nats.url(), new_seed(), allow_reconnect=False, error_cb=unheard)


async def test_each_denial_is_counted_by_what_it_was_about(servers_ready: Servers) -> None:
    def count(subject: str) -> float:
        return BUS_DENIALS.labels("publish", subject)._value.get()

    before = {kind: count(kind) for kind in ("fact", "rpc", "jetstream", "inbox", "other")}
    async with signed_in(servers_ready, "worker") as bus:
        for subject in (
            "incident.created",
            "rpc.executor.abort",
            f"$JS.API.STREAM.DELETE.{EVENTS}",
            "_INBOX_x.y",
            "x.y",
        ):
            await refused(bus, subject)

    assert {kind: count(kind) - was for kind, was in before.items()} == dict.fromkeys(before, 1.0)


async def ignore(_message: Msg) -> None:
    """Nobody is expected to say anything."""
