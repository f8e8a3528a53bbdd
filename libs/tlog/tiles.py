"""The log as static files (C2SP tlog-tiles): tiles of 256 hashes, and bundles of the leaves themselves.

    tile/<level>/<n>[.p/<width>]      hashes of subtrees of 256**level leaves, 32 bytes each
    tile/entries/<n>[.p/<width>]      leaves, each after its length in two bytes

A full tile never changes. A partial one, narrower than 256, belongs to the sizes that end in it.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from libs.tlog.errors import FormatError, ProofError
from libs.tlog.proofs import Hashes
from libs.tlog.tree import HASH_BYTES, node_hash

TILE_HEIGHT: Final = 8
TILE_WIDTH: Final = 1 << TILE_HEIGHT
MAX_ENTRY: Final = 0xFFFF  # bytes: what a length of two bytes says
TILES_KEPT: Final = 64  # by one reader; a proof of the largest log needs 16


def path(level: int, n: int, width: int = TILE_WIDTH) -> str:
    """Where a tile of hashes is."""
    return f"tile/{level}/{_number(n)}{_part(width)}"


def entries_path(n: int, width: int = TILE_WIDTH) -> str:
    """Where a bundle of leaves is."""
    return f"tile/entries/{_number(n)}{_part(width)}"


@dataclass(frozen=True, slots=True)
class Tile:
    """A tile by its place: the first `width` hashes from number n * 256 of its level."""

    level: int
    n: int
    width: int = TILE_WIDTH

    @property
    def path(self) -> str:
        """Where its hashes are."""
        return path(self.level, self.n, self.width)

    @property
    def entries_path(self) -> str | None:
        """Where its leaves are; None above the lowest level."""
        return None if self.level else entries_path(self.n, self.width)

    @property
    def first(self) -> int:
        """The number of its first hash in its level; on the lowest, the first leaf's index."""
        return self.n * TILE_WIDTH


def tiles_to_publish(old_size: int, new_size: int) -> Iterator[Tile]:
    """The tiles that a log of `new_size` leaves has and one of `old_size` had not; the lowest level first.

    Publishing them twice writes the same bytes. Raises ProofError when the log would shrink.
    """
    if not 0 <= old_size <= new_size:
        raise ProofError(f"a log of size {old_size} does not grow to {new_size}")
    level, old, new = 0, old_size, new_size
    while old < new:
        for n in range(old // TILE_WIDTH, new // TILE_WIDTH):
            yield Tile(level, n)
        if new % TILE_WIDTH:
            yield Tile(level, new // TILE_WIDTH, new % TILE_WIDTH)
        level, old, new = level + 1, old // TILE_WIDTH, new // TILE_WIDTH


def tile_of(level: int, n: int, size: int) -> Tile:
    """The n-th tile of a level, as wide as a log of `size` leaves has it. Raises ProofError when it has none."""
    width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - n * TILE_WIDTH) if level >= 0 <= n else 0
    if width < 1:
        raise ProofError(f"a log of size {size} has no tile {n} at level {level}")
    return Tile(level, n, width)


def tile_bytes(tile: Tile, hashes: Hashes) -> bytes:
    """What a tile's file holds."""
    level = TILE_HEIGHT * tile.level
    return b"".join(hashes(level, index) for index in range(tile.first, tile.first + tile.width))


def entries_bundle(leaves: Iterable[bytes]) -> bytes:
    """What a bundle's file holds. Raises FormatError on a leaf whose length two bytes cannot say."""
    parts: list[bytes] = []
    for leaf in leaves:
        if len(leaf) > MAX_ENTRY:
            raise FormatError(f"a leaf of {len(leaf)} bytes does not fit into a bundle")
        parts += (len(leaf).to_bytes(2), leaf)
    return b"".join(parts)


def parse_entries(raw: bytes, width: int) -> list[bytes]:
    """The `width` leaves of a bundle. Raises FormatError when there are more or fewer, or it ends within one."""
    leaves: list[bytes] = []
    at = 0
    while at < len(raw):
        end = at + 2 + int.from_bytes(raw[at : at + 2])
        if at + 2 > len(raw) or end > len(raw):
            raise FormatError(f"the bundle ends within its leaf {len(leaves)}")
        leaves.append(raw[at + 2 : end])
        at = end
    if len(leaves) != width:
        raise FormatError(f"the bundle has {len(leaves)} leaves, not {width}")
    return leaves


def parse_tile(raw: bytes, width: int) -> list[bytes]:
    """The `width` hashes of a tile. Raises FormatError on any other length."""
    if len(raw) != width * HASH_BYTES:
        raise FormatError(f"the tile is {len(raw)} bytes, not {width} hashes of {HASH_BYTES}")
    return [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]


class TileHashes:
    """Hashes of a log of `size` leaves, read from its tiles; they are believed, and only a proof verifies them.

    `fetch` gives the bytes at a path. A few tiles are kept. Raises FormatError on a tile of another length, ProofError
    where the log has no such subtree, and whatever `fetch` raises.
    """

    def __init__(self, fetch: Callable[[str], bytes], size: int) -> None:
        self._fetch = fetch
        self._size = size
        self._kept: OrderedDict[Tile, list[bytes]] = OrderedDict()

    def __call__(self, level: int, index: int) -> bytes:
        """Root of the perfect subtree number `index` of 2**level leaves."""
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise ProofError(f"a log of size {self._size} has no full subtree {index} at level {level}")
        at, inside = divmod(level, TILE_HEIGHT)
        first = index << inside
        tile = tile_of(at, first // TILE_WIDTH, self._size)
        row = self._hashes(tile)[first - tile.first : first - tile.first + (1 << inside)]
        while len(row) > 1:
            row = [node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=True)]
        return row[0]

    def _hashes(self, tile: Tile) -> list[bytes]:
        found = self._kept.pop(tile, None)
        if found is None:
            try:
                found = parse_tile(self._fetch(tile.path), tile.width)
            except FormatError as error:
                raise FormatError(f"{tile.path}: {error}") from None
        self._kept[tile] = found
        if len(self._kept) > TILES_KEPT:
            self._kept.popitem(last=False)
        return found


def _number(n: int) -> str:
    """1234067 is x001/x234/067: no folder has more than a thousand names."""
    last = f"{n % 1000:03d}"
    while n := n // 1000:
        last = f"x{n % 1000:03d}/{last}"
    return last


def _part(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
