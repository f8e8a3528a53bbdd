"""The migration job: every service's schema to the head of its own history, under one lock.

Alembic and SQLAlchemy are imported only when something is behind. Each revision is a transaction of its own: after a
crash the next run goes on where it stopped. Objects belong to the service's role, never to the administrator.
"""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from libs.common.contracts.choreography import SERVICES
from libs.common.schema import VERSION_TABLE, current_and_head, versions_folder
from libs.common.secret_files import UnreadableVariable, variable
from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.provision import connect
from runbook_ranger.stack.roles import role_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

LOCK = 0x52525002


async def migrate(admin_url: str) -> dict[str, str]:
    """Upgrade what is behind and return the new revision by service; empty when nothing was."""
    connection = await connect(admin_url)
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        versions = {service: await current_and_head(connection, service) for service in SERVICES}
        behind = {service: head for service, (current, head) in versions.items() if head and current != head}
        for service in behind:
            folder = versions_folder(service)
            if folder is not None:
                await _upgrade(admin_url, service, folder.parent)
        return behind
    finally:
        await connection.close()


async def _upgrade(admin_url: str, service: str, folder: Path) -> None:
    from sqlalchemy import text  # loaded only when something is behind
    from sqlalchemy.ext.asyncio import create_async_engine
    from sqlalchemy.pool import NullPool

    engine = create_async_engine(admin_url.replace("postgresql://", "postgresql+asyncpg://", 1), poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.execute(text(f"set role {role_of(service)}"))
            await connection.execute(text(f"set search_path = {service}"))
            await connection.commit()
            await connection.run_sync(_run, service, folder)
            await connection.commit()
    finally:
        await engine.dispose()


def _run(connection: "Connection", service: str, folder: Path) -> None:
    """Alembic's upgrade without an ini file or an env.py: everything it needs is said here."""
    from alembic.config import Config  # loaded only when something is behind
    from alembic.runtime.environment import EnvironmentContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(folder).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)
    with EnvironmentContext(
        config,
        scripts,
        fn=lambda revision, _: scripts._upgrade_revs("head", revision),  # noqa: SLF001 -- as alembic.command does
        destination_rev="head",
    ) as environment:
        environment.configure(
            connection=connection,
            version_table=VERSION_TABLE,
            version_table_schema=service,
            transaction_per_migration=True,
        )
        with environment.begin_transaction():
            environment.run_migrations()


def main() -> None:
    """Migrate the database that `RR_POSTGRES_URL` (the administrator's) names, and say what changed."""
    try:
        url = variable("RR_POSTGRES_URL")
        if not url:
            sys.exit("migrating needs RR_POSTGRES_URL, the administrator's")
        changed = asyncio.run(migrate(url))
    except (StackError, UnreadableVariable) as refusal:
        sys.exit(f"migration refused: {refusal}")
    for service, revision in changed.items():
        sys.stdout.write(f"{service} is at {revision}\n")


if __name__ == "__main__":
    main()
