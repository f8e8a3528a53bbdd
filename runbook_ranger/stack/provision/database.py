"""The database `ranger`: one role and one schema a service, and nobody reads another's."""

from libs.common.contracts.choreography import EXPORTER, SERVICES
from runbook_ranger.stack.provision import epochs
from runbook_ranger.stack.provision.epochs import Connection
from runbook_ranger.stack.roles import role_of, role_password

CONNECTIONS = {"executor": 64, EXPORTER: 8}  # the workers share the executor's role
CONNECTIONS_DEFAULT = 24  # two processes of a service, with their pools and own connections
ROLES = (*SERVICES, EXPORTER)  # the exporter has no schema: it reads of the timeline's what the timeline grants
IDLE_IN_TRANSACTION = "10s"  # a paused process must not keep its locks


async def ensure_database(maintenance: Connection, database: str) -> None:
    """Make the database if it is missing; nobody but the roles below may connect to it."""
    if not await maintenance.fetchval("select true from pg_database where datname = $1", database):
        await maintenance.execute(f'create database "{database}"')


async def ensure_roles(connection: Connection, secret: str) -> None:
    """Make roles with their passwords and limits; repeatable, in one transaction, and corrects what was changed."""
    async with connection.transaction():
        for service in ROLES:
            await connection.execute(_role_sql(service, secret))


async def ensure_schemas(connection: Connection, database: str) -> None:
    """Make schemas, rights and the epoch table in one transaction; repeatable."""
    roles = ", ".join(map(role_of, ROLES))
    async with connection.transaction():
        await connection.execute(f'revoke all on database "{database}" from public')
        await connection.execute(f'grant connect, temporary on database "{database}" to {roles}')
        await connection.execute("revoke all on schema public from public")
        await connection.execute(f"grant usage on schema public to {roles}")
        await connection.execute("set local client_min_messages = warning")
        await connection.execute(epochs.TABLE)
        await connection.execute(f"grant select on public.stream_epoch to {roles}")
        for service in SERVICES:
            await connection.execute(f'create schema if not exists "{service}" authorization {role_of(service)}')


def _role_sql(service: str, secret: str) -> str:
    """Names come from our own list and the password is hexadecimal: nothing here needs quoting."""
    role = role_of(service)
    limit = CONNECTIONS.get(service, CONNECTIONS_DEFAULT)
    return f"""
        do $$ begin
            if not exists (select from pg_roles where rolname = '{role}') then create role {role}; end if;
        end $$;
        alter role {role} with login nosuperuser nocreatedb nocreaterole noinherit noreplication nobypassrls
            connection limit {limit} password '{role_password(secret, role)}';
        alter role {role} set search_path = {service};
        alter role {role} set idle_in_transaction_session_timeout = '{IDLE_IN_TRANSACTION}';
    """
