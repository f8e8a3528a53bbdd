"""Models equal migrations: what Alembic makes on a fresh database is what `tables.py` describes, service by service."""

import importlib
from typing import Any

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from libs.common.contracts.choreography import SERVICES
from libs.common.schema import VERSION_TABLE, check_schema, versions_folder
from runbook_ranger.stack.migrate import migrate
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack

_DEFINITIONS = """
select pg_get_indexdef(i.indexrelid) from pg_index i join pg_class c on c.oid = i.indexrelid
where c.relnamespace = to_regnamespace(:schema) and not c.relispartition
union
select conrelid::regclass || ' ' || conname || ' ' || pg_get_constraintdef(oid) from pg_constraint
where connamespace = to_regnamespace(:schema) and contype <> 'n'
  and not coalesce((select relispartition from pg_class where oid = conrelid), false)
"""
_PARTITIONS = "select relname from pg_class where relnamespace = to_regnamespace(:schema) and relispartition"

MIGRATED = [service for service in SERVICES if versions_folder(service) is not None]


@pytest.fixture
async def fresh(stack_env: StackEnv) -> str:
    """The administrator's URL of a database with roles and empty schemas, before its first migration."""
    url = stack_env["RR_POSTGRES_URL"]
    connection = await asyncpg.connect(url)
    try:
        for service in SERVICES:
            await connection.execute(f'drop schema "{service}" cascade')
            await connection.execute(f'create schema "{service}" authorization rr_{service}')
    finally:
        await connection.close()
    return url


def test_every_service_has_migrations() -> None:
    assert set(MIGRATED) == set(SERVICES)


async def test_migrating_an_empty_database_gives_every_service_the_tables_it_describes(fresh: str) -> None:
    assert set(await migrate(fresh)) == set(MIGRATED)

    drift = {service: await differences(fresh, service) for service in MIGRATED}

    assert drift == {service: [] for service in MIGRATED}


@pytest.mark.parametrize("service", MIGRATED)
async def test_indexes_and_constraints_are_the_described_ones_to_the_letter(stack_env: StackEnv, service: str) -> None:
    """Alembic compares neither predicates nor checks; a scratch schema made from the description does."""
    metadata = importlib.import_module(f"services.{service}.tables").metadata
    engine = create_async_engine(asyncpg_url(stack_env["RR_POSTGRES_URL"]), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            migrated = await definitions(connection, service)
            await connection.execute(text("create schema scratch"))
            await connection.execute(text("set search_path = scratch"))
            await connection.run_sync(metadata.create_all)
            described = await definitions(connection, "scratch")
    finally:
        await engine.dispose()

    assert described == {item for item in migrated if VERSION_TABLE not in item}


async def test_migrating_again_changes_nothing(fresh: str) -> None:
    await migrate(fresh)

    assert await migrate(fresh) == {}


@pytest.mark.parametrize("service", MIGRATED)
async def test_a_service_accepts_the_schema_that_its_migrations_make(stack_env: StackEnv, service: str) -> None:
    connection = await asyncpg.connect(stack_env.service(service)["RR_POSTGRES_URL"])

    try:
        await check_schema(connection, service)
    finally:
        await connection.close()


def asyncpg_url(url: str) -> str:
    """The same server, through SQLAlchemy's asyncpg."""
    return url.replace("postgresql://", "postgresql+asyncpg://", 1)


async def definitions(connection: AsyncConnection, schema: str) -> set[str]:
    """Every index and constraint of a schema, as Postgres spells them, without the schema's name."""
    await connection.execute(text(f'set search_path = "{schema}"'))
    found = await connection.execute(text(_DEFINITIONS), {"schema": schema})
    return {row[0].replace(f"{schema}.", "") for row in found}


async def differences(admin_url: str, service: str) -> list[Any]:
    """What Alembic would still have to do to a service's schema; partitions are made as time goes on."""
    metadata = importlib.import_module(f"services.{service}.tables").metadata
    engine = create_async_engine(asyncpg_url(admin_url), poolclass=NullPool)

    def compare(connection: Connection) -> list[Any]:
        partitions = set(connection.scalars(text(_PARTITIONS), {"schema": service}))
        options = {
            "compare_type": True,
            "compare_server_default": True,
            "version_table": VERSION_TABLE,
            "include_name": lambda name, kind, _parents: kind != "table" or name not in partitions,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), metadata))

    try:
        async with engine.connect() as connection:
            await connection.execute(text(f'set search_path = "{service}"'))
            await connection.commit()
            return await connection.run_sync(compare)
    finally:
        await engine.dispose()
