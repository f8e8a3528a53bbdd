"""The inbox: what a consumer has applied. It, not the stream's window, is the guard against applying twice."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import asyncpg

from libs.common.database import Database, Tx, Uuid

KEEP: Final = timedelta(days=30)

_ENTER: Final = """
WITH parked AS (
  SELECT DISTINCT aggregate_id FROM dead_letter
  WHERE consumer = $1 AND state = 'open' AND aggregate_id = ANY($5::text[]) AND aggregate_id <> ''),
entered AS (
  INSERT INTO inbox (consumer, event_id, epoch, stream_seq)
  SELECT $1, event_id, epoch, seq FROM unnest($2::uuid[], $3::bigint[], $4::bigint[]) AS t(event_id, epoch, seq)
  ORDER BY event_id
  ON CONFLICT DO NOTHING RETURNING event_id)
SELECT event_id, NULL AS aggregate_id FROM entered UNION ALL SELECT NULL, aggregate_id FROM parked
"""


async def enter(
    tx: Tx, consumer: str, messages: Sequence[tuple[str, int, int, str]]
) -> tuple[frozenset[str], frozenset[str]]:
    """Mark (event id, epoch, sequence, aggregate id) as applied by this transaction.

    Returns the ids that were not applied before, and the aggregates that are parked behind a dead letter.
    """
    ids, epochs, seqs, aggregates = map(list, zip(*messages, strict=True))
    rows = await tx.fetch(_ENTER, consumer, [Uuid(i) for i in ids], epochs, seqs, aggregates)
    fresh = frozenset(str(row["event_id"]) for row in rows if row["event_id"] is not None)
    parked = frozenset(row["aggregate_id"] for row in rows if row["aggregate_id"] is not None)
    return fresh, parked


async def count_failure(database: Database, consumer: str, event_id: str, error: str) -> int:
    """Remember that applying a message failed, in a transaction of its own; returns how often it has."""
    count: int = await database.pool.fetchval(
        "INSERT INTO inbox_failure (consumer, event_id, count, last_error) VALUES ($1, $2, 1, $3)"
        " ON CONFLICT (consumer, event_id) DO UPDATE SET count = inbox_failure.count + 1, last_error = $3,"
        " updated_at = clock_timestamp() RETURNING count",
        consumer,
        Uuid(event_id),
        error[:2000],
    )
    return count


async def settle_failure(tx: "Tx | asyncpg.Pool[asyncpg.Record]", consumer: str, event_id: str, state: str) -> None:
    """Say how the failing ended: `dead` or `applied`."""
    await tx.execute(
        "UPDATE inbox_failure SET state = $3, updated_at = clock_timestamp() WHERE consumer = $1 AND event_id = $2",
        consumer,
        Uuid(event_id),
        state,
    )


async def prune(connection: "asyncpg.Pool[asyncpg.Record]", consumer: str, *, epoch: int, first_seq: int) -> int:
    """Forget what cannot come again: older than `KEEP`, and gone from the consumer's stream (below its low-water mark).

    Returns how many marks went.
    """
    result = await connection.execute(
        "DELETE FROM inbox WHERE processed_at < clock_timestamp() - $3::interval"
        " AND (epoch < $1 OR (epoch = $1 AND stream_seq < $2)) AND consumer = $4",
        epoch,
        first_seq,
        KEEP,
        consumer,
    )
    return int(result.rpartition(" ")[2])
