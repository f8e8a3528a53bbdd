"""A growing log by its unfinished tiles: root and tiles are those of the log read whole."""

from hashlib import sha256

import pytest

from libs.tlog.errors import ProofError
from libs.tlog.growth import Growth, pending_widths
from libs.tlog.tiles import Tile, TileHashes, tile_bytes, tiles_to_publish
from libs.tlog.tree import Frontier

SIZE = 66_000
HASHES = [sha256(number.to_bytes(4)).digest() for number in range(SIZE)]


def test_tiles_and_roots_are_those_of_the_whole_log() -> None:
    growth, tree = Growth(), Frontier()
    tiles: dict[Tile, bytes] = {}
    for size, leaf in enumerate(HASHES, 1):
        tiles |= dict(growth.append(leaf))
        tree.append(leaf)
        if size % 4999 == 0 or size in {1, 2, 255, 256, 257, 65_535, 65_536, 65_537}:
            assert growth.root() == tree.root()
    tiles |= dict(growth.unfinished())

    assert set(tiles) == set(tiles_to_publish(0, SIZE))
    files = {tile.path: raw for tile, raw in tiles.items()}
    hashes = TileHashes(files.__getitem__, SIZE)
    for tile, raw in tiles.items():
        if tile.level:
            assert tile_bytes(tile, hashes) == raw
    assert files["tile/0/000"] == b"".join(HASHES[:256])


@pytest.mark.parametrize("size", [0, 1, 255, 256, 300, 65_536, 65_800])
def test_it_goes_on_from_its_unfinished_tiles(size: int) -> None:
    whole, part = Growth(), Growth()
    for leaf in HASHES[:size]:
        part.append(leaf)
    for leaf in HASHES:
        whole.append(leaf)
    by_level = {tile.level: raw for tile, raw in part.unfinished()}
    rows = [
        [by_level.get(level, b"")[at : at + 32] for at in range(0, 32 * width, 32)]
        for level, width in enumerate(pending_widths(size))
    ]

    resumed = Growth(size, rows)
    for leaf in HASHES[size:]:
        resumed.append(leaf)

    assert resumed.root() == whole.root()
    assert resumed.unfinished() == whole.unfinished()


def test_rows_that_are_not_those_of_the_size_are_refused() -> None:
    for size, rows in ((1, []), (1, [[HASHES[0]] * 2]), (256, [[]]), (1, [[b"short"]])):
        with pytest.raises(ProofError):
            Growth(size, rows)
