"""Postgres keeps the same promises as memory does, and a few that only a database can break."""

import asyncio

import asyncpg
import pytest

from libs.common.database import Database
from services.catalog import usecases
from services.catalog.storage import PostgresCatalog, Shelf
from tests.unit.catalog.promises import NOW, PROMISES, caller, occasion, text, triggered

pytestmark = pytest.mark.stack


FORGERIES = [
    "UPDATE runbook_version SET spec_hash = 'forged'",
    "UPDATE runbook_version SET version = version + 1",
    "DELETE FROM runbook_version",
    "TRUNCATE runbook_version",
    "ALTER TABLE runbook_version DISABLE TRIGGER ALL",
    "ALTER TABLE runbook_version OWNER TO rr_catalog",
    "DROP TABLE runbook_version",
    "DROP SCHEMA catalog CASCADE",
]


async def test_postgres_keeps_every_promise(database: Database) -> None:
    for promise in PROMISES:
        async with database.pool.acquire() as tx:
            transaction = tx.transaction()
            await transaction.start()
            try:
                await promise(PostgresCatalog(tx, Shelf()))
            except BaseException as error:
                error.add_note(f"promise: {promise.__name__}")
                raise
            finally:
                await transaction.rollback()


async def test_a_published_version_cannot_be_changed_with_the_services_credentials(database: Database) -> None:
    async with database.transaction("publish") as tx:
        await usecases.publish(PostgresCatalog(tx, Shelf()), caller(), text(), now=NOW)

    await database.pool.execute("GRANT UPDATE ON runbook_version TO rr_catalog")  # only warns, and grants nothing
    for statement in FORGERIES:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await database.pool.execute(statement)


async def test_versions_published_at_the_same_time_have_no_gaps_and_no_twins(database: Database) -> None:
    async def publish(name: str) -> int:
        async with database.transaction("publish") as tx:
            done = await usecases.publish(PostgresCatalog(tx, Shelf()), caller(), text(name=name), now=NOW)
        return done.header.version

    versions = await asyncio.gather(*[publish(f"Sample {number}") for number in range(12)])

    assert sorted(versions) == list(range(1, 13))


async def test_a_publication_that_is_rolled_back_leaves_nothing(database: Database) -> None:
    async with database.pool.acquire() as tx:
        transaction = tx.transaction()
        await transaction.start()
        await usecases.publish(PostgresCatalog(tx, Shelf()), caller(), text(), now=NOW)
        await transaction.rollback()

    async with database.transaction("publish") as tx:
        done = await usecases.publish(PostgresCatalog(tx, Shelf()), caller(), text(name="Next"), now=NOW)
    assert done.header.version == 1


async def test_a_process_that_keeps_parsed_specs_sees_what_others_publish(database: Database) -> None:
    shelf = Shelf()
    for trigger in ("alert: disk_full", "alert: cpu_high"):
        async with database.transaction("publish") as tx:
            await usecases.publish(PostgresCatalog(tx, Shelf()), caller(), triggered("a", trigger), now=NOW)
        async with database.transaction("match") as tx:
            found = await usecases.match(PostgresCatalog(tx, shelf), [occasion()])

    assert [match.version for match in found.values()] == [2]
