"""Consuming: every fact is applied once, whoever dies, restarts or comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from libs.common.consumer import FactReceived, Received
from libs.common.contracts.choreography import EVENTS
from libs.common.database import Tx
from tests.integration.common.lab import Lab, fact, facts, outgoing, running
from tests.support.eventually import eventually
from tests.support.probe_service import tally
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


def once_and_in_order(found: list[tuple[str, int]], versions: int) -> None:
    """Each aggregate's versions from 1, ascending, none twice."""
    per: dict[str, list[int]] = {}
    for aggregate, version in found:
        per.setdefault(aggregate, []).append(version)
    assert {tuple(seen) for seen in per.values()} == {tuple(range(1, versions + 1))}


async def test_two_instances_with_batches_apply_two_thousand_facts_once_each(lab: Lab) -> None:
    """FastStream ran 8 of 10 messages two or three times here."""
    shares = {"one": 0, "other": 0}
    both = asyncio.Event()

    def counted(name: str) -> object:
        async def handle(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
            shares[name] += len(messages)
            if all(shares.values()):
                both.set()
            await tally(tx, messages)
            await asyncio.wait_for(both.wait(), 10)

        return handle

    await lab.publish(facts(200, 10))
    one = lab.consumer(counted("one"), batch=64)  # type: ignore[arg-type]
    other = lab.consumer(counted("other"), bus=await lab.another_bus(), batch=64)  # type: ignore[arg-type]

    async with running(one.run, other.run):
        await lab.settled()

    found = await lab.tallied()
    assert len(found) == len(set(found)) == 2000
    assert sum(shares.values()) == 2000
    assert await lab.count("catalog.inbox") == 2000


async def test_one_instance_applies_each_aggregate_in_order(lab: Lab) -> None:
    await lab.publish(facts(20, 25))

    async with running(lab.consumer(batch=7).run):
        await lab.settled()

    once_and_in_order(await lab.tallied(), 25)


async def test_a_handler_slower_than_the_redelivery_is_applied_once(lab: Lab) -> None:
    await lab.impatient(seconds=0.5)
    calls = 0

    async def slow(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        nonlocal calls
        calls += 1
        await tally(tx, messages)

        async def delivered_again() -> bool:
            return bool((await lab.bus.js.consumer_info(EVENTS, "catalog")).num_redelivered)

        await eventually(delivered_again)

    await lab.publish([fact("a", 1), fact("b", 1)])
    async with running(lab.consumer(slow).run):
        await lab.settled()

    assert await lab.tallied() == [("a", 1), ("b", 1)]
    assert calls == 1


async def test_a_fact_that_was_published_again_outside_the_window_changes_nothing(lab: Lab) -> None:
    """Another message id: the stream takes it twice, the inbox does not."""
    event = outgoing(fact("a", 1))
    again = type(event)(event.subject, event.payload, {**event.headers, "Nats-Msg-Id": "another"})
    await lab.bus.publish([event, again, outgoing(fact("a", 2))])

    async with running(lab.consumer().run):
        await lab.settled()

    assert await lab.tallied() == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("point", ["consumer_before_commit", "consumer_after_commit", "consumer_before_ack"])
async def test_a_consumer_that_dies_loses_nothing_and_doubles_nothing(lab: Lab, tmp_path: Path, point: str) -> None:
    await lab.impatient()
    await lab.publish(facts(4, 25))
    doomed = await lab.probe("catalog", wait=False, RR_CRASH_AT=point, RR_CRASH_ONCE=str(tmp_path / "once"))
    assert await doomed.exit_code() == 137
    assert bool(await lab.tallied()) == (point != "consumer_before_commit")

    async with running(lab.consumer().run):
        await lab.settled()

    found = await lab.tallied()
    assert len(found) == 100
    once_and_in_order(found, 25)


async def test_an_outage_of_postgres_is_waited_for_and_kills_no_fact(lab: Lab, servers: Servers) -> None:
    seen = asyncio.Event()

    async def noticed(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        await tally(tx, messages)
        seen.set()

    await lab.publish(facts(10, 20))
    async with running(lab.consumer(noticed, batch=8).run):
        await asyncio.wait_for(seen.wait(), 10)
        servers.kill(servers.postgres)
        await lab.publish(facts(10, 20))
        servers.restart(servers.postgres)
        await lab.settled()

    async with lab.catalog.transaction("look") as tx:
        found = [tuple(row) for row in await tx.fetch("SELECT aggregate_id, version FROM tally ORDER BY n")]
        assert await tx.fetchval("SELECT count(*) FROM dead_letter") == 0
        assert await tx.fetchval("SELECT count(*) FROM inbox_failure") == 0
    assert len(found) == 400
    once_and_in_order(found, 20)


async def test_a_session_that_is_terminated_in_mid_transaction_is_no_error_of_the_message(lab: Lab) -> None:
    terminated = False

    async def cut(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        nonlocal terminated
        await tally(tx, messages)
        if not terminated:
            terminated = True
            pid = await tx.fetchval("SELECT pg_backend_pid()")
            await lab.admin.execute("SELECT pg_terminate_backend($1)", pid)

    await lab.publish([fact("a", 1)])
    async with running(lab.consumer(cut).run):
        await lab.settled()

    assert terminated
    assert await lab.tallied() == [("a", 1)]
    assert await lab.count("catalog.inbox_failure") == 0


async def test_a_handlers_facts_and_the_mark_that_it_ran_are_one_commit(lab: Lab) -> None:
    async def half(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        await tally(tx, messages)
        raise ValueError("after the effect")

    await lab.publish([fact("a", 1)])
    async with running(lab.consumer(half, max_failures=1).run):
        await lab.settled()

    assert await lab.tallied() == []
    assert await lab.count("catalog.dead_letter") == 1


async def test_marks_are_kept_until_their_message_can_come_no_more(lab: Lab) -> None:
    from libs.common import inbox

    async def mark(consumer: str, epoch: int, seq: int, days: int) -> None:
        await lab.admin.execute(
            "INSERT INTO catalog.inbox VALUES ($1, gen_random_uuid(), $2, $3, now() - make_interval(days => $4))",
            consumer, epoch, seq, days,
        )  # fmt: skip

    await mark("catalog:EVENTS", 2, 99, 40)
    await mark("catalog:EVENTS", 1, 500, 40)
    await mark("catalog:EVENTS", 2, 100, 40)
    await mark("catalog:EVENTS", 2, 98, 20)
    await mark("catalog:INGRESS", 2, 5, 40)

    assert await inbox.prune(lab.catalog.pool, "catalog:EVENTS", epoch=2, first_seq=100) == 2

    left = await lab.admin.fetch("SELECT consumer, epoch, stream_seq FROM catalog.inbox ORDER BY 1, 3")
    assert [tuple(row) for row in left] == [
        ("catalog:EVENTS", 2, 98),
        ("catalog:EVENTS", 2, 100),
        ("catalog:INGRESS", 2, 5),
    ]


@pytest.mark.parametrize(
    ("asked", "time"),
    [("$JS.API.CONSUMER.INFO.", 1), ("$JS.API.CONSUMER.INFO.", 2), ("$JS.API.STREAM.INFO.", 1)],
    ids=["starting", "checking", "consuming"],
)
async def test_a_cancellation_that_meets_the_servers_answer_is_not_lost(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, asked: str, time: int
) -> None:
    """Before Python 3.12 the client's `wait_for` swallows it now and then; here it does whenever it is asked so."""
    request = lab.bus.nc.request
    consuming: asyncio.Task[None] | None = None
    met: list[str] = []

    async def unlucky(subject: str, *args: Any, **more: Any) -> Any:
        answer = await request(subject, *args, **more)
        if consuming is not None and subject.startswith(asked):
            met.append(subject)
            if len(met) == time:
                consuming.cancel()
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(30)
        return answer

    monkeypatch.setattr(lab.bus.nc, "request", unlucky)
    consumer = lab.consumer(check_seconds=0.2)
    await lab.publish([fact("one", 1)])
    consuming = asyncio.create_task(consumer.run())

    done, _ = await asyncio.wait({consuming}, timeout=20)
    assert done
    assert consuming.cancelled()
    assert len(met) == time
