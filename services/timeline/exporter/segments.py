"""The next segment: how far it goes, and its bytes."""

from typing import Any, Final

from msgspec import Struct

from libs.tlog.checkpoint import Checkpoint
from libs.tlog.exportlines import closing, header
from libs.tlog.note import parse_note
from libs.tlog.tree import Frontier
from services.timeline import checkpoints, copies, marks
from services.timeline.checkpoints import Made
from services.timeline.exporter.target import Contradiction

ROWS: Final = 20_000
_FULL: Final = """
SELECT max(index) + 1 FROM (
  SELECT l.index, row_number() OVER (ORDER BY l.index) AS n,
    sum(octet_length(leaf) + coalesce(octet_length(payload), 0) * 4 / 3 + 180) OVER (ORDER BY l.index) AS total
  FROM leaf AS l LEFT JOIN payload AS p ON p.index = l.index AND p.index >= $1 AND p.index < $2
  WHERE l.index >= $1 AND l.index < $2) AS page
WHERE total <= $3 OR n = 1
"""
_SIGNED: Final = "SELECT max(size) FROM checkpoint WHERE size > $1 AND size <= $2"
_WAITING: Final = """
SELECT extract(epoch FROM clock_timestamp() - min(made_at))::float8 FROM checkpoint WHERE size > $1
"""
_MARKS: Final = """
SELECT index, environment, clearance, dataschema, traceparent FROM entry WHERE index >= $1 AND index < $2
ORDER BY index
"""
_AT_SEQUENCE: Final = "SELECT min(index) FROM leaf WHERE (epoch, seq) >= ((SELECT max(epoch) FROM leaf), $1)"


class Span(Struct, frozen=True):
    """Leaves that are under a checkpoint and not exported: how far one segment goes, and whether that fills it."""

    end: int
    full: bool


def origin_of(made: Made) -> str:
    """The log that a checkpoint is of."""
    return Checkpoint.parse(parse_note(made.note)[0]).origin


async def at_sequence(tx: Any, seq: int) -> int | None:
    """The index of the leaf of this sequence of the newest epoch, or of the next one; None where none is there yet."""
    found: int | None = await tx.fetchval(_AT_SEQUENCE, seq)
    return found


async def waiting(tx: Any, first: int) -> float:
    """For how many seconds the oldest leaf from there on has been under a checkpoint; 0 where none is."""
    found: float | None = await tx.fetchval(_WAITING, first)
    return found or 0.0


async def span(tx: Any, first: int, newest: int, most: int) -> Span:
    """How far the next segment goes: to the last checkpoint that fits into `most` bytes; if none does, as far as fits.

    Raises:
        Missing: the log has no such leaf.
    """
    end: int | None = await tx.fetchval(_FULL, first, min(newest, first + ROWS), most)
    if end is None:
        raise copies.Missing(f"the database does not hold leaf {first}")
    signed: int | None = await tx.fetchval(_SIGNED, first, end)
    return Span(signed or end, full=end < newest)


async def marked(tx: Any, origin: str, first: int, end: int) -> bytes:
    """The marks of a segment."""
    return marks.encoded(origin, first, end, await tx.fetch(_MARKS, first, end))


async def segment(tx: Any, origin: str, tree: Frontier, end: int, most: int) -> bytes:
    """The segment of the leaves after `tree` and before `end`, with the checkpoint of its end where there is one.

    Raises:
        Missing: the log does not hold all of them.
        Contradiction: the checkpoint is of other leaves.
    """
    grown, parts = tree.copy(), [header(origin, tree)]
    while grown.size < end:
        for copied in await copies.lines(tx, grown.size, end, most):
            parts.append(copied.line)
            grown.append(copied.event_hash)
    made = await checkpoints.at(tx, end)
    if made is not None and made.root != grown.root():
        raise Contradiction(f"the database holds other leaves than were signed at size {end}")
    return b"".join([*parts, closing(end, made.note if made else b"")])
