"""Provisioning: the one step that owns streams, consumers, hint groups, roles and schemas.

It makes what is missing, compares what exists with what is wanted, and refuses on any difference, naming each field
and its remedy. It never changes a stream or a consumer by itself: an update can throw messages away or replay them.
Repeatable, safe to run twice at once (one advisory lock), and whole again after a crash at any point.

A stream of facts that has to be made anew begins a new epoch and is given back what the old one held (`refill.py`).
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

import asyncpg

from libs.common.contracts.choreography import EVENTS
from libs.common.secret_files import UnreadableVariable, variable
from runbook_ranger.stack import roles
from runbook_ranger.stack.errors import Difference, DriftError, EpochMismatchError, StackError
from runbook_ranger.stack.messaging import administrator
from runbook_ranger.stack.provision import database, epochs, hints, refill, republish, wanted
from runbook_ranger.stack.provision.jetstream import JetStream, epoch_of, with_epoch

T = TypeVar("T")

LOCK = 0x52525001  # advisory lock key, "RR" and a number
REFUSED = 3  # exit code
PATIENCE = 30.0  # a server that was just restarted may still be recovering


@dataclass(frozen=True)
class Targets:
    """Where to provision, as administrator; any of the URLs may be empty, and that server is then left alone."""

    postgres: str
    nats: str = ""
    redis: str = ""
    role_secret: str = ""
    settings: wanted.StreamSettings = field(default_factory=wanted.StreamSettings)
    nats_key: str = field(default="", repr=False)

    @classmethod
    def from_environment(cls) -> "Targets":
        """From `RR_POSTGRES_URL` (the administrator's), `RR_NATS_URL` and `RR_NATS_NKEY` (likewise), `RR_REDIS_URL`,
        `RR_ROLE_SECRET`, or files.
        """
        names = ("RR_POSTGRES_URL", "RR_NATS_URL", "RR_ROLE_SECRET", "RR_REDIS_URL", "RR_NATS_NKEY")
        try:
            given = {name: variable(name) or "" for name in names}
        except UnreadableVariable as error:
            raise StackError(str(error)) from None
        missing = [name for name in names[:3] if not given[name]]
        if missing:
            raise StackError(f"provisioning needs {', '.join(missing)}")
        return cls(
            postgres=given["RR_POSTGRES_URL"],
            nats=given["RR_NATS_URL"],
            redis=given["RR_REDIS_URL"],
            role_secret=given["RR_ROLE_SECRET"],
            nats_key=given["RR_NATS_NKEY"],
            settings=wanted.StreamSettings.from_environment(),
        )


@dataclass(frozen=True)
class Purpose:
    """What is to be changed on purpose, by name; everything else is only compared.

    `recreate`: consumers (`NAME` or `STREAM/NAME`), made anew behind the last message they acknowledged.
    `update`: streams whose settings are changed in place. `renew`: streams that are deleted and start a new epoch.
    """

    recreate: Sequence[str] = ()
    update: Sequence[str] = ()
    renew: Sequence[str] = ()


async def provision(targets: Targets, purpose: Purpose | None = None) -> None:
    """Bring every target to what is wanted, or raise DriftError / EpochMismatchError without having changed it."""
    name = roles.database_of(targets.postgres)
    maintenance = await connect(roles.with_database(targets.postgres, roles.MAINTENANCE))
    try:
        await maintenance.execute("select pg_advisory_lock($1)", LOCK)
        await database.ensure_database(maintenance, name)
        await database.ensure_roles(maintenance, targets.role_secret)
        connection = await connect(targets.postgres)
        try:
            await database.ensure_schemas(connection, name)
            if targets.nats:
                await provision_streams(connection, targets, purpose or Purpose())
        finally:
            await connection.close()
        if targets.redis:
            await _provision_hints(targets.redis)
    finally:
        await maintenance.close()


async def provision_streams(connection: epochs.Connection, targets: Targets, purpose: Purpose) -> None:
    """Streams first, then their consumers; all differences of all of them are collected into one DriftError."""
    options = {"allow_reconnect": False, "connect_timeout": 2, "error_cb": _said_below}
    client = await patiently(lambda: administrator(targets.nats, targets.nats_key, **options))
    try:
        jetstream = JetStream(client)
        async with AsyncExitStack() as still:
            if await _to_be_filled(jetstream, connection, purpose):
                await still.enter_async_context(refill.relays_stopped(connection))
            await _streams(jetstream, connection, targets.settings, purpose)
            if await epochs.unfilled(connection, EVENTS):
                await republish.after_renewal(connection, targets.nats, targets.nats_key)
    finally:
        await client.close()


async def republish_facts(targets: Targets, *, dry_run: bool = False) -> republish.Republished:
    """Give the stream of facts back whatever it lost; see `republish`."""
    connection = await connect(targets.postgres)
    try:
        await connection.execute("select pg_advisory_lock($1)", LOCK)
        return await republish.republish(connection, targets.nats, targets.nats_key, dry_run=dry_run)
    finally:
        await connection.close()


async def _to_be_filled(jetstream: JetStream, connection: epochs.Connection, purpose: Purpose) -> bool:
    """Whether the stream of facts is about to be made anew, or was and nobody finished filling it."""
    anew = EVENTS in purpose.renew or await jetstream.stream(EVENTS) is None
    return (anew and await epochs.current(connection, EVENTS) > 0) or await epochs.unfilled(connection, EVENTS)


async def _streams(
    jetstream: JetStream, connection: epochs.Connection, settings: wanted.StreamSettings, purpose: Purpose
) -> None:
    differences: list[Difference] = []
    for name, config in wanted.streams(settings).items():
        differences += await _stream(jetstream, connection, name, config, purpose)
    for (stream, _), config in wanted.durables(settings).items():
        differences += await _durable(jetstream, stream, config, purpose)
    if differences:
        raise DriftError(differences)


async def _stream(
    jetstream: JetStream, connection: epochs.Connection, name: str, config: wanted.Json, purpose: Purpose
) -> list[Difference]:
    found = await jetstream.stream(name)
    carried = epoch_of(found) if found else 0
    if found and name in purpose.renew:
        await jetstream.delete_stream(name)
        found = None
    if found is None:
        async with connection.transaction():
            epoch = await epochs.advance(connection, name, at_least=carried + 1)
            if name == EVENTS:
                await refill.take_back(connection)
        await jetstream.create_stream(with_epoch(config, epoch))
        return []
    known = await epochs.current(connection, name)
    if not known and carried:
        await epochs.adopt(connection, name, carried)
    elif known != carried:
        raise EpochMismatchError(name, carried, known)
    differences = wanted.stream_differences(config, found)
    if differences and name in purpose.update:
        await jetstream.update_stream(with_epoch(config, carried))
        return []
    return differences


async def _durable(jetstream: JetStream, stream: str, config: wanted.Json, purpose: Purpose) -> list[Difference]:
    name = str(config["name"])
    found = await jetstream.consumer(stream, name)
    if found and {name, f"{stream}/{name}"} & set(purpose.recreate):
        await jetstream.delete_consumer(stream, name)
        floor = found["ack_floor"]["stream_seq"]
        start = {"deliver_policy": "by_start_sequence", "opt_start_seq": floor + 1} if floor else {}
        await jetstream.create_consumer(stream, {**config, **start})
        return []
    if found is None:
        await jetstream.create_consumer(stream, config)
        return []
    return wanted.durable_differences(stream, config, found["config"])


async def _provision_hints(url: str) -> None:
    from redis.asyncio import Redis  # only where hints are provisioned

    client = Redis.from_url(url)
    try:
        await patiently(lambda: hints.ensure_groups(client))
    finally:
        await client.aclose()


async def connect(url: str) -> epochs.Connection:
    """A database connection; waits for a server that is still starting."""
    return await patiently(lambda: asyncpg.connect(url, timeout=5))


async def patiently(attempt: Callable[[], Awaitable[T]]) -> T:
    """The attempt's result, tried again while the server cannot be reached; the last error after `PATIENCE`."""
    deadline = asyncio.get_running_loop().time() + PATIENCE
    while True:
        try:
            return await attempt()
        except _unreachable():
            if asyncio.get_running_loop().time() > deadline:
                raise
            await asyncio.sleep(0.2)


async def _said_below(_error: Exception) -> None:
    """The client's own traceback of each attempt is noise; `patiently` raises the last error."""


def _unreachable() -> tuple[type[Exception], ...]:
    """The errors that mean `not there yet`, of whichever clients are loaded."""
    named = (("nats.errors", "NoServersError"), ("redis.exceptions", "ConnectionError"))
    loaded = [getattr(sys.modules[module], name) for module, name in named if module in sys.modules]
    return (OSError, asyncpg.CannotConnectNowError, *loaded)


def main() -> None:
    """Provision what the environment names; the supervisor's and compose's job."""
    try:
        asyncio.run(provision(Targets.from_environment()))
    except StackError as refusal:
        sys.stderr.write(f"provisioning refused: {refusal}\n")
        sys.exit(REFUSED)
