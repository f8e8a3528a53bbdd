"""The database `ranger`: one role and one schema a service, and nobody reads another's."""

import hashlib
import hmac
from urllib.parse import quote, unquote, urlsplit

from libs.common.contracts.choreography import SERVICES
from runbook_ranger.stack.provision import epochs
from runbook_ranger.stack.provision.epochs import Connection

MAINTENANCE = "postgres"
DEFAULT = "ranger"
CONNECTIONS = {"executor": 40}  # its workers share the role
CONNECTIONS_DEFAULT = 12
IDLE_IN_TRANSACTION = "10s"  # a paused process must not keep its locks


def role_of(service: str) -> str:
    """The role that a service connects with."""
    return f"rr_{service}"


def role_password(secret: str, role: str) -> str:
    """The password of a role, derived, so that one secret is all that an installation keeps."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()[:32]


def database_of(url: str) -> str:
    """The database that a URL names."""
    return unquote(urlsplit(url).path.lstrip("/")) or DEFAULT


def with_database(url: str, database: str) -> str:
    """The same server and user, another database."""
    return urlsplit(url)._replace(path=f"/{quote(database)}").geturl()


def service_url(admin_url: str, service: str, secret: str) -> str:
    """The URL of a service's own role on the server that an administrator's URL names."""
    parts = urlsplit(admin_url)
    role = role_of(service)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{role_password(secret, role)}@{host}").geturl()


async def ensure_database(maintenance: Connection, database: str) -> None:
    """Make the database if it is missing; nobody but the roles below may connect to it."""
    if not await maintenance.fetchval("select true from pg_database where datname = $1", database):
        await maintenance.execute(f'create database "{database}"')


async def ensure_roles(connection: Connection, secret: str) -> None:
    """Make roles with their passwords and limits; repeatable, in one transaction, and corrects what was changed."""
    async with connection.transaction():
        for service in SERVICES:
            await connection.execute(_role_sql(service, secret))


async def ensure_schemas(connection: Connection, database: str) -> None:
    """Make schemas, rights and the epoch table in one transaction; repeatable."""
    roles = ", ".join(map(role_of, SERVICES))
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
