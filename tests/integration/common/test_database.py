"""Connections come back to the pool as they were, whatever happened to who had them."""

import asyncio
from collections.abc import AsyncIterator
from itertools import count

import asyncpg
import pytest

from libs.common.database import Database
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
STATE = "SELECT state FROM pg_stat_activity WHERE application_name = 'test-database'"


@pytest.fixture
async def database(stack_env: StackEnv) -> AsyncIterator[Database]:
    """One connection, so that everybody gets the same."""
    url = stack_env.service("catalog")["RR_POSTGRES_URL"]
    found = Database(url, schema="catalog", instance="test-database", pool_size=1)
    await found.open()
    yield found
    await found.close()


async def moment_of_its_own(database: Database) -> None:
    """A transaction that the server refuses where another one is open already."""
    async with database.transaction("look", snapshot=True) as tx:
        assert await tx.fetchval("SELECT 1") == 1


async def test_who_is_cancelled_between_describing_and_asking_leaves_no_transaction(
    database: Database, stack_env: StackEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = asyncpg.Connection._get_statement

    async def cancelled(self: object, *args: object, **more: object) -> None:
        await described(self, *args, **more)
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr(asyncpg.Connection, "_get_statement", cancelled)
        with pytest.raises(asyncio.CancelledError):
            await database.pool.fetchval("SELECT count(*) FROM outbox")

    administrator = await asyncpg.connect(stack_env["RR_POSTGRES_URL"])
    try:
        assert await administrator.fetchval(STATE) == "idle"
    finally:
        await administrator.close()
    await moment_of_its_own(database)


async def test_whenever_who_has_it_is_cancelled_the_next_one_finds_it_usable(database: Database) -> None:
    for number, turns in zip(count(), [0, 1, 2, 3, 4, 5, 6, 8, 10, 15] * 8, strict=False):
        asking = asyncio.ensure_future(database.pool.fetchval(f"SELECT {number} + count(*) FROM outbox"))
        for _ in range(turns):
            await asyncio.sleep(0)
        asking.cancel()
        await asyncio.wait({asking})
        await moment_of_its_own(database)
