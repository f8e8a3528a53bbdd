"""A stream of facts that was made anew is filled from Postgres before anybody publishes on it.

Every fact is in an outbox or in the log. What an outbox still has, its relay publishes again, in order: `take_back`
marks it as unpublished in the transaction that raises the epoch. What the log has and some consumer has not applied is
published here, in the log's order. Both while the relays stand still, so that no fact overtakes an older one of its
aggregate. Consumers' inboxes and the log absorb what comes to them a second time.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import asyncpg
import orjson

from libs.common.contracts.choreography import EVENTS, SERVICES, consumers
from libs.common.contracts.envelope import Envelope, Ref
from libs.common.ids import new_id
from libs.common.inbox import KEEP
from libs.common.outbox import channel
from runbook_ranger.stack.errors import StackError
from runbook_ranger.stack.provision.epochs import Connection

if TYPE_CHECKING:
    from libs.common.bus import Bus, Outgoing

LOG: Final = "timeline"
WINDOW: Final = 256
PATIENCE: Final = "60s"  # a relay holds its lock for one window

_LACKED: Final = """
SELECT p.index FROM timeline.payload p
WHERE p.type = ANY($2::text[]) AND p.time > clock_timestamp() - $3::interval AND p.event_id ~ $4
  AND NOT EXISTS (SELECT FROM {schema}.inbox i WHERE i.consumer = $1 AND i.event_id::text = p.event_id)
ORDER BY p.index
"""
_UUID: Final = "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"
_FACTS: Final = """
SELECT leaf, payload, salt, dataschema, traceparent FROM timeline.payload JOIN timeline.leaf USING (index)
WHERE index = ANY($1::bigint[]) ORDER BY index
"""


class RefillError(StackError):
    """The stream does not take what it has to hold."""


@asynccontextmanager
async def relays_stopped(connection: Connection) -> AsyncIterator[None]:
    """No relay publishes within the block; those that run wait, those that are in a window end it first."""
    names = [channel(schema) for schema in sorted(SERVICES)]
    await connection.execute(f"SET lock_timeout = '{PATIENCE}'")
    try:
        for name in names:
            await connection.execute("SELECT pg_advisory_lock(hashtext($1))", name)
        yield
    finally:
        for name in names:
            await connection.execute("SELECT pg_advisory_unlock(hashtext($1))", name)
        await connection.execute("RESET lock_timeout")


async def take_back(connection: Connection) -> int:
    """Mark every row of every outbox as unpublished; returns how many were published."""
    count = 0
    for schema in await schemas_with(connection, "outbox"):
        done = await connection.execute(
            f"UPDATE {schema}.outbox SET published_at = NULL, epoch = NULL, stream_seq = NULL"
            " WHERE published_at IS NOT NULL"
        )
        count += int(done.rpartition(" ")[2])
    return count


async def schemas_with(connection: Connection, table: str) -> list[str]:
    """The services' schemas that have this table: none before the first migration."""
    rows = await connection.fetch(
        "SELECT schemaname FROM pg_tables WHERE tablename = $1 AND schemaname = ANY($2::text[]) ORDER BY 1",
        table,
        list(SERVICES),
    )
    return [row["schemaname"] for row in rows]


async def lacking(connection: Connection) -> dict[str, list[int]]:
    """Leaves of the last thirty days, ascending, whose fact a consumer has not applied, by that consumer's service."""
    if LOG not in await schemas_with(connection, "payload"):
        return {}
    found: dict[str, list[int]] = {}
    inboxes = await schemas_with(connection, "inbox")
    for (stream, durable), subjects in consumers().items():
        if stream == EVENTS and durable != LOG and durable in inboxes:
            query = _LACKED.format(schema=durable)
            rows = await connection.fetch(query, f"{durable}:{EVENTS}", list(subjects), KEEP, _UUID)
            found[durable] = [row["index"] for row in rows]
    return {service: indices for service, indices in found.items() if indices}


async def publish_again(connection: Connection, bus: "Bus", lacked: Mapping[str, Sequence[int]]) -> None:
    """Publish what consumers lack, byte for byte as it was, in the log's order.

    The stream's own guard against repetition is told another id than the first time: this is meant to come again.

    Raises:
        RefillError: the stream refused a fact; doing all of it again does no harm.
    """
    from libs.common.bus import PublishRefused  # loaded with the bus, only where there is something to send

    run = new_id()
    indices = sorted({index for those in lacked.values() for index in those})
    for start in range(0, len(indices), WINDOW):
        rows = await connection.fetch(_FACTS, indices[start : start + WINDOW])
        for outcome in await bus.publish([outgoing(row, run) for row in rows]):
            if isinstance(outcome, PublishRefused):
                raise RefillError(f"{EVENTS} does not take what it lost: {outcome}; mend that, and republish")


def outgoing(row: asyncpg.Record, run: str) -> "Outgoing":
    """A fact as it was published: what the log's leaf and the row beside it say of it. `run` names the repetition."""
    from libs.common.bus import Outgoing  # as above

    leaf = orjson.loads(row["leaf"])
    said, about = leaf["ev"], {chain["k"]: chain["id"] for chain in leaf["chains"]}
    envelope = Envelope(
        id=said["id"],
        type=said["type"],
        source=said["source"],
        time=said["time"],
        aggregate_type=leaf["agg"]["type"],
        aggregate_id=leaf["agg"]["id"],
        aggregate_version=int(leaf["agg"]["version"]),
        tenant=said["tenant"],
        tenants=tuple(said["tenants"]),
        actor=said["actor"],
        correlation=said["correlation"],
        causation=said["causation"],
        incident_id=about.get("incident", ""),
        execution_id=about.get("execution", ""),
        runbook_id=about.get("runbook", ""),
        schema=row["dataschema"],
        refs=tuple(Ref(ref["k"], ref["sha256"], int(ref["len"])) for ref in leaf["refs"]),
        traceparent=row["traceparent"],
        salt=row["salt"],
    )
    return Outgoing(said["type"], row["payload"], envelope.to_headers() | {"Nats-Msg-Id": f"{said['id']} {run}"})
