"""Leaves as lines of an export, a page at a time: all of the log, or as much as somebody may view.

Who may not view everything is given an event where lists show it to them; of every other leaf the hash alone, which
the tree needs. Of what the log says of itself only heartbeats and new keys are shown: the rest names what it is about.
"""

from typing import Any, Final

import orjson
from msgspec import Struct

from libs.common.policy import Scope
from libs.common.sight import filters, seen
from libs.tlog.exportlines import hidden_line, line
from libs.tlog.shape import CONTROL
from services.timeline.control import HEARTBEAT, KEY_ROTATION

PART_BYTES: Final = 360 * 1024  # of lines: as base64 they fit into a reply
ROWS: Final = 4000
"""How many leaves are looked at for a page: of hidden ones so many fit. Each table has the bound, which none infers."""
FOR_ALL: Final = frozenset({HEARTBEAT, KEY_ROTATION})

_PAGE: Final = """
SELECT index, kind, leaf, event_hash, payload, salt FROM (
  SELECT index, kind, leaf, event_hash, payload, salt, row_number() OVER (ORDER BY index) AS n,
    sum(coalesce(octet_length(leaf), 0) + coalesce(octet_length(payload), 0) * 4 / 3 + 180) OVER (ORDER BY index)
      AS total
  FROM ({rows}) AS stored) AS page
WHERE total <= $3 OR n = 1 ORDER BY index
"""
_WHOLE: Final = _PAGE.format(
    rows="""SELECT l.index, l.kind, l.leaf, l.event_hash, p.payload, p.salt
    FROM leaf AS l LEFT JOIN payload AS p ON p.index = l.index AND p.index >= $1 AND p.index < $2
    WHERE l.index >= $1 AND l.index < $2"""
)
_SEEN: Final = _PAGE.format(
    rows=f"""SELECT l.index, l.kind, l.event_hash, p.payload, p.salt,
      CASE WHEN l.kind = 'control' OR (l.kind = 'event' AND e.seen) THEN l.leaf END AS leaf
    FROM leaf AS l
    LEFT JOIN (SELECT index, true AS seen FROM entry_seen
      WHERE index >= $1 AND index < $2 AND tenant_id = $4 AND {seen("$5", "$6")}) AS e ON e.index = l.index
    LEFT JOIN payload AS p ON p.index = e.index AND l.kind = 'event' AND p.index >= $1 AND p.index < $2
    WHERE l.index >= $1 AND l.index < $2"""
)


class View(Struct, frozen=True):
    """Whose eyes an export is for: one tenant's things as far as a scope covers them."""

    tenant: str
    scope: Scope


class Part(Struct, frozen=True):
    """A piece of an export's lines; what follows begins with byte `offset` of the line of leaf `next`."""

    data: bytes
    next: int
    offset: int


class Copied(Struct, frozen=True):
    """A leaf as it is exported: its line, and its hash."""

    index: int
    line: bytes
    event_hash: bytes


async def part(tx: Any, first: int, end: int, *, offset: int = 0, view: View | None = None) -> Part:
    """The lines from `first` on and before `end`, at most `PART_BYTES` of them; a long line comes in several parts."""
    parts: list[bytes] = []
    size, following = 0, first
    for copied in await lines(tx, first, end, PART_BYTES, view=view):
        text = copied.line if parts else copied.line[offset:]
        if size + len(text) > PART_BYTES:
            if not parts:
                return Part(text[:PART_BYTES], first, offset + PART_BYTES)
            break
        parts.append(text)
        size += len(text)
        following = copied.index + 1
    return Part(b"".join(parts), following, 0)


async def lines(tx: Any, first: int, end: int, most: int, *, view: View | None = None) -> list[Copied]:
    """The next leaves from `first` on, as many as fit into about `most` bytes, and at least one.

    Raises:
        Missing: the log has no leaf `first`, although one was said to be there.
    """
    if first >= end:
        return []
    until = min(end, first + ROWS)
    if view is None:
        rows = await tx.fetch(_WHOLE, first, until, most)
    else:
        rows = await tx.fetch(_SEEN, first, until, most, view.tenant, *filters(view.scope))
    if not rows or rows[0]["index"] != first or rows[-1]["index"] != first + len(rows) - 1:
        raise Missing(f"the database does not hold the leaves from {first} on")
    return [Copied(row["index"], _line(row, whole=view is None), row["event_hash"]) for row in rows]


class Missing(Exception):
    """A leaf that must be there is not."""


def _line(row: Any, *, whole: bool) -> bytes:
    leaf = row["leaf"]
    if leaf is None or not (whole or row["kind"] != CONTROL or orjson.loads(leaf)["body"]["type"] in FOR_ALL):
        return hidden_line(row["index"], row["event_hash"])
    return line(row["index"], leaf, row["payload"], row["salt"])
