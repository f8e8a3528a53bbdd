"""Retention: what is deleted, what is not, and what is said of it."""

import hashlib
import os
import time
import uuid
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from libs.common.artefacts import Artefacts, key_of
from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.envelope import Ref
from libs.common.objectstore import ObjectStore
from services.timeline.retention import GROUP, Retention
from tests.integration.timeline.bench import Bench, stop
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack
DAY = 86400
_numbers = count(1)


class Attic:
    """A store with things of different ages in it, and the log that names them."""

    def __init__(self, bench: Bench, folder: Path, admin: "asyncpg.Connection[asyncpg.Record]") -> None:
        self.bench = bench
        self.admin = admin
        self.words: dict[int, str] = {}
        self.folder = folder
        self.store = ObjectStore.open(folder.as_uri())

    async def kept(self, days: float, *, named: float | None = None, kind: str = "output", incident: str = "") -> str:
        """Something that was kept so many days ago, and that an event named so many ago."""
        number = next(_numbers)
        data = b"%d" % number
        ref = await Artefacts(self.store).keep("default", kind, data)
        self.age(ref.sha256, days, kind)
        if named is not None:
            await self.tell(refs=(ref,), incident_id=incident, days=named)
        return ref.sha256

    def age(self, sha256: str, days: float, kind: str = "output") -> None:
        at = time.time() - days * DAY
        os.utime(self.folder / key_of("default", kind, sha256), (at, at))

    async def say(self, word: str, incident: str) -> None:
        """A word about a hold: another event, until it is in the log (the bench's stream takes no other subjects)."""
        number = next(_numbers)
        await self.bench.send([self.bench.outgoing(number, tenant="default", incident_id=incident)])
        self.words[number] = f"access.evidence_{word}"

    async def tell(self, *, days: float = 0, **said: Any) -> None:
        moment = rfc3339(utc_now() - timedelta(days=days))
        message = self.bench.outgoing(next(_numbers), tenant="default", time=moment, **said)
        await self.bench.send([message])

    async def logged(self) -> None:
        """The log holds what the stream does."""
        writing = self.bench.start()
        last = (await self.bench.stream.extent()).last
        await self.bench.caught_up(last)
        await stop(writing)
        for number, word in self.words.items():
            await self.admin.execute("UPDATE entry SET type = $1 WHERE event_id = $2", word, str(uuid.UUID(int=number)))

    def retention(self, **days: int) -> Retention:
        bench = self.bench
        return Retention(bench.database, self.store, bench.writer(), bench.stream, days=days, seconds=0.1)

    async def held(self) -> set[str]:
        """What the store holds."""
        return {key.rpartition("/")[2] async for key in self.store.list()}


@pytest.fixture
def attic(bench: Bench, tmp_path: Path, admin: "asyncpg.Connection[asyncpg.Record]") -> Attic:
    return Attic(bench, tmp_path / "objects", admin)


async def test_what_is_older_than_its_days_goes_and_the_rest_stays(attic: Attic) -> None:
    old = await attic.kept(40, named=40)
    orphan = await attic.kept(40)
    young = await attic.kept(20, named=20)
    told_again = await attic.kept(40, named=40)
    await attic.tell(refs=(Ref("output", told_again, 1),), days=20)
    other_kind = await attic.kept(40, named=40, kind="approval")
    await attic.logged()

    assert await attic.retention(output=30).sweep() == 2

    assert await attic.held() == {young, told_again, other_kind}
    rows = await attic.bench.database.pool.fetch("SELECT sha256, deleted_at IS NOT NULL AS gone FROM artefact")
    assert {row["sha256"].hex() for row in rows if row["gone"]} == {old}
    assert orphan not in {row["sha256"].hex() for row in rows}
    assert await attic.retention(output=30).sweep() == 0


async def test_by_default_everything_is_kept(attic: Attic) -> None:
    ancient = await attic.kept(10_000, named=10_000)
    await attic.logged()

    assert attic.bench.settings.kept_days == {}
    assert await attic.retention(**attic.bench.settings.kept_days).sweep() == 0
    assert await attic.held() == {ancient}


async def test_what_a_hold_protects_stays_until_it_is_released(attic: Attic) -> None:
    held = await attic.kept(40, named=40, incident="i-held")
    freed = await attic.kept(40, named=40, incident="i-freed")
    other = await attic.kept(40, named=40, incident="i-other")
    await attic.say("held", "i-held")
    await attic.say("held", "i-freed")
    await attic.say("released", "i-freed")
    await attic.logged()

    assert await attic.retention(output=30).sweep() == 2
    assert await attic.held() == {held}

    await attic.say("released", "i-held")
    await attic.logged()
    assert await attic.retention(output=30).sweep() == 1
    assert await attic.held() == set()
    assert {freed, other} & await attic.held() == set()


async def test_the_same_bytes_kept_again_are_young_again(attic: Attic) -> None:
    sha256 = await attic.kept(40, named=40)
    await attic.logged()
    data = (attic.folder / key_of("default", "output", sha256)).read_bytes()

    await Artefacts(attic.store).keep("default", "output", data)

    assert await attic.retention(output=30).sweep() == 0
    assert hashlib.sha256(data).hexdigest() in await attic.held()


async def test_what_is_no_artefact_is_left_alone(attic: Attic) -> None:
    for key in ("tile/0/000", "artefacts/output/default/readme", "artefacts/output/default/x/y"):
        await attic.store.put(key, b"somebody else's")
        os.utime(attic.folder / key, (0, 0))

    assert await attic.retention(output=30).sweep() == 0
    assert len(await attic.held()) == 3


async def test_many_go_in_groups(attic: Attic) -> None:
    for _ in range(GROUP + 3):
        await attic.kept(40)

    assert await attic.retention(output=30).sweep() == GROUP + 3
    assert await attic.held() == set()


async def test_the_writer_sweeps_by_itself_once_its_log_holds_what_the_stream_does(attic: Attic) -> None:
    old = await attic.kept(40, named=20)
    orphan = await attic.kept(40)
    bench = attic.bench
    writer = bench.writer()
    retention = Retention(bench.database, attic.store, writer, bench.stream, days={"output": 30}, seconds=0.05)

    await retention._round()
    assert await attic.held() == {old, orphan}, "a writer that stands by deletes nothing"

    writing = bench.start(writer)
    await eventually(lambda: writer.active)

    async def swept() -> bool:
        await retention._round()
        return await attic.held() == {old}

    await eventually(swept, timeout=10)
    await stop(writing)


async def test_the_settings_say_which_kinds_and_how_long(bench: Bench) -> None:
    changed = bench.settings.model_copy(update={"keep_output_days": 30, "keep_spec_days": 3650})

    assert changed.kept_days == {"output": 30, "spec": 3650}
