"""Stream epochs: a sequence number means something only together with the life of the stream that gave it.

`public.stream_epoch(stream, epoch, created_at)` holds one row a stream, readable by every service. It is raised and
committed *before* a stream is made anew: a crash in between skips a number and never uses one twice.
"""

from typing import TYPE_CHECKING, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection  # generic to type checkers only

TABLE = """
create table if not exists public.stream_epoch (
    stream text primary key,
    epoch bigint not null check (epoch > 0),
    created_at timestamptz not null default clock_timestamp()
);
alter table public.stream_epoch add column if not exists filled_at timestamptz
"""
"""`filled_at`: when a stream that was made anew had got back what its predecessor lost."""


async def current(connection: Connection, stream: str) -> int:
    """The epoch on record; 0 when the stream was never made."""
    found = await connection.fetchval("select epoch from public.stream_epoch where stream = $1", stream)
    return int(found) if found else 0


async def advance(connection: Connection, stream: str, at_least: int = 1) -> int:
    """The next epoch, committed: one above the record, and not below `at_least`."""
    return int(
        await connection.fetchval(
            "insert into public.stream_epoch as known (stream, epoch) values ($1, $2) "
            "on conflict (stream) do update set epoch = greatest(known.epoch + 1, $2), created_at = clock_timestamp(), "
            "filled_at = null "
            "returning epoch",
            stream,
            at_least,
        )
    )


async def adopt(connection: Connection, stream: str, epoch: int) -> None:
    """Record the epoch that an existing stream carries, where there is no record (the database was made anew)."""
    await connection.execute(
        "insert into public.stream_epoch (stream, epoch) values ($1, $2) on conflict do nothing", stream, epoch
    )


async def unfilled(connection: Connection, stream: str) -> bool:
    """Whether a stream was made anew and has not got back yet what its predecessor held."""
    found = await connection.fetchval(
        "select true from public.stream_epoch where stream = $1 and epoch > 1 and filled_at is null", stream
    )
    return bool(found)


async def filled(connection: Connection, stream: str) -> None:
    """Put down that the stream's present epoch holds what it has to."""
    await connection.execute("update public.stream_epoch set filled_at = clock_timestamp() where stream = $1", stream)
