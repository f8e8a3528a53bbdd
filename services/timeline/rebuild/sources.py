"""Where a lost log still is: exports, and what was published."""

import re
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from msgspec import Struct

from libs.common.objectstore import ObjectStore
from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import BrokenLog, FormatError
from libs.tlog.export import BLOCK, Export, Exported
from libs.tlog.exportlines import MAX_LINE, Closing, first_of
from libs.tlog.note import Verifier
from libs.tlog.tally import Tally
from libs.tlog.tiles import TILE_WIDTH, entries_path, parse_entries
from services.timeline import marks
from services.timeline.marks import Mark, Marks
from services.timeline.press import CHECKPOINT
from services.timeline.rebuild.rows import Copy

SUFFIX: Final = ".jsonl"
MARKS: Final = ".marks"
_SEGMENT: Final = re.compile(r"([0-9]{20})\.jsonl")


class Unmarked(Exception):
    """Files of an export have no marks beside them: who may see their events is not known."""


class File(Struct, frozen=True):
    """One file of an export, by the leaf that it begins with."""

    first: int
    key: str


class Exports:
    """The files of an export in a folder or bucket."""

    def __init__(self, store: ObjectStore, folder: Path | None) -> None:
        self._store = store
        self._folder = folder

    async def files(self) -> list[File]:
        """They in order. Raises FormatError for one that is none."""
        found = [key async for key in self._store.list() if key.endswith(SUFFIX) and "/" not in key]
        return sorted([File(await self._first(key), key) for key in found], key=lambda file: (file.first, file.key))

    async def verify(self, verifiers: Sequence[Verifier]) -> Exported:
        """Verify all of them as one export. Raises TlogError with the first thing that does not hold."""
        export = Export(verifiers)
        for file in await self.files():
            export.read(file.key, await self.blocks(file.key))
        return export.finish()

    async def marks(self, file: File) -> Marks | None:
        """The marks beside a file; None where there are none."""
        raw = await self._store.get(f"{file.key.removesuffix(SUFFIX)}{MARKS}")
        return None if raw is None else marks.decoded(raw)

    async def blocks(self, key: str) -> Iterable[bytes]:
        """A file's bytes: of a folder's as they are read, of a bucket's at once, for segments are small."""
        if self._folder is not None:
            return _read(self._folder / key)
        return [await self._store.get(key) or b""]

    async def copies(self, closings: list[Closing], *, unmarked: bool = False) -> AsyncIterator[Copy]:
        """Every leaf, verified against its commitment; the closing lines are added to `closings` as they come.

        `unmarked`: events without marks are let through, for the fewest eyes.

        Raises:
            TlogError: a file is another one than before, or not of the whole log.
            Unmarked: a file has no marks, or none of an event.
        """
        for file in await self.files():
            beside, tally = await self.marks(file), Tally()
            for shown in tally.read(await self.blocks(file.key)):
                if shown.leaf is None:
                    raise BrokenLog("the leaf is withheld: this is no export of the whole log", index=shown.index)
                mark = None if beside is None else beside.of.get(shown.index)
                if mark is None and not unmarked and b'"kind":"event"' in shown.leaf:
                    raise Unmarked(f"{file.key}: nothing beside it says who may see leaf {shown.index}")
                yield Copy(shown.index, shown.leaf, shown.payload, shown.salt, mark or Mark())
            if tally.place is None or tally.place.closing is None or not tally.place.whole:
                raise FormatError(f"{file.key} is no whole file of the whole log")
            closings.append(tally.place.closing)

    async def _first(self, key: str) -> int:
        if segment := _SEGMENT.fullmatch(key):
            return int(segment[1])
        for block in await self.blocks(key):
            return first_of(block[: block.find(b"\n") + 1][:MAX_LINE])
        raise FormatError(f"{key} is empty")


async def published(store: ObjectStore, verifiers: Sequence[Verifier]) -> Signed | None:
    """The published checkpoint; None where nothing is published. Raises TlogError where none of the keys signed it."""
    raw = await store.get(CHECKPOINT)
    return None if raw is None else open_checkpoint(raw, verifiers)


async def leaves(store: ObjectStore, first: int, size: int) -> AsyncIterator[tuple[int, bytes]]:
    """The published leaves from an index on, of a log of this size, which must have a checkpoint.

    Raises:
        BrokenLog, FormatError: a bundle of leaves is missing, or is none.
    """
    for n in range(first // TILE_WIDTH, -(-size // TILE_WIDTH) if first < size else 0):
        width = min(TILE_WIDTH, size - n * TILE_WIDTH)
        raw, found = await store.get(entries_path(n, width)), width
        if raw is None and width < TILE_WIDTH:
            raw, found = await store.get(entries_path(n)), TILE_WIDTH
        if raw is None:
            raise BrokenLog(f"{entries_path(n, width)} is not published", index=n * TILE_WIDTH)
        for index, leaf in enumerate(parse_entries(raw, found)[:width], n * TILE_WIDTH):
            if index >= first:
                yield index, leaf


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(partial(file.read, BLOCK), b"")
