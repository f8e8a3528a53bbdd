"""The live stream on real JetStream: everything once, in order, whatever is cut; only what the caller may see."""

import asyncio
import random
from contextlib import AsyncExitStack

import httpx
import pytest

from libs.common.bus import Bus
from libs.common.contracts.choreography import ROWS
from libs.common.policy import Principal
from services.gateway import feed
from services.gateway.feed import Feed, Position
from services.gateway.identity import Identity
from services.gateway.principals.proof import Proof
from services.gateway.tail import Tail
from tests.integration.gateway.conftest import TWO_TENANTS, VIEWER, bearer
from tests.integration.gateway.stream import INCIDENT, fact, following, publish
from tests.support.eventually import eventually

DURABLES = {"catalog", "incident", "executor", "timeline", "approvals"}


def caller(actor: str, role: str) -> Identity:
    principal = Principal(actor, frozenset({"default"}), frozenset({role}))
    return Identity(Proof("static", principal, principal), "default", "k")


async def test_an_event_says_what_happened_to_what_and_nothing_of_its_payload(
    http: httpx.AsyncClient, bus: Bus
) -> None:
    async with following(http) as client:
        await client.until(name="live")
        seqs = await publish(bus, fact(execution_id="e", runbook_id="r"))
        await client.until(count=1)

    assert client.seqs == seqs
    assert client.last_id == f"1-{seqs[0]}"
    assert f'"incident_id":"{INCIDENT}","execution_id":"e","runbook_id":"r","actor":"olga"' in client.text
    assert "canary" not in client.text


async def test_a_client_that_is_cut_again_and_again_gets_everything_once(http: httpx.AsyncClient, bus: Bus) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")  # noqa: T201 -- shown when the test fails
    chance, heard, published, total = random.Random(seed), list[int](), list[int](), 900
    start = await bus.js.stream_info("EVENTS")
    last = f"1-{start.state.last_seq}"

    async def storm() -> None:
        while len(published) < total:
            published.extend(await publish(bus, *(fact() for _ in range(chance.randint(1, 40)))))

    storming = asyncio.create_task(storm())
    while len(heard) < total:
        async with following(http, last) as client:
            await client.until(count=min(chance.randint(1, 120), total - len(heard)), end=True)
        heard += client.seqs
        last = client.last_id
        assert "reset" not in client.names
    await storming
    rest = len(published) - len(heard)
    if rest:
        async with following(http, last) as client:
            await client.until(count=rest)
        heard += client.seqs

    assert heard == published


async def test_a_client_hears_only_of_its_tenant_and_its_position_moves_on_all_the_same(
    bus: Bus, tail: Tail, base_url: str
) -> None:
    async with httpx.AsyncClient(base_url=base_url, timeout=10) as http:
        acme = bearer(TWO_TENANTS) | {"Rr_Tenant": "acme"}
        async with following(http, **acme) as one, following(http, **bearer(VIEWER)) as other:
            await one.until(name="live")
            await other.until(name="live")
            theirs = await publish(bus, fact(tenant="acme"))
            ours = await publish(bus, fact(), fact("approval.granted"))
            hidden = await publish(bus, fact("incident.unheard_of"), fact(tenant="globex"))
            await one.until(count=1)
            await other.until(count=2)

    assert (one.seqs, other.seqs) == (theirs, ours)
    identity = caller("vera", "viewer")
    lines = Feed(tail, identity, heartbeat_seconds=0.05).lines(Position(0, ours[-1]))
    chunks = [await anext(lines) for _ in range(4)]
    await lines.aclose()
    assert f"id: 1-{hidden[-1]}\n: alive\n\n".encode() in chunks


async def test_a_role_that_may_not_see_a_thing_hears_nothing_of_it(tail: Tail, bus: Bus) -> None:
    sender = caller("am", "alerting")
    start = (await bus.js.stream_info("EVENTS")).state.last_seq
    await publish(bus, *(fact(kind) for kind in ("incident.created", "runbook.published", "runbook.started")))

    lines = Feed(tail, sender, heartbeat_seconds=0.05).lines(Position(1, start))
    said = b"".join([await anext(lines) for _ in range(4)])
    await lines.aclose()

    assert b"alive" in said
    assert b'data: {"seq"' not in said


async def test_what_was_missed_beyond_what_is_kept_is_read_from_the_stream(http: httpx.AsyncClient, bus: Bus) -> None:
    seqs = await publish(bus, *(fact() for _ in range(200)))
    more = await publish(bus, *(fact() for _ in range(200)))

    async with following(http, f"1-{seqs[0]}") as client:
        await client.until(name="live")

    assert client.seqs == (seqs + more)[1:]


@pytest.mark.parametrize("position", ["2-1", "1-999999", "7-0"])
async def test_a_position_of_another_stream_is_reset(http: httpx.AsyncClient, bus: Bus, position: str) -> None:
    seqs = await publish(bus, fact(), fact())

    async with following(http, position) as client:
        await client.until(name="live")

    assert (client.names, client.seqs, client.last_id) == (["reset", "live"], [], f"1-{seqs[-1]}")


async def test_a_stream_that_is_made_anew_resets_who_follows(http: httpx.AsyncClient, bus: Bus) -> None:
    config = (await bus.js.stream_info("EVENTS")).config
    await publish(bus, fact(), fact())
    async with following(http) as client:
        await client.until(name="live")
        await bus.js.delete_stream("EVENTS")
        config.metadata = {**(config.metadata or {}), "rr.epoch": "2"}
        await bus.js.add_stream(config)
        await client.until(name="reset")
        await publish(bus, fact())
        await client.until(count=1)

    assert (client.seqs, client.last_id) == ([1], "2-1")


async def test_who_cannot_keep_up_is_told_so_and_cut(tail: Tail, bus: Bus) -> None:
    identity = caller("vera", "viewer")
    lines = Feed(tail, identity).lines(None)
    while b"event: live" not in await anext(lines):
        pass

    for _ in range(3):
        seqs = await publish(bus, *(fact() for _ in range(60)))
    await eventually(lambda: tail.last == seqs[-1])

    assert b"too slow" in await anext(lines)
    assert [chunk async for chunk in lines] == []


async def test_nothing_is_left_at_the_server_and_nothing_is_read_when_nobody_listens(
    http: httpx.AsyncClient, bus: Bus, tail: Tail
) -> None:
    async with following(http) as client:
        await client.until(name="live")
        assert tail.epoch == 1
        names = {consumer.name for consumer in await bus.js.consumers_info("EVENTS")}
        assert names <= DURABLES

    await eventually(lambda: tail.epoch == 0)


async def test_there_is_a_bound_to_how_many_follow(http: httpx.AsyncClient, tail: Tail) -> None:
    async with AsyncExitStack() as stack:
        for _ in range(8):
            await stack.enter_async_context(tail.listening())
        answer = await http.get("/events")

    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_when_the_gateway_stops_who_follows_is_let_go(http: httpx.AsyncClient, tail: Tail) -> None:
    async with following(http) as client:
        await client.until(name="live")
        tail.close()
        await client.until(comment="stops")
        await client.until(comment="never", end=True)

    assert (await http.get("/events")).status_code == 503


@pytest.mark.parametrize("header", ["x", "-1", "1-", "1-x", "01", "0-1", "9" * 30])
async def test_an_id_that_is_none_is_refused(http: httpx.AsyncClient, header: str) -> None:
    answer = await http.get("/events", headers={"Last-Event-ID": header})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert (await http.get("/events", params={"after": header})).status_code == 422


def test_every_kind_of_thing_that_facts_are_about_has_its_view() -> None:
    assert {row.fact.aggregate for row in ROWS} <= set(feed.VIEWS)
