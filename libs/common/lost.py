"""What an outbox believes to be stored and the stream does not hold: it is published again.

JetStream acknowledges before the disk has it, so a power failure can take back the end of a stream, and others then
get those sequences. A row that was published leaves its outbox only when the log has chained it; until then its
message can be looked up where the acknowledgement said.
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Final

import asyncpg

from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS
from libs.common.database import Tx
from libs.common.streams import stored_message

WINDOW: Final = 64

_PUBLISHED: Final = """
SELECT id, event_id, stream_seq FROM outbox
WHERE published_at IS NOT NULL AND epoch = (SELECT epoch FROM public.stream_epoch WHERE stream = $1)
  AND stream_seq < $2 ORDER BY stream_seq DESC LIMIT $3
"""
_TAKE_BACK: Final = """
UPDATE outbox SET published_at = NULL, epoch = NULL, stream_seq = NULL WHERE id = ANY($1::bigint[])
"""
_LAST: Final = 2**63 - 1


async def take_back_lost(tx: "Tx | asyncpg.Connection[asyncpg.Record]", bus: Bus, *, whole: bool) -> int:
    """Mark what the stream does not hold as unpublished, newest first; returns how many rows that are.

    A stream loses its end: unless `whole`, looking stops at the first window of which nothing is missing. The caller
    holds the relay's lock.

    Raises:
        ConnectionError: the stream cannot be read; nothing is known and nothing changed.
    """
    lost: list[int] = []
    below = _LAST
    while rows := await tx.fetch(_PUBLISHED, EVENTS, below, WINDOW):
        missing = await _missing(bus, rows)
        lost += missing
        if not missing and not whole:
            break
        below = rows[-1]["stream_seq"]
    if lost:
        await tx.execute(_TAKE_BACK, lost)
    return len(lost)


async def _missing(bus: Bus, rows: Sequence[asyncpg.Record]) -> list[int]:
    found = await asyncio.gather(*(stored_message(bus, EVENTS, {"seq": row["stream_seq"]}) for row in rows))
    return [
        row["id"]
        for row, message in zip(rows, found, strict=True)
        if message is None or f"ce-id: {row['event_id']}".encode() not in base64.b64decode(message.get("hdrs", ""))
    ]
