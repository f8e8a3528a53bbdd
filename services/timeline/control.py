"""What the log says of itself: heartbeats, new keys, redactions, sealed bundles.

No stream holds these, so each is written down before it is appended, and is appended as it was written down: in the
order in which they were asked for, each once, whichever writer does it and wherever the one before it died. The leaf's
index is noted in the statement that appends it (`storage.append`).
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson
from msgspec import Struct

from libs.common.database import Database, Tx
from libs.common.pulse import Pulse
from libs.tlog.chain import Control
from libs.tlog.leaf import control_leaf
from services.timeline.model import Arrival
from services.timeline.settings import TimelineSettings

HEARTBEAT: Final = "heartbeat"
KEY_ROTATION: Final = "key_rotation"
AT_ONCE: Final = 100

_ASK: Final = "INSERT INTO control (body) VALUES ($1::jsonb) RETURNING id"
_PENDING: Final = "SELECT id, body FROM control WHERE index IS NULL ORDER BY id LIMIT $1"
_ANY_PENDING: Final = "EXISTS (SELECT FROM control WHERE index IS NULL)"
_NO_BEAT: Final = """
NOT EXISTS (SELECT FROM control WHERE body ->> 'type' = 'heartbeat'
  AND asked_at > clock_timestamp() - {seconds} * interval '1 second')
"""
_BEAT: Final = """
INSERT INTO control (body, asked_at)
SELECT jsonb_build_object('type', 'heartbeat', 'at', to_char(now AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')),
  now
FROM clock_timestamp() AS now
WHERE NOT EXISTS (
  SELECT FROM control WHERE body ->> 'type' = 'heartbeat' AND asked_at > now - $1 * interval '1 second')
RETURNING id
"""
_NEWEST: Final = """
SELECT body, index FROM control WHERE body ->> 'type' = $1 ORDER BY asked_at DESC, id DESC LIMIT 1
"""


class Asked(Struct, frozen=True):
    """Something to be said, and the index of its leaf once it is."""

    body: Mapping[str, str]
    index: int | None


async def ask(tx: Tx, origin: str, body: Mapping[str, str]) -> int:
    """Write down what the log is to say, with the caller's transaction; the writer appends it within a second or so.

    Raises:
        LeafError: no leaf can say this; nothing was written.
    """
    control_leaf(origin, body)
    asked: int = await tx.fetchval(_ASK, orjson.dumps(dict(body)).decode())
    return asked


def watch(looks: Pulse, wake: Callable[[], None], settings: TimelineSettings) -> None:
    """Have `wake` called whenever there is something to say, or it is time for a heartbeat."""

    def hear(anything: bool) -> None:
        if anything:
            wake()

    within, every = settings.timeline_control_seconds, settings.timeline_heartbeat_seconds
    looks.ask(_ANY_PENDING, hear, within=within)
    if every:
        looks.ask(_NO_BEAT.format(seconds=every), hear, within=within)


async def pending(database: Database) -> list[Arrival]:
    """The next of what was asked for and is not in the log, in order."""
    rows = await database.pool.fetch(_PENDING, AT_ONCE)
    return [Arrival(Control(orjson.loads(row["body"])), control=row["id"]) for row in rows]


async def beat(database: Database, seconds: float) -> bool:
    """Write a heartbeat down, unless one was within so many seconds; returns whether it did."""
    return await database.pool.fetchval(_BEAT, seconds) is not None


async def newest(tx: Any, kind: str) -> Asked | None:
    """What was last asked for of this type."""
    row = await tx.fetchrow(_NEWEST, kind)
    return None if row is None else Asked(orjson.loads(row["body"]), row["index"])
