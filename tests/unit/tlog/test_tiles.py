import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.errors import FormatError, ProofError
from libs.tlog.leaf import event_hash
from libs.tlog.proofs import consistency_proof, inclusion_proof, root_of, verify_consistency, verify_inclusion
from libs.tlog.tiles import (
    TILE_WIDTH,
    Tile,
    TileHashes,
    entries_bundle,
    entries_path,
    parse_entries,
    path,
    tile_bytes,
    tile_of,
    tiles_to_publish,
)
from libs.tlog.tree import Frontier, node_hash

SIZE = 70_000  # the specification's own example
LEAVES = [event_hash(number.to_bytes(4)) for number in range(SIZE)]
ROWS = [LEAVES]
while len(ROWS[-1]) > 1:
    ROWS.append([node_hash(*pair) for pair in zip(ROWS[-1][::2], ROWS[-1][1::2], strict=False)])


def hashes(level: int, index: int) -> bytes:
    return ROWS[level][index]


def root(size: int) -> bytes:
    tree = Frontier()
    for leaf in LEAVES[:size]:
        tree.append(leaf)
    return tree.root()


def published(*sizes: int) -> dict[str, bytes]:
    """The files of a log that was published at these sizes."""
    files: dict[str, bytes] = {}
    before = 0
    for size in sizes:
        for tile in tiles_to_publish(before, size):
            raw = tile_bytes(tile, hashes)
            assert files.setdefault(tile.path, raw) == raw
        before = size
    return files


def test_paths_are_those_of_the_specification() -> None:
    assert path(0, 1234067) == "tile/0/x001/x234/067"
    assert path(3, 0) == "tile/3/000"
    assert path(1, 999, 17) == "tile/1/999.p/17"
    assert path(1, 1000) == "tile/1/x001/000"
    assert entries_path(273, 112) == "tile/entries/273.p/112"


def test_a_log_of_70000_has_the_tiles_that_the_specification_counts() -> None:
    tiles = list(tiles_to_publish(0, SIZE))

    assert sum(tile.level == 0 and tile.width == TILE_WIDTH for tile in tiles) == 273
    assert [tile for tile in tiles if tile.width != TILE_WIDTH] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert [tile for tile in tiles if tile.level and tile.width == TILE_WIDTH] == [Tile(1, 0)]
    assert tiles[0].entries_path == "tile/entries/000"
    assert tiles[-1].entries_path is None


def test_a_log_of_256_has_a_full_tile_and_one_hash_above_it() -> None:
    assert list(tiles_to_publish(0, 256)) == [Tile(0, 0), Tile(1, 0, 1)]


@given(st.lists(st.integers(0, 2000), min_size=1, max_size=6))
def test_however_a_log_grows_every_tile_of_its_last_size_is_published(sizes: list[int]) -> None:
    growth = sorted(sizes)

    files = published(*growth)

    assert published(growth[-1]).items() <= files.items()


def test_nothing_is_published_again_for_the_same_size_and_no_log_shrinks() -> None:
    assert list(tiles_to_publish(500, 500)) == []
    with pytest.raises(ProofError, match="does not grow"):
        list(tiles_to_publish(500, 499))


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, SIZE])
def test_proofs_are_made_from_the_files_alone(size: int) -> None:
    files = published(size)
    reader = TileHashes(files.__getitem__, size)

    assert root_of(size, reader) == root(size)
    for index in {0, size // 3, size // 2, size - 1}:
        verify_inclusion(LEAVES[index], index, size, inclusion_proof(index, size, reader), root(size))
    for old in {1, size // 3 + 1, size}:
        verify_consistency(old, size, root(old), root(size), consistency_proof(old, size, reader))


def test_a_proof_of_one_leaf_reads_a_few_files() -> None:
    files, read = published(SIZE), list[str]()

    def fetch(name: str) -> bytes:
        read.append(name)
        return files[name]

    inclusion_proof(12345, SIZE, TileHashes(fetch, SIZE))

    assert len(read) == len(set(read)) <= 5


def test_a_tampered_tile_gives_a_proof_that_does_not_hold() -> None:
    files = published(1000)
    files["tile/0/001"] = files["tile/0/001"][:-1] + b"\0"

    proof = inclusion_proof(300, 1000, TileHashes(files.__getitem__, 1000))

    with pytest.raises(ProofError):
        verify_inclusion(LEAVES[300], 300, 1000, proof, root(1000))


def test_a_tile_of_another_length_is_refused_by_its_name() -> None:
    files = published(1000)
    files["tile/0/001"] += b"\0"

    with pytest.raises(FormatError, match="tile/0/001: the tile is 8193 bytes, not 256 hashes of 32"):
        TileHashes(files.__getitem__, 1000)(0, 300)


@pytest.mark.parametrize(("level", "index"), [(0, 1000), (3, 125), (10, 0), (0, -1), (-1, 0), (70, 0)])
def test_what_the_log_does_not_have_is_refused(level: int, index: int) -> None:
    with pytest.raises(ProofError):
        TileHashes(published(1000).__getitem__, 1000)(level, index)


def test_a_tile_is_as_wide_as_its_log() -> None:
    assert tile_of(0, 3, 1000) == Tile(0, 3, 232)
    assert tile_of(1, 0, 1000) == Tile(1, 0, 3)
    for level, n in ((0, 4), (2, 0), (0, -1), (-1, 0)):
        with pytest.raises(ProofError, match="has no tile"):
            tile_of(level, n, 1000)


@given(st.lists(st.binary(max_size=300), max_size=20))
def test_leaves_come_back_out_of_a_bundle(leaves: list[bytes]) -> None:
    assert parse_entries(entries_bundle(leaves), len(leaves)) == leaves


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\0", "ends within its leaf 0"),
        (b"\0\2a", "ends within its leaf 0"),
        (b"\0\1a\0", "ends within its leaf 1"),
        (b"\0\1a", "has 1 leaves, not 2"),
        (b"\0\0" * 3, "has 3 leaves, not 2"),
    ],
)
def test_a_bundle_that_is_not_whole_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        parse_entries(raw, 2)


def test_a_leaf_too_long_for_a_bundle_is_refused() -> None:
    assert len(entries_bundle([bytes(65_535)])) == 65_537
    with pytest.raises(FormatError, match="65536 bytes does not fit"):
        entries_bundle([bytes(65_536)])
