"""Rebuilding the stream of facts from outboxes and log: by provisioning after the stream was made anew, or by hand."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from libs.common.contracts.choreography import EVENTS
from runbook_ranger.stack.keyring import ADMIN
from runbook_ranger.stack.provision import epochs, refill
from runbook_ranger.stack.provision.epochs import Connection

if TYPE_CHECKING:
    from libs.common.bus import Bus


@dataclass(frozen=True)
class Republished:
    """What the stream did not hold: outbox rows that relays send again, and facts of the log by who had not had them.

    A fact that two consumers lack is counted for each, and published once.
    """

    from_outboxes: int = 0
    from_log: dict[str, int] = field(default_factory=dict)


async def after_renewal(connection: Connection, url: str, key: str) -> None:
    """Publish what consumers lack into a stream that has just begun its epoch, and put down that this is done."""
    lacked = await refill.lacking(connection)
    if lacked:
        async with _bus(url, key) as bus:
            await refill.publish_again(connection, bus, lacked)
    await epochs.filled(connection, EVENTS)


async def republish(connection: Connection, url: str, key: str, *, dry_run: bool) -> Republished:
    """Look for whatever the stream ought to hold and does not, and have it published; a dry run only counts.

    Facts that are on their way to a consumer at this moment count as lacking; they are dropped when they come twice.
    """
    async with refill.relays_stopped(connection), _bus(url, key) as bus:
        taken = 0
        for schema in await refill.schemas_with(connection, "outbox"):
            taken += await _taken_back(connection, bus, schema, dry_run=dry_run)
        lacked = await refill.lacking(connection)
        if not dry_run:
            await refill.publish_again(connection, bus, lacked)
            await epochs.filled(connection, EVENTS)
    return Republished(taken, {service: len(indices) for service, indices in lacked.items()})


async def _taken_back(connection: Connection, bus: "Bus", schema: str, *, dry_run: bool) -> int:
    from libs.common.lost import take_back_lost  # loaded with the bus, only where it is looked

    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"SET LOCAL search_path = {schema}")
        count = await take_back_lost(connection, bus, whole=True)
    except BaseException:
        await transaction.rollback()
        raise
    await (transaction.rollback() if dry_run else transaction.commit())
    return count


@asynccontextmanager
async def _bus(url: str, key: str) -> AsyncIterator["Bus"]:
    from pydantic import SecretStr

    from libs.common.bus import Bus  # half a second of imports, only where there is something to look at or to send

    bus = Bus(url, name="republish", identity=ADMIN if key else "", nkey=SecretStr(key) if key else None)
    await bus.connect()
    try:
        yield bus
    finally:
        await bus.close()
