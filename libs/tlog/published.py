"""Verifies a log as it is published, from its static files (C2SP tlog-tiles): every leaf, and every tile of hashes.

Payloads are not published; what a leaf commits to is verified with an export. Memory: as a `Walk`, and a tile a level.
"""

from collections.abc import Callable, Sequence
from typing import Final

from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import BrokenLog, FormatError, SignatureError
from libs.tlog.export import Exported, exported
from libs.tlog.hashing import event_hash
from libs.tlog.held import Held, compare
from libs.tlog.note import Verifier
from libs.tlog.tiles import TILE_WIDTH, entries_path, parse_entries, path
from libs.tlog.tree import Frontier
from libs.tlog.walk import Walk

CHECKPOINT: Final = "checkpoint"


def verify_published(
    fetch: Callable[[str], bytes | None], verifiers: Sequence[Verifier], old: Signed | None = None
) -> Exported:
    """Verify the log whose files `fetch` gives by their paths, None where there is none.

    Raises:
        BrokenLog: the first thing that does not hold, with its leaf or tile.
        FormatError, SignatureError: a file that is none, or a checkpoint that is not signed.
    """
    signed = _checkpoint(fetch, verifiers)
    walk, held, tiles = Walk(signed.checkpoint.origin, withhold=True), Held(old), _Tiles(fetch)
    size = signed.checkpoint.size
    for n in range(-(-size // TILE_WIDTH)):
        for leaf in _leaves(fetch, n, min(TILE_WIDTH, size - n * TILE_WIDTH)):
            if walk.tree.size == held.size:
                held.compare(walk)
            walk.add(walk.tree.size, leaf)
            tiles.add(event_hash(leaf))
    tiles.finish()
    compare(signed, walk)
    held.finish(walk)
    return exported(walk, signed, old)


def _checkpoint(fetch: Callable[[str], bytes | None], verifiers: Sequence[Verifier]) -> Signed:
    raw = fetch(CHECKPOINT)
    if raw is None:
        raise FormatError("there is no checkpoint")
    try:
        return open_checkpoint(raw, verifiers)
    except (FormatError, SignatureError) as error:
        raise type(error)(f"{CHECKPOINT}: {error}") from None


def _leaves(fetch: Callable[[str], bytes | None], n: int, width: int) -> list[bytes]:
    """The leaves of a bundle; of the full one where the partial is gone."""
    name = entries_path(n, width)
    raw, found = fetch(name), width
    if raw is None and width < TILE_WIDTH:
        name, found = entries_path(n), TILE_WIDTH
        raw = fetch(name)
    if raw is None:
        raise BrokenLog(f"{name} is missing", index=n * TILE_WIDTH)
    try:
        return parse_entries(raw, found)[:width]
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None


class _Tiles:
    """The tiles that the leaves so far have, each compared with its file once it is complete."""

    def __init__(self, fetch: Callable[[str], bytes | None]) -> None:
        self._fetch = fetch
        self._rows: list[list[bytes]] = []
        self._counts: list[int] = []

    def add(self, digest: bytes, level: int = 0) -> None:
        if level == len(self._rows):
            self._rows.append([])
            self._counts.append(0)
        row = self._rows[level]
        row.append(digest)
        if len(row) < TILE_WIDTH:
            return
        self._compare(level, row)
        tree = Frontier()
        for item in row:
            tree.append(item)
        self._rows[level] = []
        self._counts[level] += 1
        self.add(tree.root(), level + 1)

    def finish(self) -> None:
        """Compare the partial tiles at the end of each level."""
        for level, row in enumerate(self._rows):
            if row:
                self._compare(level, row)

    def _compare(self, level: int, row: list[bytes]) -> None:
        n, width = self._counts[level], len(row)
        raw, wanted = self._fetch(path(level, n, width)), b"".join(row)
        if raw is None and width < TILE_WIDTH:
            full = self._fetch(path(level, n))
            raw = full[: len(wanted)] if full is not None else None
        if raw is None:
            raise BrokenLog(f"{path(level, n, width)} is missing")
        if raw != wanted:
            raise BrokenLog(f"{path(level, n, width)} does not hold the hashes of the leaves")
