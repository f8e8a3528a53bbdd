"""The tree before an index, from the tiles: what an export begins with, and is continued by."""

from typing import Any

from libs.tlog.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, TileHashes, tile_of
from libs.tlog.tree import Frontier
from services.timeline import checkpoints


def subtrees(size: int) -> list[tuple[int, int]]:
    """Level and number of the perfect subtrees that a log of this size consists of, the largest first."""
    levels = [level for level in range(size.bit_length()) if size >> level & 1]
    return [(level, (size >> level) - 1) for level in reversed(levels)]


async def frontier(tx: Any, size: int) -> Frontier:
    """The tree of the first `size` leaves, which a checkpoint must cover.

    Raises:
        Incomplete: leaves or tiles are missing.
    """
    wanted = subtrees(size)
    tiles: dict[Tile, None] = {}
    for level, number in wanted:
        at, inside = divmod(level, TILE_HEIGHT)
        tiles[tile_of(at, (number << inside) // TILE_WIDTH, size)] = None
    hashes = TileHashes((await checkpoints.rows(tx, tiles)).__getitem__, size)
    return Frontier(size, [hashes(*subtree) for subtree in wanted])
