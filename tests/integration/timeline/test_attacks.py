"""What somebody may try against the log who has the database, the key, the stream or the clock; and what comes out.

Everything here runs against real servers. docs/auditors.md lists these with those that need none, or a whole stack.
"""

import asyncio
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from libs.common.clock import rfc3339, utc_now
from libs.common.objectstore import ObjectStore
from libs.common.policy import Principal
from libs.common.rpc import Caller
from libs.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from libs.tlog.errors import BrokenLog, ProofError
from libs.tlog.tlogproof import ConsistencyProof
from libs.verifier.reading import verify_path
from services.timeline import metrics
from services.timeline.checkpoints import Made
from services.timeline.handlers import ListEntries, LogDesk
from services.timeline.model import Received
from services.timeline.proving import Consistency, ProofDesk
from tests.integration.timeline.bench import Bench, stop
from tests.integration.timeline.signed import NAME, OLD, OTHER, Office
from tests.integration.timeline.test_bundles import ADA
from tests.integration.timeline.test_exporter import Export
from tests.support.eventually import eventually
from tests.support.servers import Servers

pytestmark = pytest.mark.stack
LOG = "log_state, leaf, payload, entry, chain_head, tile"


@dataclass
class Forger:
    """Somebody who has the administrator's connection to the database, and perhaps more."""

    bench: Bench
    office: Office
    admin: Any

    async def log(self, *numbers: int) -> None:
        """A log of these facts, signed and published; nobody writes it any more."""
        async with self.office.open():
            await self.bench.publish(*numbers)
            await self.office.published(len(numbers))

    async def messages(self, count: int) -> list[Received]:
        found = [await self.bench.stream.get(seq) for seq in range(1, count + 1)]
        return [message for message in found if message is not None]

    async def rewrite(self, messages: Iterable[Received], *, checkpoints: bool = True) -> bytes:
        """The database holds the log of these messages now, in itself without a fault; returns its root."""
        await self.admin.execute(f"TRUNCATE {LOG}{'' if checkpoints else ', checkpoint'}")
        ledger = await self.bench.ledger()
        await self.bench.writer().take(ledger, list(messages))
        await self.bench.verified()
        return ledger.state.tree.root()

    async def frozen(self) -> str:
        """Why nothing is appended, signed and published by who takes the log over."""
        before = await self.bench.rows(), await self.office.store.get("checkpoint")
        async with self.office.open():
            await eventually(lambda: self.office.writer.frozen is not None, timeout=10)
        assert (await self.bench.rows(), await self.office.store.get("checkpoint")) == before
        return str(self.office.writer.frozen)


@pytest.fixture
def forger(bench: Bench, tmp_path: Path, admin: Any) -> Forger:
    return Forger(bench, Office(bench, tmp_path), admin)


def other(message: Received) -> Received:
    """What the message should not have said."""
    return Received(message.seq, message.subject, message.ts_ns, message.headers, b'{"number":"forged"}')


async def test_a_log_that_is_truncated_and_signed_anew_is_refused_as_smaller(forger: Forger, tmp_path: Path) -> None:
    await forger.log(1, 2, 3, 4)
    kept = await forger.office.store.get("checkpoint") or b""
    root = await forger.rewrite(await forger.messages(3), checkpoints=False)
    smaller = sign_checkpoint(Checkpoint(NAME, 3, root), [OLD])
    await forger.admin.execute("INSERT INTO checkpoint (size, root, note) VALUES (3, $1, $2)", root, smaller)

    assert "a checkpoint of size 4 is published, the database has 3 leaves" in await forger.frozen()
    await forger.office.press.publish(Made(3, root, smaller), 0)
    assert await forger.office.store.get("checkpoint") == kept, "a smaller checkpoint never takes a larger one's place"

    await forger.office.store.put("checkpoint", smaller)  # who has the object store, too, meets who kept one
    old = open_checkpoint(kept, [OLD.verifier])
    with pytest.raises(BrokenLog, match=r"^what is shown ends at 3 leaves, before the checkpoint of size 4 .* stale$"):
        verify_path(tmp_path / "objects", [OLD.verifier], old)


async def test_an_old_checkpoint_that_is_served_is_stale(forger: Forger, tmp_path: Path) -> None:
    await forger.log(1, 2)
    served = await forger.office.store.get("checkpoint") or b""
    async with forger.office.open():
        await forger.bench.publish(3, 4)
        newest = await forger.office.published(4)

    assert verify_path(tmp_path / "objects", [OLD.verifier], newest).signed.checkpoint.size == 4
    await forger.office.store.put("checkpoint", served)

    with pytest.raises(
        BrokenLog, match=r"ends at 2 leaves, before the checkpoint of size 4 that is held: it is stale$"
    ):
        verify_path(tmp_path / "objects", [OLD.verifier], newest)


async def test_a_log_that_is_shown_otherwise_to_somebody_else_is_not_consistent(forger: Forger, tmp_path: Path) -> None:
    await forger.log(1, 2, 3, 4, 5)
    shown = {size: await forger.office.store.get(f"checkpoints/{size}") for size in range(1, 6)}
    first = min(size for size, note in shown.items() if note)
    mine = open_checkpoint(shown[first] or b"", [OLD.verifier])
    # The key signs another history, in a store of its own; its readers see nothing wrong.
    messages = await forger.messages(5)
    await forger.rewrite([other(messages[0]), *messages[1:]], checkpoints=False)
    (tmp_path / "view").mkdir()
    view = Office(forger.bench, tmp_path / "view")
    async with view.open():
        theirs = await view.published(5)
        await forger.bench.publish(6)
        grown = await view.published(6)
    objects = tmp_path / "view" / "objects"
    assert verify_path(objects, [OLD.verifier], theirs).signed.checkpoint.size == 6

    with pytest.raises(BrokenLog, match=rf"^at size {first} the log .* says .*: two histories were shown$"):
        verify_path(objects, [OLD.verifier], mine)

    whole = open_checkpoint(shown[5] or b"", [OLD.verifier]).checkpoint
    auditor = Caller(Principal("otto", frozenset({"*"}), frozenset({"auditor"}), clearance=3), "t_a1", "k")
    async with forger.bench.database.transaction("test") as tx:
        answer = await ProofDesk(NAME).consistency(tx, auditor, Consistency(old=5, new=6))
    proof = ConsistencyProof.from_json(answer)
    proof.verify(theirs.checkpoint.root, grown.checkpoint.root)
    with pytest.raises(ProofError, match=rf"at size 5, not to {whole.root.hex()}"):
        proof.verify(whole.root, grown.checkpoint.root)


async def test_a_key_that_is_replaced_under_the_same_name_signs_nothing(forger: Forger) -> None:
    await forger.log(1)
    forger.office.give(OTHER)

    async with forger.office.open():
        await forger.bench.publish(2)
        await forger.bench.caught_up(2)
        await eventually(lambda: forger.office.notary.trouble)

    assert f"was signed by the key {OLD.key_id.hex()}; RR_TIMELINE_KEY_FILE holds {OTHER.key_id.hex()}" in str(
        forger.office.notary.trouble
    )
    assert OTHER.name == OLD.name
    assert await forger.bench.database.pool.fetchval("SELECT max(size) FROM checkpoint") == 1


@pytest.mark.parametrize(
    ("checkpoints", "words"),
    [
        (True, "the database gives the root {ours} at size 4, but {signed} was signed there"),
        (False, "the database gives the root {ours} at size 4, the published checkpoint signs {signed}"),
    ],
    ids=["with what was signed", "without any trace of it"],
)
async def test_a_database_that_is_rewritten_without_the_key_meets_what_is_published(
    forger: Forger, checkpoints: bool, words: str
) -> None:
    await forger.log(1, 2, 3, 4)
    signed = open_checkpoint(await forger.office.store.get("checkpoint") or b"", [OLD.verifier]).checkpoint.root
    forger.office.key.unlink()

    first, second, *rest = await forger.messages(4)
    ours = await forger.rewrite([first, other(second), *rest], checkpoints=checkpoints)

    assert words.format(ours=ours.hex(), signed=signed.hex()) in await forger.frozen()
    assert await forger.bench.database.pool.fetchval("SELECT count(*) FROM fork") == 0, "only one root was ever signed"


async def test_a_message_that_the_server_delivers_again_adds_no_leaf(bench: Bench) -> None:
    await bench.publish(*range(1, 11))
    dead = await bench.bus.js.pull_subscribe(bench.type, durable="timeline", stream=bench.name)
    taken = await dead.fetch(10, timeout=5)
    bench.start()
    await bench.caught_up(10)
    before = await bench.rows()

    for message in taken:
        await message.nak()
    await bench.publish(11)

    async def redelivered() -> bool:
        info = await bench.client.jetstream().consumer_info(bench.name, "timeline")
        floor = info.ack_floor.stream_seq if info.ack_floor else 0
        return (info.delivered.consumer_seq if info.delivered else 0) > 11 and floor == 11

    await eventually(redelivered, timeout=10)
    await bench.caught_up(11)
    assert (await bench.rows())[:10] == before
    assert await bench.kinds() == ["event"] * 11
    await bench.verified()


async def test_a_producers_clock_orders_nothing_and_is_flagged_where_it_is_a_day_off(forger: Forger) -> None:
    bench = forger.bench
    counted = {way: metrics.SKEWED.labels(way)._value.get() for way in ("ahead", "behind")}
    async with forger.office.open():
        for number, days in enumerate((0, 1, -1, 0), 1):
            told = rfc3339(utc_now() + timedelta(days=days))
            await bench.send([bench.outgoing(number, time=told, incident_id="i")])
        await bench.caught_up(4)
        desk = LogDesk(forger.office.writer, forger.office.notary)
        async with bench.database.transaction("test", snapshot=True) as tx:
            shown = (await desk.list_entries(tx, Caller(ADA, "t_a1", "k"), ListEntries(incident_id="i")))["entries"]

    assert [entry["event_id"] for entry in shown] == [bench.fact(number).id for number in range(1, 5)]
    assert [leaf["src"]["seq"] for leaf in await bench.leaves()] == ["1", "2", "3", "4"]
    assert {way: metrics.SKEWED.labels(way)._value.get() - was for way, was in counted.items()} == {
        "ahead": 1, "behind": 1,
    }  # fmt: skip
    await bench.verified()


async def test_a_message_that_is_deleted_inside_the_stream_is_a_gap_that_the_export_lists(
    forger: Forger, tmp_path: Path
) -> None:
    await forger.bench.publish(*range(1, 8))
    for seq in (3, 4, 6):
        await forger.bench.client.jetstream().delete_msg(forger.bench.name, seq)
    async with forger.office.open():
        await forger.office.published(6)
        target = ObjectStore.open((tmp_path / "kept").as_uri())
        await Export(forger.bench, forger.bench.database, target).all()

    found = verify_path(tmp_path / "kept", [OLD.verifier])
    assert found.kinds == {"event": 4, "gap": 2}
    text = b"".join(file.read_bytes() for file in (tmp_path / "kept").glob("*.jsonl"))
    assert b'"body":{"from":"3","to":"4"},"kind":"gap"' in text
    assert b'"body":{"from":"6","to":"6"},"kind":"gap"' in text


async def copied(source: Path, target: Path) -> None:
    """With the owners of its files: the server has an account of its own."""
    copying = await asyncio.create_subprocess_exec("cp", "-a", str(source), str(target))
    assert await copying.wait() == 0


async def restarted(bench: Bench, servers: Servers) -> None:
    reconnects = bench.bus.nc.stats["reconnects"]
    servers.restart(servers.nats)
    await eventually(lambda: bench.bus.nc.stats["reconnects"] > reconnects, timeout=15)


async def test_a_stream_that_is_rolled_back_freezes_the_log_until_a_stream_reset(
    bench: Bench, servers: Servers, tmp_path: Path
) -> None:
    """The server's own files of an earlier moment, as a restored disk has them."""
    store = servers.nats.folder / "store"
    writer = bench.writer()
    task = bench.start(writer)
    await bench.publish(1, 2, 3)
    await bench.caught_up(3)
    servers.nats.stop()
    await copied(store, tmp_path / "earlier")
    await restarted(bench, servers)
    await bench.publish(4, 5)
    await bench.caught_up(5)
    await stop(task)

    servers.nats.stop()
    shutil.rmtree(store)
    await copied(tmp_path / "earlier", store)
    await restarted(bench, servers)
    bench.start(writer := bench.writer())
    await eventually(lambda: writer.frozen is not None, timeout=15)
    assert "ends at sequence 3, the log has chained 5: the stream lost messages" in str(writer.frozen)
    await bench.publish(6, 7, 8)  # as long as the log by now, and still another stream
    await eventually(lambda: "sequence 5 is not what the log chained" in str(writer.frozen), timeout=15)
    assert await bench.kinds() == ["event"] * 5

    await bench.remake_stream(epoch=2)
    await bench.publish(6, 7, 8)
    await bench.caught_up(3, epoch=2, timeout=15)
    assert (await bench.leaves())[5]["body"]["type"] == "stream_reset"
    assert writer.frozen is None
    await bench.verified()


async def test_a_payload_of_more_than_a_mebibyte_is_committed_to_whole_and_a_leaf_of_more_than_4_kib_is_not(
    bench: Bench,
) -> None:
    bench.start()
    large = b'{"text":"%s"}' % (b"x" * (3 << 19))

    await bench.send([bench.outgoing(1, payload=large), bench.outgoing(2, actor="a" * 4096), bench.outgoing(3)])
    await bench.caught_up(3)

    leaves = await bench.leaves()
    assert [leaf["kind"] for leaf in leaves] == ["event", "reject", "event"]
    assert (leaves[0]["payload"]["len"], leaves[1]["body"]["reason"]) == (
        str(len(large)), "leaf is longer than 4096 bytes",
    )  # fmt: skip
    assert max(len(row["leaf"]) for row in await bench.rows()) <= 4096
    await bench.verified()
