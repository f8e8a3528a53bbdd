import pytest

from services.timeline.errors import Frozen
from services.timeline.writer import Writer
from tests.integration.timeline.bench import Bench, stop
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack


async def chained(bench: Bench, count: int) -> None:
    """A log of `count` facts whose writer has gone."""
    task = bench.start()
    await bench.publish(*range(1, count + 1))
    await bench.caught_up(count)
    await stop(task)


async def frozen(writer: Writer) -> str:
    await eventually(lambda: writer.frozen is not None)
    with pytest.raises(Frozen) as caught:
        await writer.ready()
    return caught.value.reason


async def test_a_stream_made_anew_with_a_raised_epoch_goes_on_after_a_stream_reset(bench: Bench) -> None:
    await chained(bench, 5)
    await bench.remake_stream(epoch=2)

    bench.start()
    await bench.publish(6, 7)

    await bench.caught_up(2, epoch=2)
    leaves = await bench.leaves()
    assert leaves[5]["body"] == {"type": "stream_reset", "stream": bench.name, "epoch": "2", "was": "1", "last": "5"}
    assert [leaf["src"]["seq"] for leaf in leaves[6:]] == ["1", "2"]
    assert [leaf["src"]["epoch"] for leaf in leaves[6:]] == ["2", "2"]
    await bench.verified()


async def test_facts_published_again_into_a_new_stream_are_duplicates(bench: Bench) -> None:
    await chained(bench, 3)
    await bench.remake_stream(epoch=2)

    bench.start()
    await bench.publish(1, 2, 3, 4)

    await bench.caught_up(4, epoch=2)
    assert await bench.kinds() == ["event"] * 3 + ["control"] + ["duplicate"] * 3 + ["event"]
    await bench.verified()


async def test_a_stream_wiped_without_a_new_epoch_freezes_the_log_until_the_epoch_is_raised(bench: Bench) -> None:
    await chained(bench, 5)
    await bench.remake_stream(epoch=1)
    writer = bench.writer()

    bench.start(writer)

    assert "ends at sequence 0, the log has chained 5" in await frozen(writer)
    await bench.publish(6)
    assert await bench.position() == (1, 5)

    await bench.remake_stream(epoch=2)
    await bench.publish(6)
    await bench.caught_up(1, epoch=2)
    await writer.ready()
    await bench.verified()


async def test_another_stream_under_the_same_name_freezes_the_log(bench: Bench) -> None:
    await chained(bench, 5)
    await bench.remake_stream(epoch=1)
    await bench.publish(*range(11, 20))
    writer = bench.writer()

    bench.start(writer)

    assert "sequence 5 is not what the log chained (other stored time)" in await frozen(writer)
    assert await bench.position() == (1, 5)


async def test_a_stream_of_an_older_epoch_freezes_the_log(bench: Bench) -> None:
    await bench.remake_stream(epoch=3)
    task = bench.start()
    await bench.publish(1)
    await bench.caught_up(1, epoch=3)
    await stop(task)
    await bench.remake_stream(epoch=2)
    writer = bench.writer()

    bench.start(writer)

    assert "is at epoch 2, the log has chained epoch 3" in await frozen(writer)


async def test_a_log_of_another_origin_is_not_written_to(bench: Bench) -> None:
    await chained(bench, 1)
    bench.settings = bench.settings.model_copy(update={"timeline_origin": "ranger.test/other"})
    writer = bench.writer()

    bench.start(writer)

    assert "not ranger.test/other" in await frozen(writer)


async def test_messages_that_expired_below_the_cursor_do_not_freeze_the_log(bench: Bench) -> None:
    await chained(bench, 5)
    await bench.client.jetstream().purge_stream(bench.name)

    bench.start()
    await bench.publish(6)

    await bench.caught_up(6)
    assert await bench.kinds() == ["event"] * 6
    await bench.verified()


async def test_a_stream_replaced_while_the_writer_stands_still_is_noticed(bench: Bench) -> None:
    bench.start()
    await bench.publish(1, 2)
    await bench.caught_up(2)

    await bench.raise_epoch(2)

    await bench.caught_up(2, epoch=2)
    assert await bench.kinds() == ["event", "event", "control", "duplicate", "duplicate"]
    await bench.verified()


async def test_an_epoch_raised_while_the_writer_runs_is_noticed_on_reconnecting(bench: Bench, servers: Servers) -> None:
    bench.start()
    await bench.publish(1, 2)
    await bench.caught_up(2)

    await bench.raise_epoch(2)
    servers.kill(servers.nats)
    servers.restart(servers.nats)
    await eventually(lambda: bench.bus.nc.stats["reconnects"] > 0 and bench.bus.nc.is_connected)
    await bench.publish(3)

    await bench.caught_up(3, epoch=2)
    assert await bench.kinds() == ["event", "event", "control", "duplicate", "duplicate", "event"]
    await bench.verified()
