"""A message that cannot be applied: it stops nobody else, is not lost, and a person gets it applied after all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from libs.common.bus import Outgoing, Stored
from libs.common.consumer import FactReceived, Received
from libs.common.contracts.choreography import ADVISORY, DLQ, EVENTS
from libs.common.database import Tx
from libs.common.deadletter_desk import DeadLetterDesk
from libs.common.errors import Conflict, Denied, InvalidInput, NotFound
from libs.common.ids import new_id
from libs.common.outbox import OutboxEvent
from libs.common.policy import Principal
from libs.common.rpc import RpcClient, RpcServer
from tests.integration.common.lab import Lab, fact, outgoing, running
from tests.support.eventually import eventually
from tests.support.probe_service import tally

pytestmark = pytest.mark.stack

ADMIN = Principal("ada", frozenset({"acme"}), frozenset({"admin"}))
OPERATOR = Principal("pat", frozenset({"acme"}), frozenset({"operator"}))
BAD, GOOD, OTHER = "bad", "good", "other"


async def poison(lab: Lab, aggregate: str, version: int) -> None:
    """Have the handler fail for this fact."""
    await lab.admin.execute("INSERT INTO catalog.poison VALUES ($1, $2)", aggregate, version)


async def heal(lab: Lab) -> None:
    """Have it fail no more."""
    await lab.admin.execute("TRUNCATE catalog.poison")


async def letters(lab: Lab) -> list[dict[str, Any]]:
    """Dead letters, oldest first."""
    return [dict(row) for row in await lab.admin.fetch("SELECT * FROM catalog.dead_letter ORDER BY id")]


async def _consumed(lab: Lab, events: Sequence[OutboxEvent], **more: Any) -> None:
    await lab.publish(events)
    async with running(lab.consumer(**more).run):
        await lab.settled()


async def test_a_fact_that_always_fails_is_dead_after_so_many_errors_and_only_its_aggregate_waits(lab: Lab) -> None:
    calls: list[list[int]] = []

    async def counted(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        calls.append([m.value.envelope.aggregate_version for m in messages if m.aggregate_id == BAD])
        await tally(tx, messages)

    await poison(lab, BAD, 1)
    events = [fact(BAD, 1), fact(GOOD, 1), fact(BAD, 2), fact(OTHER, 1), fact(GOOD, 2)]

    await _consumed(lab, events, handler=counted, max_failures=3)

    assert await lab.tallied() == [(GOOD, 1), (OTHER, 1), (GOOD, 2)]
    first, parked = await letters(lab)
    assert (first["reason"], first["state"]) == ("handler: PoisonError: cannot apply bad", "open")
    assert parked["reason"].startswith("parked")
    assert [first["stream_seq"], parked["stream_seq"]] == [1, 3]
    assert calls.count([1]) == 3
    failure = await lab.admin.fetchrow("SELECT count, state FROM catalog.inbox_failure")
    assert failure is not None
    assert tuple(failure) == (3, "dead")


async def test_no_message_is_terminated_or_delivered_twice_for_a_handlers_error(lab: Lab) -> None:
    await poison(lab, BAD, 1)

    await _consumed(lab, [fact(BAD, 1), fact(GOOD, 1)])

    info = await lab.bus.js.consumer_info(EVENTS, "catalog")
    assert info.num_redelivered == 0
    assert (await lab.bus.js.stream_info(ADVISORY)).state.messages == 0


async def test_an_error_that_passes_leaves_no_dead_letter(lab: Lab) -> None:
    left = 2

    async def failing_twice(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        nonlocal left
        await tally(tx, messages)
        if left and any(m.aggregate_id == BAD for m in messages):
            left -= 1
            raise ValueError("not yet")

    await _consumed(lab, [fact(BAD, 1), fact(BAD, 2)], handler=failing_twice)

    assert await lab.tallied() == [(BAD, 1), (BAD, 2)]
    assert await letters(lab) == []
    assert await lab.admin.fetchval("SELECT state FROM catalog.inbox_failure") == "applied"


async def test_a_refusal_is_not_tried_again(lab: Lab) -> None:
    async def refuse(_tx: Tx, _messages: Sequence[Received[FactReceived]]) -> None:
        raise Conflict("never")

    await _consumed(lab, [fact(BAD, 1)], handler=refuse, max_failures=5)

    assert await lab.admin.fetchval("SELECT count FROM catalog.inbox_failure") == 1
    assert len(await letters(lab)) == 1


async def test_a_value_that_no_column_takes_is_the_messages_error_and_not_the_servers(lab: Lab) -> None:
    async def too_much(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        await tally(tx, messages)
        if messages[0].aggregate_id == BAD:
            await tx.execute("INSERT INTO tally (version) VALUES ($1)", 2**70)

    await _consumed(lab, [fact(BAD, 1), fact(GOOD, 1)], handler=too_much, max_failures=2)

    assert await lab.tallied() == [(GOOD, 1)]
    assert "out of int64 range" in (await letters(lab))[0]["reason"]


def _hostile() -> list[Outgoing]:
    good = outgoing(fact(BAD, 1))

    def headers(**changed: str) -> Outgoing:
        named = {name.replace("_", "-"): value for name, value in changed.items()}
        return Outgoing(good.subject, good.payload, {**good.headers, "Nats-Msg-Id": new_id(), **named})

    def body(payload: bytes) -> Outgoing:
        return Outgoing(good.subject, payload, {**good.headers, "Nats-Msg-Id": new_id(), "ce-id": new_id()})

    return [
        Outgoing(good.subject, b"hello", {}),
        Outgoing(good.subject, b"", {"Nats-Msg-Id": new_id()}),
        body(b"\xff\xfe{"),
        body(b"[" * 100_000),
        body(orjson.dumps({"incident_id": 7})),
        headers(ce_id="not a uuid"),
        headers(ce_id=new_id().upper()),
        headers(ce_type="incident.closed"),
        headers(ce_aggregateid="nul \x00 nul"),
        headers(ce_tenant="nul \x00 nul"),
        headers(ce_actor="\x1b[31m"),
        headers(ce_aggregateversion=str(2**63)),
        headers(ce_aggregateversion="9" * 4000),
        headers(Rr_Salt="AAAA"),
        headers(Rr_Refs="[" * 2000),
        headers(X_Other="nul \x00 nul", ce_specversion="9"),
    ]


async def test_whatever_is_on_the_stream_and_no_fact_is_set_aside_and_the_facts_behind_it_are_applied(lab: Lab) -> None:
    hostile = _hostile()
    outcomes = await lab.bus.publish(hostile)
    assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes

    await _consumed(lab, [fact(GOOD, 1), fact(GOOD, 2)])

    assert await lab.tallied() == [(GOOD, 1), (GOOD, 2)]
    found = await letters(lab)
    assert [letter["stream_seq"] for letter in found] == list(range(1, len(hostile) + 1))
    assert {letter["reason"].partition(":")[0] for letter in found} == {"malformed"}
    assert [letter["payload"] for letter in found] == [message.payload for message in hostile]
    assert await lab.count("catalog.inbox_failure") == 0


async def test_a_fact_with_nul_inside_its_payload_is_a_fact_whose_handler_decides(lab: Lab) -> None:
    event = fact(GOOD, 1)
    payload = orjson.dumps({**orjson.loads(event.payload), "title": "a\x00b"})
    await lab.bus.publish([Outgoing(event.envelope.type, payload, event.envelope.to_headers())])

    await _consumed(lab, [])

    assert await lab.tallied() == [(GOOD, 1)]


async def test_a_dead_letter_has_a_copy_on_its_stream_and_leaves_the_outbox(lab: Lab) -> None:
    await poison(lab, BAD, 1)
    await _consumed(lab, [fact(BAD, 1)])

    async with running(lab.relay(database=lab.catalog).run):

        async def gone() -> bool:
            return await lab.count("catalog.outbox") == 0

        await eventually(gone)

    copy = await lab.bus.js.get_msg(DLQ, 1)
    assert copy.subject == "dlq.catalog:EVENTS"
    assert copy.data == (await letters(lab))[0]["payload"]
    assert copy.headers is not None
    assert copy.headers["Rr-Reason"] == "handler: PoisonError: cannot apply bad"


class Desk:
    """A person at the desk of the catalog."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client

    async def __call__(self, verb: str, who: Principal = ADMIN, tenant: str = "acme", **body: Any) -> dict[str, Any]:
        return await self._client.ask("catalog", verb, body, principal=who, tenant=tenant)


@pytest.fixture
async def desk(lab: Lab) -> Desk:
    bus = await lab.another_bus("desk")
    server = RpcServer(bus, lab.catalog, "catalog")
    consumer = lab.consumer()
    DeadLetterDesk({consumer.name: consumer}).register(server)
    await bus.serve()
    return Desk(RpcClient(lab.bus, timeout=5))


async def test_a_retry_applies_a_letter_and_those_parked_behind_it_in_order(lab: Lab, desk: Desk) -> None:
    await poison(lab, BAD, 1)
    await _consumed(lab, [fact(BAD, 1), fact(BAD, 2), fact(GOOD, 1), fact(BAD, 3)])
    listed = (await desk("dlq_list"))["items"]
    await heal(lab)

    answer = await desk("dlq_retry", id=listed[0]["id"], rationale="the handler is mended")

    assert answer == {"retried": [item["id"] for item in listed]}
    assert await lab.tallied() == [(GOOD, 1), (BAD, 1), (BAD, 2), (BAD, 3)]
    assert {letter["state"] for letter in await letters(lab)} == {"retried"}
    assert {letter["resolved_by"] for letter in await letters(lab)} == {"ada"}
    await _consumed(lab, [fact(BAD, 4)])
    assert (await lab.tallied())[-1] == (BAD, 4)


async def test_a_retry_that_fails_changes_nothing_and_says_why(lab: Lab, desk: Desk) -> None:
    await poison(lab, BAD, 2)
    await _consumed(lab, [fact(BAD, 2), fact(BAD, 3)])
    number = (await letters(lab))[0]["id"]

    with pytest.raises(Conflict, match="still cannot be applied: PoisonError"):
        await desk("dlq_retry", id=number)

    assert await lab.tallied() == []
    assert {letter["state"] for letter in await letters(lab)} == {"open"}


async def test_a_discarded_letter_stays_on_record_with_who_and_why(lab: Lab, desk: Desk) -> None:
    await poison(lab, BAD, 1)
    await _consumed(lab, [fact(BAD, 1), fact(BAD, 2)])
    first, parked = await letters(lab)

    with pytest.raises(InvalidInput, match="rationale"):
        await desk("dlq_discard", id=first["id"])
    assert await desk("dlq_discard", id=first["id"], rationale="sent by mistake") == {"discarded": [first["id"]]}

    (listed,) = (await desk("dlq_list", state="discarded"))["items"]
    assert listed["id"] == first["id"]
    shown = await desk("dlq_show", id=first["id"])
    assert (shown["resolved_by"], shown["resolution"]) == ("ada", "sent by mistake")
    with pytest.raises(Conflict, match="discarded already"):
        await desk("dlq_discard", id=first["id"], rationale="once more")
    with pytest.raises(Conflict, match="discarded already"):
        await desk("dlq_retry", id=first["id"])
    assert await desk("dlq_retry", id=parked["id"]) == {"retried": [parked["id"]]}
    assert await lab.tallied() == [(BAD, 2)]


async def test_only_administrators_of_its_tenant_see_a_letter_and_nobody_sees_its_salt(lab: Lab, desk: Desk) -> None:
    await poison(lab, BAD, 1)
    await _consumed(lab, [fact(BAD, 1)])
    number = (await letters(lab))[0]["id"]
    stranger = Principal("eve", frozenset({"beta"}), frozenset({"admin"}))

    with pytest.raises(Denied):
        await desk("dlq_show", OPERATOR, id=number)
    with pytest.raises((Denied, NotFound)):
        await desk("dlq_show", stranger, "beta", id=number)
    assert (await desk("dlq_list", stranger, "beta"))["items"] == []
    assert "Rr-Salt" not in (await desk("dlq_show", id=number))["headers"]
    with pytest.raises(NotFound):
        await desk("dlq_show", id=number + 1)
