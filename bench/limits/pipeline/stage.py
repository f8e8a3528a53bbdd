"""The prototype's tables and streams, and what must hold when it has worked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig

from bench.errors import WorkWrong
from bench.limits.pipeline import engine, timeline
from bench.limits.pipeline.links import GROUP, JOBS, STREAM, bus, database, redis

_TABLES: Final = """
CREATE TABLE incident(id uuid PRIMARY KEY, state text);
CREATE TABLE seen(id uuid PRIMARY KEY);
CREATE TABLE execution(id uuid PRIMARY KEY, incident_id uuid, step int, total int, state text);
CREATE TABLE outbox(id bigserial PRIMARY KEY, exe uuid, body text);
CREATE TABLE timeline(seq bigint PRIMARY KEY, prev bytea, hash bytea, event_id uuid UNIQUE, body text)
"""
_LEFT: Final = """
SELECT (SELECT count(*) FROM execution) AS executions,
  (SELECT count(*) FROM execution WHERE state <> 'succeeded') AS unfinished, (SELECT count(*) FROM outbox) AS outbox
"""
DURABLES: Final = ((engine.DURABLE, ["ev.alert", "ev.result"]), (timeline.DURABLE, ["ev.>"]))


async def build() -> None:
    """Make everything, on empty servers."""
    connection = await database()
    await connection.execute(_TABLES)
    await connection.close()
    client, stream = await bus()
    await stream.add_stream(
        StreamConfig(name=STREAM, subjects=["ev.>"], storage=StorageType.FILE, duplicate_window=120, allow_atomic=True)
    )
    for name, subjects in DURABLES:
        policy = AckPolicy.ALL
        config = ConsumerConfig(durable_name=name, ack_policy=policy, filter_subjects=subjects, max_ack_pending=20000)
        await stream.add_consumer(STREAM, config)
    await client.close()
    jobs = redis()
    await jobs.xgroup_create(JOBS, GROUP, id="0", mkstream=True)
    await jobs.aclose()


async def settled(where: Mapping[str, str]) -> bool:
    """Whether nothing is left in the outbox."""
    connection = await database(where)
    try:
        return not await connection.fetchval("SELECT count(*) FROM outbox")
    finally:
        await connection.close()


async def verify(where: Mapping[str, str], executions: int) -> dict[str, Any]:
    """The chain, computed anew, and that every execution has come to its end.

    Raises:
        WorkWrong: something does not hold.
    """
    connection = await database(where)
    last, rows = timeline.GENESIS, 0
    async with connection.transaction():
        async for row in connection.cursor("SELECT prev, hash, body FROM timeline ORDER BY seq", prefetch=2000):
            before, last = last, hashlib.sha256(last + row["body"].encode()).digest()
            if (row["prev"], row["hash"]) != (before, last):
                raise WorkWrong(f"the prototype's chain breaks at row {rows + 1}")
            rows += 1
    left = await connection.fetchrow(_LEFT)
    await connection.close()
    if left is None or dict(left) != {"executions": executions, "unfinished": 0, "outbox": 0}:
        raise WorkWrong(f"the prototype has {left and dict(left)}, where {executions} executions have to be done")
    return {"executions": executions, "rows": rows}
