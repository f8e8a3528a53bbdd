"""Reads an export line by line and keeps no more than its tree: for whoever goes on with a file, or makes rows of it.

What is computed anew: indexes without a break, the hash of each leaf, payloads against their leaves' commitments, and
the root under the closing checkpoint. Chains, stream sequences and signatures are for `verify_export` to judge.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from libs.tlog.checkpoint import Checkpoint
from libs.tlog.errors import BrokenLog, FormatError, TlogError
from libs.tlog.exportlines import ALL, Closing, Shown, index_of, parse_closing, parse_header, parse_leaf
from libs.tlog.findings import read_leaf
from libs.tlog.hashing import commit, event_hash
from libs.tlog.note import parse_note
from libs.tlog.shape import EVENT
from libs.tlog.tree import Frontier
from libs.tlog.usual import event_of, usual_event

_COMMIT: Final = 14  # of `usual.FIELDS`
_LENGTH: Final = 15


@dataclass(slots=True)
class Place:
    """How far a file goes: `tree` is that of all leaves before and in it, `bytes` end behind its last whole line.

    `closing` is its last line; None for a file that was cut off.
    """

    origin: str
    whole: bool
    first: int
    tree: Frontier
    bytes: int
    closing: Closing | None = None


class Tally:
    """An export that is read: `place` is None before its first line."""

    def __init__(self) -> None:
        self.place: Place | None = None

    def read(self, blocks: Iterable[bytes]) -> Iterator[Shown]:
        """The leaves of a file whose blocks may be cut anywhere. A last line without its newline is left out.

        Raises:
            BrokenLog, FormatError: a whole line is not what it must be; `place` is before it.
        """
        rest = b""
        for block in blocks:
            *whole, rest = (rest + block).split(b"\n")
            for text in whole:
                shown = self.take(text + b"\n")
                if shown is not None:
                    yield shown

    def finish(self, blocks: Iterable[bytes]) -> Place:
        """Read a file to its end; how far it goes. Raises as `read`, and FormatError where there is no first line."""
        for _ in self.read(blocks):
            pass
        if self.place is None:
            raise FormatError("the file has no first line")
        return self.place

    def take(self, text: bytes) -> Shown | None:
        """Take in the next line, newline included; the leaf, where it is one's. Raises as `read`."""
        place = self.place
        if place is None:
            said = parse_header(text)
            self.place = Place(said.origin, said.shows == ALL, said.tree.size, said.tree, len(text))
            return None
        if place.closing is not None:
            raise FormatError("something follows the closing line")
        index = index_of(text)
        if index is None:
            closing = parse_closing(text)
            _compare(closing, place)
            place.closing = closing
            place.bytes += len(text)
            return None
        if index != place.tree.size:
            raise BrokenLog(f"leaf {place.tree.size} comes next", index=index)
        found = parse_leaf(text)
        _holds(found)
        place.tree.append(found.event_hash if found.leaf is None else event_hash(found.leaf))
        place.bytes += len(text)
        return found


def _holds(found: Shown) -> None:
    """Raise BrokenLog unless the payload is the one that its leaf commits to."""
    leaf, payload, salt = found.leaf, found.payload, found.salt
    if leaf is None or payload is None or salt is None:
        return
    event = usual_event(leaf)
    if event is None:
        read = read_leaf(found.index, leaf)
        event = event_of(read) if read["kind"] == EVENT else None
    try:
        held = event is not None and (commit(payload, salt).hex().encode(), len(payload)) == (
            event[_COMMIT], int(event[_LENGTH]),
        )  # fmt: skip
    except TlogError:
        held = False
    if not held:
        raise BrokenLog("the payload does not match the leaf's commitment", index=found.index)


def _compare(closing: Closing, place: Place) -> None:
    if closing.end != place.tree.size:
        raise FormatError(f"the file ends at {place.tree.size} leaves, its closing line says {closing.end}")
    if not closing.checkpoint:
        return
    said = Checkpoint.parse(parse_note(closing.checkpoint)[0])
    if (said.origin, said.size, said.root) != (place.origin, place.tree.size, place.tree.root()):
        raise BrokenLog(f"the leaves to {place.tree.size} are not those of the checkpoint in the closing line")
