"""A growing log by its unfinished tiles: what its root needs, and each tile as it is finished.

Of each level the row of hashes is kept that no full tile holds yet: at most 255 of them, whatever the log's size.
"""

from collections.abc import Iterable, Sequence

from libs.tlog.errors import ProofError
from libs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile
from libs.tlog.tree import EMPTY_ROOT, HASH_BYTES, Frontier


def pending_widths(size: int) -> list[int]:
    """How many hashes of each level stand in a tile that is not full, in a log of this size; the lowest level first."""
    widths = []
    while size:
        widths.append(size % TILE_WIDTH)
        size >>= TILE_HEIGHT
    return widths


class Growth:
    """A log of `size` leaves; `rows` are the unfinished tiles, as wide as `pending_widths` says. Raises ProofError."""

    def __init__(self, size: int = 0, rows: Sequence[Sequence[bytes]] = ()) -> None:
        self.size = size
        self._rows = [list(row) for row in rows]
        if [len(row) for row in self._rows] != pending_widths(size):
            raise ProofError(f"these are not the unfinished tiles of a log of size {size}")
        if any(len(item) != HASH_BYTES for row in self._rows for item in row):
            raise ProofError(f"a hash of an unfinished tile is not {HASH_BYTES} bytes")

    def append(self, leaf_hash: bytes) -> list[tuple[Tile, bytes]]:
        """Add a leaf by its hash; returns the tiles that it fills, with their bytes, the lowest level first."""
        filled, level, found = [], 0, leaf_hash
        while True:
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level]
            row.append(found)
            if len(row) < TILE_WIDTH:
                break
            filled.append((Tile(level, self.size >> (TILE_HEIGHT * (level + 1))), b"".join(row)))
            self._rows[level], found, level = [], _root(row), level + 1
        self.size += 1
        return filled

    def unfinished(self) -> list[tuple[Tile, bytes]]:
        """The tiles that are not full, with their bytes, the lowest level first."""
        return [
            (Tile(level, self.size >> (TILE_HEIGHT * (level + 1)), len(row)), b"".join(row))
            for level, row in enumerate(self._rows)
            if row
        ]

    def root(self) -> bytes:
        """Root over all leaves so far."""
        tail: list[bytes] = []
        for row in self._rows:
            items = [*row, *tail]
            tail = [_root(items)] if items else []
        return tail[0] if tail else EMPTY_ROOT


def _root(items: Iterable[bytes]) -> bytes:
    """Of a tree that has these as its leaves."""
    tree = Frontier()
    for item in items:
        tree.append(item)
    return tree.root()
