"""What the log says of itself: persisted first, appended in order, each once, wherever a writer dies."""

from pathlib import Path
from typing import Any

import asyncpg
import orjson
import pytest

from libs.common.bus import Bus, Outgoing
from libs.common.contracts.choreography import ADMIN
from libs.common.contracts.envelope import Envelope, Ref
from libs.common.ids import new_id
from libs.tlog.errors import LeafError
from services.timeline import control
from services.timeline.errors import TermLost
from tests.integration.timeline.bench import Bench, stop
from tests.integration.timeline.places import Place
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

POINTS = ("timeline_before_commit", "timeline_after_commit")


async def ask(bench: Bench, **body: str) -> None:
    async with bench.database.transaction("test") as tx:
        await control.ask(tx, bench.settings.timeline_origin, body)


async def said(bench: Bench) -> list[Any]:
    return [leaf["body"] for leaf in await bench.leaves() if leaf["kind"] == "control"]


async def test_what_is_asked_for_is_said_in_order_and_its_index_is_known(bench: Bench) -> None:
    bench.start()
    await bench.publish(1, 2)
    await bench.caught_up(2)

    for number in range(5):
        await ask(bench, type="bundle_sealed", number=str(number))

    await eventually(lambda: _count(bench, 7))
    assert [body["number"] for body in await said(bench)] == ["0", "1", "2", "3", "4"]
    rows = await bench.database.pool.fetch("SELECT index FROM control ORDER BY id")
    assert [row["index"] for row in rows] == [2, 3, 4, 5, 6]
    assert (await bench.verified()).kinds == {"event": 2, "control": 5}


async def test_what_no_leaf_can_say_is_refused_when_it_is_asked_for(bench: Bench) -> None:
    for body in ({"type": "x", "why": "a\0b"}, {"why": "no type"}, {"type": "x", "why": "a" * 5000}):
        with pytest.raises(LeafError):
            await ask(bench, **body)

    assert await bench.database.pool.fetchval("SELECT count(*) FROM control") == 0


async def test_the_log_says_that_it_lives_once_in_each_span(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"timeline_heartbeat_seconds": 3600.0})
    for _ in range(3):
        task = bench.start()
        await eventually(lambda: _count(bench, 1))
        await stop(task)

    (heartbeat,) = await said(bench)

    assert heartbeat["type"] == "heartbeat"
    assert heartbeat["at"].endswith("Z")
    assert await bench.database.pool.fetchval(
        "SELECT abs(extract(epoch FROM now() - $1::text::timestamptz)) < 60", heartbeat["at"]
    )
    await bench.verified()


async def test_heartbeats_go_on(bench: Bench) -> None:
    bench.settings = bench.settings.model_copy(update={"timeline_heartbeat_seconds": 0.3})
    bench.start()

    await eventually(lambda: _count(bench, 3))

    times = [body["at"] for body in await said(bench)]
    assert times == sorted(set(times))
    await bench.verified()


async def test_a_writer_that_was_replaced_says_nothing(bench: Bench) -> None:
    await ask(bench, type="bundle_sealed")
    paused, writer = await bench.ledger(), bench.writer()
    successor = await bench.ledger()

    with pytest.raises(TermLost):
        await writer.say(paused)
    assert await bench.database.pool.fetchval("SELECT count(*) FROM control WHERE index IS NOT NULL") == 0
    await writer.say(successor)
    await writer.say(successor)

    assert await bench.kinds() == ["control"]


async def test_the_services_role_cannot_unsay_anything(bench: Bench) -> None:
    await ask(bench, type="bundle_sealed")

    for statement in ("DELETE FROM control", "UPDATE control SET body = '{}'", "TRUNCATE control"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await bench.database.pool.execute(statement)


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_anywhere_gives_the_byte_identical_log(stack_env: StackEnv, tmp_path: Path, point: str) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        await publish_facts(stack_env, 30)
        for number in range(3):
            await place.ask(type="bundle_sealed", number=str(number))
        whole = await place.log_of_a_run(30 + 3)
        await place.forget()

        died = await place.start(RR_CRASH_AT=point)
        assert await died.wait() == 137
        halfway = await place.leaves()
        again = await place.log_of_a_run(30 + 3)

    assert again[: len(halfway)] == halfway
    assert again == whole


async def test_a_heartbeat_that_was_written_down_before_a_crash_is_the_one_that_is_said(
    stack_env: StackEnv, tmp_path: Path
) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        died = await place.start(RR_CRASH_AT="timeline_control_asked", RR_TIMELINE_HEARTBEAT_SECONDS="3600")
        assert await died.wait() == 137
        (asked,) = await place.admin.fetch("SELECT body, index FROM control")
        assert asked["index"] is None

        (leaf,) = await place.log_of_a_run(1, RR_TIMELINE_HEARTBEAT_SECONDS="3600")

    assert orjson.loads(leaf)["body"] == orjson.loads(asked["body"])


async def _count(bench: Bench, count: int) -> bool:
    return bool(await bench.database.pool.fetchval("SELECT count(*) >= $1 FROM leaf", count))


async def publish_facts(stack: StackEnv, count: int, refs: tuple[Ref, ...] = ()) -> None:
    bus = Bus(stack["RR_NATS_URL"], name="producer", identity=ADMIN)
    await bus.connect()
    facts = [
        Envelope(
            id=new_id(), type="incident.created", source="/svc/incident", time="2026-03-01T09:59:50.000000Z",
            aggregate_type="incident", aggregate_id="i-1", aggregate_version=number, tenant="t_a1", actor="usr_7f3a",
            correlation="c-1", incident_id="i-1", refs=refs,
        )
        for number in range(1, count + 1)
    ]  # fmt: skip
    await bus.publish([Outgoing("incident.created", b"{}", fact.to_headers()) for fact in facts])
    await bus.close()
