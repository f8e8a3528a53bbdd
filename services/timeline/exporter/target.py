"""What the target holds.

    00000000000000000000.jsonl    leaves from this index on, `rr.export/1`: these files verify as one export
    00000000000000000000.marks    what of their events no leaf says (`marks.py`), and where the segment ends

Both are made once. Marks without a segment are of one that was about to be written.
"""

import re
from typing import Final

from libs.common.crash import crash_point
from libs.common.objectstore import ObjectStore
from libs.tlog.errors import TlogError
from libs.tlog.tally import Place, Tally
from services.timeline import marks
from services.timeline.marks import Marks

_SEGMENT: Final = re.compile(r"([0-9]{20})\.jsonl")


class Contradiction(Exception):
    """Target and log contradict each other, or what the target holds is no export: somebody has to look."""


def segment_key(first: int) -> str:
    """The name of the segment that begins with this leaf."""
    return f"{first:020d}.jsonl"


def marks_key(first: int) -> str:
    """The name of the marks beside it."""
    return f"{first:020d}.marks"


class Target:
    """A folder or bucket of segments."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def firsts(self) -> list[int]:
        """With which leaves the segments begin, in order.

        Raises:
            StoreUnavailable: not now; as all of these.
        """
        matches = [_SEGMENT.fullmatch(key) async for key in self._store.list()]
        return sorted(int(match[1]) for match in matches if match)

    async def segment(self, first: int) -> bytes:
        """A segment's bytes.

        Raises:
            Contradiction: it is gone.
        """
        raw = await self._store.get(segment_key(first))
        if raw is None:
            raise Contradiction(f"{segment_key(first)} is gone from the target")
        return raw

    async def last(self) -> Place | None:
        """How far the segments go, the last of them computed anew; None where there is none.

        Raises:
            Contradiction: it is no whole segment.
        """
        firsts = await self.firsts()
        return self._place(firsts[-1], await self.segment(firsts[-1])) if firsts else None

    async def marks(self, first: int) -> Marks | None:
        """The marks beside a segment, or of one that is to be written.

        Raises:
            Contradiction: they are none.
        """
        raw = await self._store.get(marks_key(first))
        try:
            return None if raw is None else marks.decoded(raw)
        except TlogError as error:
            raise Contradiction(f"{marks_key(first)}: {error}") from None

    async def write(self, first: int, marked: bytes, segment: bytes) -> Place:
        """Write marks and segment where they are not there; how far the segment goes that is there then.

        It is another's only if that one wrote at the same time, to the same end: a payload may have been redacted
        between the two.

        Raises:
            Contradiction: there are other marks, or another segment.
        """
        ours = self._place(first, segment)
        if not await self._store.create(marks_key(first), marked) and await self._store.get(marks_key(first)) != marked:
            raise Contradiction(f"{marks_key(first)} is another one than the log gives")
        crash_point("export_marks_written")
        there = None if await self._store.create(segment_key(first), segment) else await self.segment(first)
        crash_point("export_segment_written")
        if there is None or there == segment:
            return ours
        theirs = self._place(first, there)
        if (theirs.origin, theirs.tree.size, theirs.tree.to_bytes()) != (
            ours.origin, ours.tree.size, ours.tree.to_bytes(),
        ):  # fmt: skip
            raise Contradiction(f"{segment_key(first)} is another one than the log gives")
        return theirs

    def _place(self, first: int, raw: bytes) -> Place:
        try:
            place = Tally().finish([raw])
        except TlogError as error:
            raise Contradiction(f"{segment_key(first)}: {error}") from None
        if place.closing is None or place.first != first or not place.whole:
            raise Contradiction(f"{segment_key(first)} is no whole segment of the log from leaf {first} on")
        return place
