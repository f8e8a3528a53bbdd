"""What the log has signed, and the tiles that its root and proofs are computed from, in Postgres.

Of each level above the leaves a tile's row grows until it is full. What is read here is believed by nobody: a root must
be the one that the writer committed, and a proof must prove.
"""

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from libs.common.database import Database, Tx
from libs.tlog.growth import Growth, pending_widths
from libs.tlog.note import cosigned, parse_note
from libs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile
from libs.tlog.tree import HASH_BYTES

PAGE: Final = 1024
HASHES_AT_ONCE: Final = 16_384

_NEWEST: Final = "SELECT size, root, note, made_at FROM checkpoint ORDER BY size DESC LIMIT 1"
_AT: Final = "SELECT size, root, note, made_at FROM checkpoint WHERE size = $1"
_COSIGNED: Final = """
SELECT size, root, note, made_at FROM checkpoint WHERE size = (SELECT max(size) FROM cosignature)
"""
_COSIGNATURES: Final = "SELECT name, key_id, line, signed_at FROM cosignature WHERE size = $1 ORDER BY name, key_id"
_INSERT: Final = "INSERT INTO checkpoint (size, root, note) VALUES ($1, $2, $3) ON CONFLICT (size) DO NOTHING"
_TILES: Final = """
INSERT INTO tile AS known (level, n, hashes) SELECT * FROM unnest($1::smallint[], $2::bigint[], $3::bytea[])
ON CONFLICT (level, n) DO UPDATE SET hashes = excluded.hashes
WHERE octet_length(excluded.hashes) > octet_length(known.hashes)
"""
_ROW: Final = "SELECT hashes FROM tile WHERE level = $1 AND n = $2"
_ROWS: Final = """
SELECT level, n, hashes FROM tile JOIN unnest($1::smallint[], $2::bigint[]) AS wanted(level, n) USING (level, n)
"""
_LOWEST: Final = """
SELECT tile.first, run.hashes FROM unnest($1::bigint[], $2::bigint[]) AS tile(first, width), LATERAL (
  SELECT string_agg(event_hash, ''::bytea ORDER BY index) AS hashes FROM leaf
  WHERE index >= tile.first AND index < tile.first + tile.width) AS run
"""
_HASHES: Final = "SELECT event_hash FROM leaf WHERE index >= $1 AND index < $2 ORDER BY index"
_LEAVES: Final = "SELECT leaf FROM leaf WHERE index >= $1 AND index < $2 ORDER BY index"
_FORK: Final = "INSERT INTO fork (size, root, note) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_FORKED: Final = "SELECT size, array_agg(encode(root, 'hex') ORDER BY seen_at) AS roots FROM fork GROUP BY 1 ORDER BY 1"


class Made(Struct, frozen=True):
    """A checkpoint as it is stored; `note` is what was signed, byte for byte; empty where nobody signed the root."""

    size: int
    root: bytes
    note: bytes = b""
    made_at: datetime | None = None


class Incomplete(Exception):
    """Leaves or tiles that must be there are not."""


async def newest(tx: Any) -> Made | None:
    """The checkpoint of the largest size."""
    row = await tx.fetchrow(_NEWEST)
    return None if row is None else Made(*row)


async def at(tx: Any, size: int) -> Made | None:
    """The checkpoint of this size."""
    row = await tx.fetchrow(_AT, size)
    return None if row is None else Made(*row)


async def newest_cosigned(tx: Any) -> Made | None:
    """The checkpoint of the largest size that a witness has signed."""
    row = await tx.fetchrow(_COSIGNED)
    return None if row is None else Made(*row)


async def cosignatures(tx: Any, size: int) -> list[Any]:
    """What witnesses have said of this size: name, key_id, line and signed_at."""
    return list(await tx.fetch(_COSIGNATURES, size))


async def with_cosignatures(tx: Any, made: Made) -> Made:
    """The checkpoint with its witnesses' lines beneath the log's own, as it is given out."""
    lines = [row["line"] for row in await cosignatures(tx, made.size)]
    return replace(made, note=cosigned(made.note, lines)) if lines else made


def as_signed(note: bytes) -> bytes:
    """A checkpoint's note with the log's own lines alone, as it is stored: witnesses' lines stand beside it."""
    text, lines = parse_note(note)
    origin = text.partition("\n")[0]
    return f"{text}\n{''.join(line.line() for line in lines if line.name == origin)}".encode()


async def keep(tx: Tx, size: int, root: bytes, note: bytes, tiles: Mapping[Tile, bytes]) -> Made:
    """Store a checkpoint with the tiles that have grown; where one of this size is stored already, that one stays."""
    above = [(tile.level, tile.n, raw) for tile, raw in tiles.items()]
    columns = [list(column) for column in zip(*above, strict=True)] if above else [[], [], []]
    await tx.execute(_TILES, *columns)
    await tx.execute(_INSERT, size, root, note)
    made = await at(tx, size)
    assert made is not None
    return made


async def growth(tx: Any, size: int) -> Growth:
    """The log at a size for which there is a checkpoint, or a multiple of 256 below one.

    Raises:
        Incomplete: leaves or tiles are missing.
    """
    rows = []
    for level, width in enumerate(pending_widths(size)):
        n = size >> (TILE_HEIGHT * (level + 1))
        rows.append(await _row(tx, Tile(level, n, width)) if width else [])
    return Growth(size, rows)


async def _row(tx: Any, tile: Tile) -> list[bytes]:
    if tile.level:
        raw = await tx.fetchval(_ROW, tile.level, tile.n) or b""
    else:
        raw = b"".join([row[0] for row in await tx.fetch(_HASHES, tile.first, tile.first + tile.width)])
    return _cut(raw, tile)


async def rows(tx: Any, tiles: Iterable[Tile]) -> dict[str, bytes]:
    """These tiles' bytes by their paths, in two reads.

    Raises:
        Incomplete: one is missing, or narrower than it must be.
    """
    wanted = list(tiles)
    above = [tile for tile in wanted if tile.level]
    found = await tx.fetch(_ROWS, [tile.level for tile in above], [tile.n for tile in above]) if above else []
    stored = {(row["level"], row["n"]): row["hashes"] for row in found}
    lowest = [tile for tile in wanted if not tile.level]
    runs = await tx.fetch(_LOWEST, [tile.first for tile in lowest], [tile.width for tile in lowest]) if lowest else []
    stored |= {(0, row["first"] // TILE_WIDTH): row["hashes"] or b"" for row in runs}
    return {tile.path: b"".join(_cut(stored.get((tile.level, tile.n), b""), tile)) for tile in wanted}


def _cut(raw: bytes, tile: Tile) -> list[bytes]:
    if len(raw) < tile.width * HASH_BYTES:
        raise Incomplete(f"{tile.path} is incomplete in the database")
    return [raw[at : at + HASH_BYTES] for at in range(0, tile.width * HASH_BYTES, HASH_BYTES)]


async def grown(tx: Any, tree: Growth, size: int) -> dict[Tile, bytes]:
    """Let a log grow to `size` by the hashes that are stored; returns the tiles above the leaves that grow with it.

    Raises:
        Incomplete: a leaf is missing.
    """
    tiles: dict[Tile, bytes] = {}
    while tree.size < size:
        until = min(tree.size + HASHES_AT_ONCE, size)
        found = await tx.fetch(_HASHES, tree.size, until)
        if len(found) != until - tree.size:
            raise Incomplete(f"the log has no {until - tree.size} leaves from index {tree.size} on")
        for row in found:
            tiles.update([filled for filled in tree.append(row[0]) if filled[0].level])
    return tiles | {tile: raw for tile, raw in tree.unfinished() if tile.level}


async def leaves(database: Database, first: int, end: int) -> AsyncIterator[bytes]:
    """The leaves of these indexes, in order, a page at a time.

    Raises:
        Incomplete: one is missing.
    """
    for start in range(first, end, PAGE):
        until = min(start + PAGE, end)
        found = await database.pool.fetch(_LEAVES, start, until)
        if len(found) != until - start:
            raise Incomplete(f"the log has no {until - start} leaves from index {start} on")
        for row in found:
            yield row[0]


async def forked(tx: Tx, size: int, roots: Mapping[bytes, bytes]) -> None:
    """Keep both notes of a size that has two roots."""
    await tx.executemany(_FORK, [(size, root, note) for root, note in roots.items()])


async def forks(tx: Any) -> list[tuple[int, list[str]]]:
    """Sizes with more than one root, and the roots."""
    return [(row["size"], row["roots"]) for row in await tx.fetch(_FORKED)]


def first_of_tile(size: int) -> int:
    """The index at which the lowest tile begins that a log of this size has not filled."""
    return size - size % TILE_WIDTH
