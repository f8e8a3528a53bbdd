"""A lost log is made again: the same rows and roots, from exports, from what is published, and from the stream."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from libs.common.contracts.envelope import Ref
from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.objectstore import ObjectStore
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.errors import TlogError
from libs.tlog.secretkey import private_text
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Targets, provision
from services.timeline import control
from services.timeline.exporter.copier import Copier
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.exporter.target import Target, marks_key
from services.timeline.rebuild.rebuilder import Rebuilder, Rebuilt, Refused
from services.timeline.rebuild.sources import Exports, Unmarked
from services.timeline.rebuild.tail import Lost
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.places import Place, end
from tests.integration.timeline.signed import NAME, NEW, OLD, Office
from tests.integration.timeline.test_control import publish_facts
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

TABLES = {
    "leaf": "index",
    "payload": "index",
    "entry": "index",
    "chain_head": "kind, id",
    "artefact": "index, kind, sha256",
    "tile": "level, n",
}
STATE = "SELECT origin, size, frontier, root, stream, epoch, seq FROM log_state"
CONTROLS = "SELECT body, index FROM control WHERE index IS NOT NULL ORDER BY index"


class World:
    """A bench whose log is signed, published and copied, and somebody who loses it."""

    def __init__(self, bench: Bench, office: Office, admin: Any, reader: Database, folder: Path) -> None:
        self.bench = bench
        self.office = office
        self.admin = admin
        self.folder = folder
        self.kept = folder / "kept"
        self.store = ObjectStore.open(self.kept.as_uri())
        self._reader = reader
        self.epoch = 1

    async def tell(self, *numbers: int) -> None:
        """Events of all kinds, something that the log says of itself between them, and a checkpoint."""
        for number in numbers:
            refs = (Ref("output", f"{number:064x}", number),) if number % 3 == 0 else ()
            await self.bench.send(
                [self.bench.outgoing(number, marking=Marking("prod", number % 4), refs=refs, schema="x/1")]
            )
        await self.bench.publish(numbers[0])  # a duplicate, or a conflict
        await self.bench.send_raw(b"no fact")
        async with self.bench.database.transaction("test") as tx:
            await control.ask(tx, NAME, {"type": "heartbeat", "at": f"2026-03-01T10:00:{numbers[0]:02d}.000000Z"})
        await eventually(lambda: self._grown(numbers), timeout=15)
        size = await self.size()
        await self.office.published(size)

    async def _grown(self, numbers: tuple[int, ...]) -> bool:
        said = await self.admin.fetchval("SELECT count(*) = 0 FROM control WHERE index IS NULL")
        last = (await self.bench.stream.extent()).last
        return bool(said and await self.bench.position() == (self.epoch, last) and numbers)

    async def size(self) -> int:
        return int(await self.admin.fetchval("SELECT count(*) FROM leaf"))

    async def copy(self) -> None:
        """The exporter, once."""
        settings = ExporterSettings(
            nats_url=SecretStr("nats://nowhere"), postgres_url=SecretStr("postgresql://nowhere"),
            export_url="file:///nowhere", export_seconds=0.0, export_bytes=1 << 16,
        )  # fmt: skip
        copier = Copier(self._reader, self.bench.bus, Target(self.store), settings)
        while await copier.step():
            pass

    async def rows(self) -> dict[str, list[Any]]:
        found = {
            table: await self.admin.fetch(f"SELECT * FROM {table} ORDER BY {order}") for table, order in TABLES.items()
        }
        return found | {"state": await self.admin.fetch(STATE), "control": await self.admin.fetch(CONTROLS)}

    async def lose(self) -> None:
        tables = ", ".join(TABLES)
        await self.admin.execute(f"TRUNCATE log_state, control, checkpoint, fork, {tables}")

    async def rebuild(self, *, exports: bool = True, store: ObjectStore | None = None, **more: Any) -> Rebuilt:
        found = Exports(self.store, self.kept) if exports else None
        published = store or self.office.store
        keys = [OLD.verifier]
        return await Rebuilder(
            self.bench.database, published, self.bench.stream, keys, found, origin=NAME, **more
        ).run()


@pytest.fixture
async def world(
    bench: Bench, stack_env: StackEnv, tmp_path: Path, admin: "asyncpg.Connection[asyncpg.Record]"
) -> AsyncIterator[World]:
    url = stack_env.service("exporter")["RR_POSTGRES_URL"]
    reader = Database(url, schema="timeline", instance="export-test", pool_size=2)
    await reader.open()
    yield World(bench, Office(bench, tmp_path), admin, reader, tmp_path)
    await reader.close()


async def test_a_log_that_is_lost_is_made_again_and_the_writer_goes_on(world: World) -> None:
    async with world.office.open():
        await world.tell(*range(1, 41))
        await world.copy()
    # The stream is made anew: what was chained of the old one is in exports alone.
    world.epoch = 2
    await world.bench.remake_stream(epoch=2)
    async with world.office.open():
        await world.tell(*range(41, 61))
        await world.copy()
        await world.tell(*range(60, 90))  # this is published, and in no export; its payloads are in the stream
    before, published = await world.rows(), await world.office.store.get("checkpoint")
    await world.lose()

    done = await world.rebuild()

    assert 60 < done.exported < done.published == done.state.tree.size == len(before["leaf"])
    assert {name: rows for name, rows in (await world.rows()).items() if rows != before[name]} == {}
    await world.bench.verified()
    # The writer finds everything as it was published, goes on, and nobody sees a difference.
    async with world.office.open():
        assert await world.office.store.get("checkpoint") == published
        await world.tell(90, 91)
        await world.copy()
        await world.office.published(await world.size())
    await world.bench.verified()


async def test_it_is_made_again_without_exports_and_behind_a_backup(world: World) -> None:
    async with world.office.open():
        await world.tell(*range(1, 31))
    before = await world.rows()
    await world.lose()
    await world.rebuild(exports=False)
    assert await world.rows() == before

    # An older state of the database, as a backup has it: what is there must be the beginning, and is gone on with.
    async with world.office.open():
        await world.tell(*range(30, 51))
    after = await world.rows()
    await world.lose()
    await _restored(world, before)
    office, published = Office(world.bench, world.folder), await world.office.store.get("checkpoint")
    async with office.open():
        await eventually(lambda: office.writer.frozen, timeout=15)
    assert f"is published, the database has {len(before['leaf'])} leaves: it is an older one" in str(
        office.writer.frozen
    )
    assert await world.admin.fetchval("SELECT count(*) FROM checkpoint") == 0, "it signs nothing"
    assert await world.rows() == before
    with pytest.raises(Refused, match=r"not empty"):
        await world.rebuild(exports=False)
    await world.rebuild(exports=False, go_on=True)
    assert {name: rows for name, rows in (await world.rows()).items() if rows != after[name]} == {}
    await world.bench.verified()
    async with Office(world.bench, world.folder).open():  # signs and publishes on, from the same root
        await world.tell(51)
    assert await world.office.store.get("checkpoint") != published


async def _restored(world: World, rows: dict[str, list[Any]]) -> None:
    await world.admin.execute("SET rr.entries = 'own'")  # they are restored, too
    for table in (*TABLES, "control"):
        for row in rows[table]:
            columns, values = ", ".join(row.keys()), ", ".join(f"${n}" for n in range(1, len(row) + 1))
            await world.admin.execute(f"INSERT INTO {table} ({columns}) VALUES ({values})", *row.values())
    (state,) = rows["state"]
    await world.admin.execute(
        "INSERT INTO log_state (id, term, origin, size, frontier, root, stream, epoch, seq)"
        " VALUES (1, 1, $1, $2, $3, $4, $5, $6, $7)",
        *state.values(),
    )


async def test_it_refuses_what_does_not_verify_and_writes_nothing(world: World, tmp_path: Path) -> None:
    async with world.office.open():
        await world.tell(*range(1, 31))
        await world.copy()
        await world.tell(*range(30, 41))
        with pytest.raises(Refused, match=r"a writer is at work"):
            await world.rebuild(go_on=True, patience=0.3)
    await world.lose()
    segment = next(path for path in sorted(world.kept.iterdir()) if path.suffix == ".jsonl")
    good, marks = segment.read_bytes(), world.kept / marks_key(0)
    unmarked = marks.read_bytes()

    segment.write_bytes(good.replace(b"usr_7f3a", b"usr_7f3b", 1))
    with pytest.raises(TlogError):
        await world.rebuild()
    segment.write_bytes(good)
    marks.unlink()
    with pytest.raises(Unmarked):
        await world.rebuild()
    marks.write_bytes(unmarked)
    # Another log is published than the exports are of; a payload that is nowhere any more; another key.
    forged = ObjectStore.open((tmp_path / "forged").as_uri())
    await forged.put("checkpoint", sign_checkpoint(Checkpoint(NAME, 20, b"\x01" * 32), [OLD]))
    with pytest.raises(Refused, match=r"signed"):
        await world.rebuild(store=forged)
    last = (await world.bench.stream.extent()).last
    await world.bench.client.jetstream().delete_msg(world.bench.name, last - 3)
    with pytest.raises(Lost):
        await world.rebuild()
    rebuilder = Rebuilder(
        world.bench.database, world.office.store, world.bench.stream, [NEW.verifier], None, origin=NAME
    )
    with pytest.raises(TlogError):
        await rebuilder.run()
    assert not any(rows for name, rows in (await world.rows()).items() if name != "state")


async def test_events_without_marks_are_for_the_fewest_eyes_and_what_was_redacted_stays_so(world: World) -> None:
    async with world.office.open():
        await world.tell(*range(1, 21))
        await world.copy()
        # The payload of leaf 4 goes, and the log says so; the export has it still.
        await world.admin.execute("DELETE FROM payload WHERE index = 4")
        await world.admin.execute("UPDATE entry SET words = '' WHERE index = 4")
        async with world.bench.database.transaction("test") as tx:
            await control.ask(tx, NAME, {"type": "redaction", "of": "4"})
        await world.tell(21, 22)
    before = await world.rows()
    await world.lose()
    for path in world.kept.glob("*.marks"):
        path.unlink()

    await world.rebuild(unmarked=True)

    after = await world.rows()
    assert {name for name, rows in after.items() if rows != before[name]} == {"payload", "entry", "artefact"}
    assert [row["index"] for row in after["payload"]] == [row["index"] for row in before["payload"]]
    assert {row["clearance"] for row in after["entry"][:20]} == {3}
    (redacted,) = [row for row in after["entry"] if row["index"] == 4]
    assert redacted["words"] == ""
    assert (await world.bench.verified()).redacted == [4]


async def test_a_schema_that_is_dropped_comes_back_under_a_process_that_waits_frozen_for_it(
    stack_env: StackEnv, tmp_path: Path
) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        place.key.write_text(f"{private_text(OLD)}\n")
        timeline = await place.start()
        await publish_facts(stack_env, 40)
        await place.ask(type="heartbeat", at="2026-03-01T10:00:00.000000Z")
        await eventually(lambda: _published(place, 41), timeout=30)
        before = await place.leaves()
        await end(timeline)
        await place.admin.execute("DROP SCHEMA timeline CASCADE")
        targets = Targets(stack_env["RR_POSTGRES_URL"], "", stack_env["RR_REDIS_URL"], stack_env["RR_ROLE_SECRET"])
        await provision(targets)
        await migrate(stack_env["RR_POSTGRES_URL"])
        frozen = await place.start()
        await eventually(lambda: _says(place, "timeline", b"the database has 0 leaves"), timeout=30)

        # Killed before its end it leaves nothing; done again, the process goes on with what is there.
        assert (await _rebuilt(place, stack_env, RR_CRASH_AT="rebuild_before_commit"))[0] == 137
        assert await place.size() == 0
        code, said = await _rebuilt(place, stack_env)
        assert (code, b"rebuilt 41 leaves" in said) == (0, True), said
        assert await place.leaves() == before
        await publish_facts(stack_env, 5)
        await eventually(lambda: _published(place, 46), timeout=30)
        assert (await place.leaves())[:41] == before
        code, said = await _rebuilt(place, stack_env)
        assert (code, b"not empty" in said) == (1, True)
        await end(frozen)


async def _published(place: Place, size: int) -> bool:
    return await place.store.get(f"checkpoints/{size}") is not None


async def _says(place: Place, name: str, text: bytes) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            return text in (await client.get(f"http://127.0.0.1:{place.port(name)}/readyz")).content
        except httpx.TransportError:
            return False


async def _rebuilt(place: Place, stack: StackEnv, **more: str) -> tuple[int, bytes]:
    own = {"RR_TIMELINE_ORIGIN": NAME, "RR_OBJECTS_DIR": str(place.objects), "RR_TIMELINE_KEY_FILE": str(place.key)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.timeline.rebuild"),
        env=os.environ | stack.service("timeline", **own | more),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return process.returncode or 0, said
