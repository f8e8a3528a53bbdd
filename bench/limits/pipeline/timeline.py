"""The prototype's timeline: every event, canonical, hashed onto the one before it, copied into a table."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson

from bench.limits.pipeline.links import Puller, bus, database

DURABLE: Final = "timeline"
DONE: Final = "tl.done"
GENESIS: Final = b"\0" * 32


async def run() -> None:
    """Work until ended; tells on `tl.done` which incidents' executions have their end in the table."""
    client, _ = await bus()
    connection = await database()
    puller = Puller(client, DURABLE)
    await puller.start()
    last, seq = GENESIS, 0
    while True:
        messages = await puller.next()
        records, done = [], []
        for message in messages:
            heard = orjson.loads(message.data)
            canonical = orjson.dumps(heard, option=orjson.OPT_SORT_KEYS)
            seq += 1
            before, last = last, hashlib.sha256(last + canonical).digest()
            records.append((seq, before, last, heard["event_id"], canonical.decode()))
            if heard["type"] == "execution.succeeded":
                done.append(heard["incident_id"])
        columns = ["seq", "prev", "hash", "event_id", "body"]
        await connection.copy_records_to_table("timeline", records=records, columns=columns)
        await puller.acknowledge(messages)
        if done:
            await client.publish(DONE, orjson.dumps(done))
