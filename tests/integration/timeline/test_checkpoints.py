"""What is signed and published, by which key, and what stops it; recording goes on but where the log contradicts."""

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from libs.common.objectstore import ObjectStore
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.errors import SignatureError
from libs.verifier.reading import verify_path
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.signed import NAME, NEW, OLD, OTHER, Office, whole
from tests.support.eventually import eventually
from tests.support.s3 import ACCESS_KEY, SECRET, S3Server

pytestmark = pytest.mark.stack


@pytest.fixture
def office(bench: Bench, tmp_path: Path) -> Office:
    return Office(bench, tmp_path)


async def test_what_is_published_is_the_log_signed(office: Office) -> None:
    async with office.open():
        await office.bench.publish(*range(1, 11))
        await office.published(10)
        await office.bench.publish(*range(11, 701))

        signed = await office.published(700)

    report = await office.bench.verified()
    assert (signed.checkpoint.size, signed.checkpoint.root) == (report.size, report.root)
    rows = await office.bench.database.pool.fetch("SELECT size, root, note FROM checkpoint ORDER BY size")
    assert rows[-1]["note"] == signed.raw
    assert [row["size"] for row in rows] == sorted({row["size"] for row in rows})


async def test_a_checkpoint_comes_within_a_second_and_at_most_once_a_second(bench: Bench, tmp_path: Path) -> None:
    office = Office(bench, tmp_path)
    office.publisher._seconds = 0.9
    loop = asyncio.get_running_loop()
    async with office.open():
        await eventually(lambda: office.writer.active)
        began = loop.time()
        for number in range(1, 31):
            await bench.publish(number)
            await asyncio.sleep(0.05)
        await bench.caught_up(30)
        grown = loop.time()
        await office.published(30)
        took = loop.time() - grown

    made = await bench.database.pool.fetchval("SELECT count(*) FROM checkpoint")
    assert took < 1.5
    assert made <= (grown + took - began) / 0.9 + 2


async def test_a_full_tile_s_row_grows_and_stays(office: Office) -> None:
    async with office.open():
        await office.bench.publish(*range(1, 301))
        await office.published(300)
        await office.bench.publish(*range(301, 1101))
        await office.published(1100)

    rows = await office.bench.database.pool.fetch("SELECT level, n, octet_length(hashes) AS length FROM tile")
    assert [tuple(row) for row in rows] == [(1, 0, 4 * 32)]


async def test_a_key_is_changed_with_an_overlap(office: Office) -> None:
    async with office.open():
        await office.bench.publish(1)
        await office.published(1)

        office.give(OLD, NEW)
        announced = await office.published(2)  # with the leaf that names the new key
        await office.bench.publish(2)
        both = await office.published(3, OLD, NEW)
        office.give(NEW)
        await office.bench.publish(3)
        alone = await office.published(4, NEW)

    leaves = await office.bench.leaves()
    assert leaves[1]["body"] == {"type": "key_rotation", "vkey": NEW.vkey, "was": OLD.vkey}
    assert [one.key.key_id for one in announced.signers] == [OLD.key_id]
    assert [one.key.key_id for one in both.signers] == [OLD.key_id, NEW.key_id]
    assert [one.key.key_id for one in alone.signers] == [NEW.key_id]
    with pytest.raises(SignatureError):
        await whole(office.store, [OLD])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file"),
        ("", "is empty"),
        ("PRIVATE+KEY+nonsense", "not a private key"),
        (OTHER, "was signed by the key"),
    ],
)
async def test_a_lost_or_wrong_key_stops_signing_and_never_recording(office: Office, content: Any, words: str) -> None:
    async with office.open():
        await office.bench.publish(1)
        await office.published(1)
        if content is None:
            office.key.unlink()
        elif content is OTHER:
            office.give(OTHER)
        else:
            office.key.write_text(content)

        await office.bench.publish(2, 3)
        await office.bench.caught_up(3)
        await eventually(lambda: office.notary.trouble)

        assert words in str(office.notary.trouble)
        assert await office.bench.database.pool.fetchval("SELECT max(size) FROM checkpoint") == 1
        assert office.writer.frozen is None
        office.give(OLD)
        await office.published(3)
    assert office.notary.trouble is None


async def test_two_roots_at_one_size_are_both_kept_and_freeze_the_log(office: Office) -> None:
    other = sign_checkpoint(Checkpoint(NAME, 2, bytes(32)), [OLD])
    await office.store.create("checkpoints/2", other)
    async with office.open():
        await office.bench.publish(1, 2)
        reason = await _frozen(office)
        await office.bench.publish(3)
        await asyncio.sleep(0.3)

    assert "two roots were signed at size 2" in reason
    assert await office.bench.position() == (1, 2)
    rows = await office.bench.database.pool.fetch("SELECT root, note FROM fork WHERE size = 2 ORDER BY root")
    assert bytes(rows[0]["note"]) == other
    assert len(rows) == 2
    for row in rows:
        assert await office.store.get(f"forks/2/{row['root'].hex()}") == row["note"]


async def test_the_log_is_published_to_s3_where_anybody_verifies_it_and_two_roots_meet(
    bench: Bench, tmp_path: Path, s3: S3Server
) -> None:
    bucket = urlsplit(url := s3.bucket())
    office = Office(bench, tmp_path, ObjectStore.open(url, access_key=ACCESS_KEY, secret=SECRET))
    async with office.open():
        await bench.publish(*range(1, 6))
        await office.published(5)
        await bench.publish(*range(6, 301))
        signed = await office.published(300)

    client, folder = s3.client(), tmp_path / "downloaded"
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket.netloc):
        for item in page["Contents"]:
            file = folder / item["Key"]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(client.get_object(Bucket=bucket.netloc, Key=item["Key"])["Body"].read())
    found = verify_path(folder / "kept", [OLD.verifier], signed)
    assert (found.signed.raw, found.leaves) == (signed.raw, 300)
    assert {"tile/0/000", "tile/entries/000", "tile/0/001.p/44", "tile/1/000.p/1"} <= {
        file.relative_to(folder / "kept").as_posix() for file in folder.rglob("*") if file.is_file()
    }

    other = sign_checkpoint(Checkpoint(NAME, 302, bytes(32)), [OLD])
    assert await office.store.create("checkpoints/302", other)
    async with office.open():
        await bench.publish(301, 302)
        assert "two roots were signed at size 302" in await _frozen(office)
    forks = {key async for key in office.store.list("forks/302")}
    assert f"forks/302/{'00' * 32}" in forks
    assert len(forks) == 2


async def test_a_published_checkpoint_larger_than_the_database_freezes_it(office: Office, admin: Any) -> None:
    async with office.open():
        await office.bench.publish(1, 2, 3)
        await office.published(3)
    await admin.execute("TRUNCATE log_state, leaf, payload, entry, chain_head, checkpoint, tile")

    async with office.open():
        assert "a checkpoint of size 3 is published, the database has 0 leaves" in await _frozen(office)

    assert await office.bench.kinds() == []


async def test_a_rewritten_database_freezes_on_what_was_published(office: Office, admin: Any) -> None:
    async with office.open():
        await office.bench.publish(1, 2, 3)
        await office.published(3)
    await admin.execute("TRUNCATE log_state, leaf, payload, entry, chain_head, checkpoint, tile")
    ledger, writer = await office.bench.ledger(), office.bench.writer()
    await office.bench.remake_stream(epoch=1)
    await office.bench.publish(7, 8, 9, 10)
    found = [await office.bench.stream.get(seq) for seq in range(1, 5)]
    await writer.take(ledger, [message for message in found if message is not None])

    async with office.open():
        assert ", the published checkpoint signs " in await _frozen(office)


async def test_a_database_that_no_longer_gives_a_signed_root_freezes(office: Office, admin: Any) -> None:
    async with office.open():
        await office.bench.publish(1, 2, 3)
        await office.published(3)
        await admin.execute("UPDATE leaf SET event_hash = sha256('x') WHERE index = 1")
        assert "at size 3, but" in await _frozen(office)


async def test_a_checkpoint_that_somebody_else_put_there_is_not_believed(office: Office) -> None:
    forged = sign_checkpoint(Checkpoint(NAME, 900, bytes(32)), [OLD]).replace(b"\n900\n", b"\n901\n")
    await office.store.put("checkpoint", forged)
    async with office.open():
        await office.bench.publish(1, 2)

        async def ours() -> bool:
            return await office.store.get("checkpoint") != forged

        await eventually(lambda: _size(office, 2))
        assert office.writer.frozen is None


async def test_without_the_store_the_log_goes_on_and_is_published_later(bench: Bench, tmp_path: Path) -> None:
    office = Office(bench, tmp_path)
    office.objects.write_text("not a folder")
    async with office.open():
        await bench.publish(1, 2)
        await bench.caught_up(2)
        office.objects.unlink()
        await office.published(2)


async def test_the_services_role_cannot_change_what_was_signed(office: Office) -> None:
    async with office.open():
        await office.bench.publish(1)
        await office.published(1)

    for statement in (
        "UPDATE checkpoint SET root = root",
        "DELETE FROM checkpoint",
        "DELETE FROM fork",
        "DELETE FROM tile",
    ):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await office.bench.database.pool.execute(statement)


async def _size(office: Office, size: int) -> bool:
    return await office.bench.database.pool.fetchval("SELECT max(size) FROM checkpoint") == size


async def _frozen(office: Office) -> str:
    await eventually(lambda: office.writer.frozen is not None, timeout=10)
    return str(office.writer.frozen)
