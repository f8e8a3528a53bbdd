"""Real processes: another takes over when the writer dies or is paused; no crash leaves anything but the same log."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from libs.common.bus import Bus
from libs.common.contracts.choreography import ADMIN, EVENTS
from libs.tlog.chain import Batch, chain
from libs.tlog.secretkey import private_text
from libs.tlog.tree import Frontier
from services.timeline.intake import arrival
from services.timeline.stream import EventStream
from tests.integration.timeline.places import ORIGIN, Place, end
from tests.integration.timeline.signed import OLD, whole
from tests.integration.timeline.test_control import publish_facts
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

POINTS = (
    "timeline_before_commit",
    "timeline_after_commit",
    "timeline_before_ack",
    "timeline_checkpoint_signed",
    "timeline_tiles_published",
    "timeline_checkpoint_kept",
    "timeline_checkpoint_published",
)
TAKE_OVER_SECONDS = 5.0


@pytest.fixture
async def place(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Place]:
    (tmp_path / "timeline.key").write_text(private_text(OLD))
    async with Place.open(stack_env, tmp_path) as place:
        yield place


async def terms(place: Place) -> int:
    return int(await place.admin.fetchval("SELECT coalesce(max(term), 0) FROM log_state"))


async def published(place: Place, size: int) -> Any:
    async def there() -> bool:
        return await place.store.get(f"checkpoints/{size}") is not None and (
            f"\n{size}\n".encode() in (await place.store.get("checkpoint") or b"")
        )

    await eventually(there, timeout=30)
    return await whole(place.store, [OLD])


@pytest.mark.parametrize("point", POINTS)
async def test_a_crash_at_each_step_leaves_the_same_log_and_the_same_checkpoint(
    place: Place, stack_env: StackEnv, point: str
) -> None:
    await publish_facts(stack_env, 300)
    died = await place.start(RR_CRASH_AT=point)
    async with asyncio.timeout(30):
        assert await died.wait() == 137
    before = await place.leaves()

    await place.start("second")
    signed = await published(place, 300)

    leaves = await place.leaves()
    assert leaves[: len(before)] == before
    expected = await uninterrupted(stack_env)
    assert leaves == [entry.leaf for entry in expected.entries]
    tree = Frontier()
    for entry in expected.entries:
        tree.append(entry.event_hash)
    assert (signed.checkpoint.size, signed.checkpoint.root) == (300, tree.root())
    for row in await place.admin.fetch("SELECT size, note FROM checkpoint"):
        kept = await place.store.get(f"checkpoints/{row['size']}")
        assert kept in {None, bytes(row["note"])}


async def uninterrupted(stack: StackEnv) -> Batch:
    """The log that these messages of the stream give to whoever chains them at once."""
    bus = Bus(stack["RR_NATS_URL"], name="reader", identity=ADMIN)
    await bus.connect()
    stream = EventStream(bus, EVENTS, "timeline")
    extent = await stream.extent()
    found = [await stream.get(seq) for seq in range(1, extent.last + 1)]
    await bus.close()
    items = [arrival(one, stream=EVENTS, epoch=extent.epoch).item for one in found if one is not None]
    return chain(items, origin=ORIGIN, size=0, heads={}, seen={})


async def test_another_takes_over_within_five_seconds_after_kill_9(place: Place, stack_env: StackEnv) -> None:
    first = await place.start("first")
    await eventually(lambda: terms(place), timeout=30)
    await place.start("second")
    await publish_facts(stack_env, 5)
    await published(place, 5)
    loop = asyncio.get_running_loop()

    began = loop.time()
    await end(first)
    await publish_facts(stack_env, 5)

    async def gone_on() -> bool:
        return await place.size() == 10

    await eventually(gone_on, timeout=TAKE_OVER_SECONDS)
    assert loop.time() - began < TAKE_OVER_SECONDS
    await published(place, 10)


async def test_a_paused_writer_is_replaced_and_appends_nothing_when_it_resumes(
    place: Place, stack_env: StackEnv
) -> None:
    first = await place.start("first", RR_TIMELINE_LOCK_SECONDS="2")
    await eventually(lambda: terms(place), timeout=30)
    await place.start("second", RR_TIMELINE_LOCK_SECONDS="2")
    await publish_facts(stack_env, 5)
    await published(place, 5)

    os.kill(first.pid, signal.SIGSTOP)
    await publish_facts(stack_env, 5)

    async def replaced() -> bool:
        return await terms(place) == 2 and await place.size() == 10

    await eventually(replaced, timeout=TAKE_OVER_SECONDS + 3)
    leaves = await place.leaves()
    os.kill(first.pid, signal.SIGCONT)
    await publish_facts(stack_env, 5)
    signed = await published(place, 15)

    assert (await place.leaves())[:10] == leaves
    assert await terms(place) == 2
    assert signed.checkpoint.size == 15
    assert await place.admin.fetchval("SELECT count(*) FROM fork") == 0
