"""The exporter: what the target holds is the log's beginning, made once, whatever dies and whoever else writes."""

import asyncio
import os
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.objectstore import ObjectStore
from libs.tlog.secretkey import private_text
from libs.verifier.reading import verify_path
from services.timeline.exporter.copier import Copier
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.exporter.target import Contradiction, Target, marks_key, segment_key
from tests.integration.timeline.bench import Bench
from tests.integration.timeline.places import ORIGIN, Place, end
from tests.integration.timeline.signed import NAME, OLD, Office
from tests.support import forked
from tests.support.eventually import eventually
from tests.support.s3 import ACCESS_KEY, SECRET, S3Server
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack


class Export:
    """One exporter and its target; steps are the test's to take."""

    def __init__(self, bench: Bench, database: Database, store: ObjectStore, **settings: Any) -> None:
        self.store = store
        given = ExporterSettings(
            nats_url=SecretStr("nats://nowhere"),
            postgres_url=SecretStr("postgresql://nowhere"),
            export_url="file:///nowhere",
            **({"export_seconds": 0.0, "export_bytes": 1 << 16} | settings),
        )
        self.copier = Copier(database, bench.bus, Target(store), given)

    async def all(self) -> "Export":
        while await self.copier.step():
            pass
        return self

    async def held(self) -> dict[str, bytes]:
        return {key: await self.store.get(key) or b"" async for key in self.store.list()}


@pytest.fixture
async def reader(stack_env: StackEnv) -> AsyncIterator[Database]:
    """The database as the exporter's role sees it."""
    url = stack_env.service("exporter")["RR_POSTGRES_URL"]
    database = Database(url, schema="timeline", instance="export-test", pool_size=2)
    await database.open()
    yield database
    await database.close()


async def written(bench: Bench, office: Office, *numbers: int) -> None:
    for number in numbers:
        await bench.send([bench.outgoing(number, marking=Marking("prod", number % 4))])
    await office.published(max(numbers))


def verified(folder: Path) -> Any:
    return verify_path(folder, [OLD.verifier])


async def test_the_log_is_copied_segment_by_segment_and_verifies(
    bench: Bench, reader: Database, tmp_path: Path
) -> None:
    target = ObjectStore.open((tmp_path / "kept").as_uri())
    office = Office(bench, tmp_path)
    async with office.open():
        await written(bench, office, *range(1, 121))
        first = await (await Export(bench, reader, target).all()).held()
        assert len(first) >= 4  # several segments of 64 KiB, and their marks
        assert verified(tmp_path / "kept").signed.checkpoint.size == 120

        # What is new is added behind; nothing that is there changes, and what was redacted since stays as it was.
        await written(bench, office, *range(121, 131))
        second = await (await Export(bench, reader, target).all()).held()

    assert second.items() > first.items()
    found = verified(tmp_path / "kept")
    assert (found.leaves, found.kinds) == (130, {"event": 130})
    assert b'{"clearance":"3","dataschema":"","environment":"prod","index":"2","traceparent":""}' in first[marks_key(0)]
    assert "the target holds 130 of 130 leaves" in await _said(bench, reader, target)


async def _said(bench: Bench, reader: Database, store: ObjectStore) -> str:
    export = await Export(bench, reader, store).all()
    export.copier._say(None)
    return await export.copier.ready()


async def test_a_second_exporter_writes_the_same_bytes_or_none(bench: Bench, reader: Database, tmp_path: Path) -> None:
    target = ObjectStore.open((tmp_path / "kept").as_uri())
    office = Office(bench, tmp_path)
    async with office.open():
        await written(bench, office, *range(1, 41))
        one, other = Export(bench, reader, target), Export(bench, reader, target)
        assert await asyncio.gather(one.copier.step(), other.copier.step()) == [True, True]
        await written(bench, office, *range(41, 101))
        # Marks of one that died before its segment say where that one ends, although the log has grown.
        await written(bench, office, *range(101, 111))
        await asyncio.gather(one.all(), other.all())
    assert verified(tmp_path / "kept").leaves == 110


async def test_what_contradicts_the_target_stops_it_and_changes_nothing(
    bench: Bench, reader: Database, tmp_path: Path, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    target = ObjectStore.open((tmp_path / "kept").as_uri())
    office = Office(bench, tmp_path)
    async with office.open():
        await written(bench, office, *range(1, 31))
        before = await (await Export(bench, reader, target).all()).held()
        await written(bench, office, 31)

    # Another log's target; a segment that somebody changed; a database that is older than its copy.
    other = ObjectStore.open((tmp_path / "other").as_uri())
    await other.create(segment_key(0), before[segment_key(0)].replace(NAME.encode(), b"ranger.test/timeling"))
    with pytest.raises(Contradiction):
        await Export(bench, reader, other).copier.step()
    torn = ObjectStore.open((tmp_path / "torn").as_uri())
    await torn.create(segment_key(0), before[segment_key(0)][:-100])
    with pytest.raises(Contradiction, match=r"no whole segment"):
        await Export(bench, reader, torn).copier.step()
    for fewer in ("DELETE FROM checkpoint WHERE size >= 30", "DELETE FROM checkpoint"):
        await admin.execute(fewer)
        with pytest.raises(Contradiction, match=r"the database is an older one"):
            await Export(bench, reader, target).copier.step()
    assert await Export(bench, reader, target).held() == before


async def test_it_may_begin_anywhere_and_goes_to_s3(
    bench: Bench, reader: Database, tmp_path: Path, s3: S3Server
) -> None:
    bucket = ObjectStore.open(s3.bucket(), access_key=ACCESS_KEY, secret=SECRET)
    folder = ObjectStore.open((tmp_path / "kept").as_uri())
    office = Office(bench, tmp_path)
    async with office.open():
        await written(bench, office, *range(1, 31))
        held = await (await Export(bench, reader, bucket, export_from=7).all()).held()
        await Export(bench, reader, folder, export_from_seq=8).all()
    assert await Export(bench, reader, folder).held() == held
    assert verified(tmp_path / "kept").first == 7


async def test_its_role_reads_what_it_copies_and_nothing_else(
    reader: Database, admin: "asyncpg.Connection[asyncpg.Record]"
) -> None:
    rows = await admin.fetch("SELECT schemaname, tablename FROM pg_tables WHERE schemaname !~ '^(pg_|information)'")
    readable = set()
    for schema, table in rows:
        try:
            await reader.pool.fetchval(f'SELECT true FROM "{schema}"."{table}" LIMIT 1')
            readable.add(table)
        except asyncpg.InsufficientPrivilegeError:
            pass
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await reader.pool.execute(f'DELETE FROM "{schema}"."{table}"')
    assert readable == {"leaf", "payload", "entry", "checkpoint", "tile", "alembic_version", "stream_epoch"}


class Processes:
    """A timeline that signs, and exporters that may be told to die."""

    def __init__(self, place: Place, stack: StackEnv, folder: Path) -> None:
        self.place = place
        self._stack = stack
        self._folder = folder
        self.target = folder / "kept"
        self.port = place.port("exporter")

    def start(self, **more: str) -> forked.Process:
        usual = {
            "RR_EXPORT_URL": self.target.as_uri(),
            "RR_EXPORT_SECONDS": "0",
            "RR_EXPORT_POLL_SECONDS": "0.2",
            "RR_HEALTH_PORT": str(self.port),
        }
        env = os.environ | self._stack.service("exporter", **usual | more)
        return forked.start("services.timeline.exporter", env=env)

    async def look(self) -> dict[str, Any]:
        async with httpx.AsyncClient() as client:
            try:
                found: dict[str, Any] = (await client.get(f"http://127.0.0.1:{self.port}/readyz")).json()
            except httpx.TransportError:
                return {}
        return found


async def test_it_is_killed_at_every_step_and_the_copy_is_the_same(stack_env: StackEnv, tmp_path: Path) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        place.key.write_text(f"{private_text(OLD)}\n")
        assert OLD.name == ORIGIN
        timeline = await place.start()
        processes = Processes(place, stack_env, tmp_path)
        sizes, seen = 0, dict[str, bytes]()
        for point in ("export_marks_written", "export_segment_written", ""):
            await place.ask(type="bundle_sealed", incident=point or "none")
            sizes += 1
            await eventually(lambda size=sizes: _signed(place, size), timeout=30)
            exporter = processes.start(**({"RR_CRASH_AT": point} if point else {}))
            try:
                if point:
                    assert await asyncio.wait_for(exporter.wait(), 30) == 137
                else:
                    await eventually(lambda: _holds(processes, sizes), timeout=30)  # noqa: B023 -- within the round
            finally:
                await end(exporter)
            files = {file.name: file.read_bytes() for file in processes.target.iterdir()}
            assert files.items() >= seen.items()
            seen = files
        await end(timeline)

        # What was begun before a crash was written as it was begun, although the log had grown since.
        assert sorted(seen) == [segment_key(0), marks_key(0), segment_key(1), marks_key(1)]
        assert seen[segment_key(0)].count(b'"index"') == 1
    assert verify_path(processes.target, [OLD.verifier]).leaves == sizes


async def test_one_that_is_late_is_not_ready_and_says_how_late_until_it_has_caught_up(
    stack_env: StackEnv, tmp_path: Path
) -> None:
    async with Place.open(stack_env, tmp_path) as place:
        place.key.write_text(f"{private_text(OLD)}\n")
        timeline = await place.start()
        await place.ask(type="bundle_sealed", incident="none")
        await eventually(lambda: _signed(place, 1), timeout=30)
        processes = Processes(place, stack_env, tmp_path)
        # It waits for a segment to fill, for longer than it may be behind.
        exporter = processes.start(RR_EXPORT_SECONDS="3600", RR_EXPORT_BEHIND_SECONDS="0.2")
        try:
            await eventually(lambda: _late(processes), timeout=30)
            look = await processes.look()
            assert look["status"] != "ready"
            assert re.fullmatch(
                r".*the target holds 0 of 1 leaves: the oldest that it lacks has waited \d+ s",
                look["checks"]["export"]["detail"],
            )
            assert list(processes.target.iterdir()) == []
        finally:
            await end(exporter)
        exporter = processes.start(RR_EXPORT_BEHIND_SECONDS="3600")
        try:
            await eventually(lambda: _holds(processes, 1), timeout=30)
        finally:
            await end(exporter)
            await end(timeline)


async def _late(processes: Processes) -> bool:
    async with httpx.AsyncClient() as client:
        try:
            answer = await client.get(f"http://127.0.0.1:{processes.port}/readyz")
        except httpx.TransportError:
            return False
    return answer.status_code == 503 and "has waited" in answer.text


async def _signed(place: Place, size: int) -> bool:
    return (await place.admin.fetchval("SELECT max(size) FROM checkpoint") or 0) >= size


async def _holds(processes: Processes, size: int) -> bool:
    look = await processes.look()
    detail = look.get("checks", {}).get("export", {}).get("detail", "")
    return look.get("status") == "ready" and f"holds {size} of {size} leaves" in detail
