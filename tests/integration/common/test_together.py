"""Writes that go together leave what the same statements leave one after the other, and are undone together."""

from __future__ import annotations

from typing import TypeAlias

import asyncpg
import pytest

from libs.common import together
from libs.common.database import Database
from libs.common.together import Write
from tests.integration.common.lab import OUTBOX, Lab, fact, running
from tests.support.eventually import eventually

pytestmark = pytest.mark.stack

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
ADD = "INSERT INTO one (id, words) SELECT * FROM unnest($1::int[], $2::text[]) ON CONFLICT (id) DO NOTHING"
RENAME = "UPDATE two SET words = t.w FROM unnest($1::int[], $2::text[]) AS t(i, w) WHERE id = t.i AND words <> $3"
DROP = "DELETE FROM three WHERE id > $1"
WRITES = [
    Write(ADD, ([1, 2, 3], ["a", "b", "c"]), returning=("id", "words")),
    Write(RENAME, ([1, 2, 9], ["x", "y", "z"], "kept")),
    Write(DROP, (1,)),
]


async def tables(tx: Connection) -> None:
    """Three tables that are alike, gone with the transaction."""
    for name in ("one", "two", "three"):
        await tx.execute(f"CREATE TEMP TABLE {name} (id int PRIMARY KEY, words text NOT NULL) ON COMMIT DROP")
        await tx.execute(f"INSERT INTO {name} VALUES (2, 'kept'), (1, 'first'), (4, 'last')")


async def contents(tx: Connection) -> list[list[tuple[int, str]]]:
    """Everything in them."""
    return [
        [tuple(row) for row in await tx.fetch(f"SELECT id, words FROM {name} ORDER BY id")]
        for name in ("one", "two", "three")
    ]


async def plainly(tx: Connection) -> list[int]:
    """The same, a statement each; how many rows each wrote."""
    return [int((await tx.execute(each.sql, *each.parameters)).rpartition(" ")[2]) for each in WRITES]


async def test_together_they_leave_what_they_leave_one_after_the_other(lab: Lab) -> None:
    async with lab.admin.transaction():
        tx = lab.admin
        await tables(tx)
        counts = await plainly(tx)
        left = await contents(tx)

    async with lab.admin.transaction():
        await tables(tx)
        written = await together.write(tx, WRITES)
        assert await contents(tx) == left

    assert [each.count for each in written] == counts
    assert [each.rows for each in written] == [[(3, "c")], [], []]


async def test_one_that_is_refused_undoes_all(lab: Lab) -> None:
    with pytest.raises(asyncpg.NotNullViolationError):
        await _facts_and_something_else(lab.incident, Write("UPDATE outbox SET subject = NULL WHERE id > $1", (0,)))

    assert await lab.count("incident.outbox") == 1


async def _facts_and_something_else(database: Database, other: Write) -> None:
    async with database.transaction("before") as tx:
        await OUTBOX.add(tx, [fact("a", 1)])
    async with database.transaction("together") as tx:
        await together.write(tx, [*OUTBOX.writes([fact("a", 2)]), other])


async def test_facts_that_go_together_with_others_wake_the_relay(lab: Lab) -> None:
    async with running(lab.relay(poll_seconds=30).run):
        await eventually(lambda: _listens(lab))
        async with lab.incident.transaction("together") as tx:
            forget = Write("DELETE FROM inbox WHERE stream_seq > $1", (0,))
            await together.write(tx, [*OUTBOX.writes([fact("a", 1)]), forget])

        await eventually(lab.published)


async def _listens(lab: Lab) -> bool:
    return bool(await lab.admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'incident-lab own' AND query LIKE 'LISTEN%'"
    ))  # fmt: skip


async def test_nothing_to_write_asks_nothing(lab: Lab) -> None:
    async with lab.incident.transaction("nothing") as tx:
        assert await together.write(tx, []) == []
