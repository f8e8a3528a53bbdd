"""The log as lines of JSON, `rr.export/1`: for long keeping, for replay, and to be verified without us.

    {"first":"0","frontier":[],"origin":"…","shows":"all","v":"rr.export/1"}
    {"index":"0","leaf":{…},"payload":"<base64>","salt":"<base64>"}
    {"index":"1","leaf":{…},"payload":null,"salt":null}
    {"index":"2","hash":"<hex>"}
    {"checkpoint":"<signed note>","end":"3","v":"rr.export/1"}

Every line ends in a newline and has this one spelling; the first and the last are canonical JSON as leaves are. A leaf
stands as the bytes that are hashed: all between `"leaf":` and the line's last `,"payload":`. Payload and salt are null
for leaves that are no events, and where a later redaction leaf says that the payload is gone.

`frontier` holds the hashes, in base64, of the perfect subtrees before leaf `first`, the largest first: an export may
begin anywhere. Files continue each other, each beginning where the last one ended; a file that was cut off has no last
line and is not accepted. The last file's checkpoint is of its end's size; the others may leave theirs empty.

A key that a key_rotation leaf announces is believed once a checkpoint by a believed key covers that leaf: the file's
before, or the one that the auditor holds.

Where `shows` is `some`, the reader may not see everything: payloads are null without a redaction, and of leaves only
the hash may be given. The tree is verified all the same; what was withheld is counted, not vouched for.

Memory while verifying: that of a `Walk`, a block and a line. Small blocks (`BLOCK`) are read fastest.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import BrokenLog, FormatError, SignatureError
from libs.tlog.exportlines import (
    ALL,
    MAX_LINE,
    SOME,
    VERSION,
    closing,
    decoded,
    first_of,
    header,
    hidden_line,
    index_of,
    line,
    parse_closing,
    parse_header,
    parse_leaf,
)
from libs.tlog.held import Held, compare
from libs.tlog.note import Verifier
from libs.tlog.spelling import shown
from libs.tlog.usual import usual_lines
from libs.tlog.walk import Walk

__all__ = [  # with the lines themselves
    "ALL",
    "BLOCK",
    "MAX_LINE",
    "SOME",
    "VERSION",
    "Export",
    "Exported",
    "closing",
    "exported",
    "first_of",
    "header",
    "hidden_line",
    "line",
    "verify_export",
]

BLOCK: Final = 64 * 2**10  # bytes: where all its lines are usual events, they are read at once


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export that verifies consists of: leaves `first` up to the checkpoint's size.

    `last` is the last leaf of the stream that was shown, with its index; `withheld` and `bare` count leaves and
    payloads that were not; `announced` are new keys with the leaves that name them; `old` is the auditor's own
    checkpoint that the log was found to continue; `kept` are events redacted in the log whose payload is still here.
    """

    first: int
    signed: Signed
    kinds: dict[str, int]
    redacted: list[int]
    withheld: int
    bare: int
    last: tuple[int, bytes] | None
    position: tuple[str, int, int] | None
    announced: list[tuple[int, Verifier]]
    old: Signed | None
    kept: tuple[int, ...] = ()


def verify_export(
    files: Iterable[tuple[str, Iterable[bytes]]], verifiers: Sequence[Verifier], old: Signed | None = None
) -> Exported:
    """Verify files, given as name and blocks of bytes, in the order of their indexes.

    Raises:
        BrokenLog: the first thing that does not hold, with its leaf.
        FormatError, SignatureError: a line that is none, with its file and number; a checkpoint that is not signed.
    """
    export = Export(verifiers, old)
    for name, blocks in files:
        export.read(name, blocks)
    return export.finish()


def exported(walk: Walk, signed: Signed, old: Signed | None) -> Exported:
    """What the walk found, up to its checkpoint."""
    return Exported(
        walk.start, signed, walk.kinds, walk.redacted, walk.withheld, walk.bare, walk.last, walk.position,
        walk.announced, old, tuple(walk.kept),
    )  # fmt: skip


class Export:
    """As `verify_export`, for files that come one by one: `read` each, then `finish`."""

    def __init__(self, verifiers: Sequence[Verifier], old: Signed | None = None) -> None:
        self._verifiers = verifiers
        self._held = Held(old)
        self._walk: Walk | None = None
        self._whole = True
        self._signed: Signed | None = None
        self._vouched = 0  # leaves below that are under a checkpoint that was verified
        self._line = 0
        self._take: Callable[[bytes], None] = self._begin  # what the next line must be

    def read(self, name: str, blocks: Iterable[bytes]) -> None:
        """Verify the next file against all before it; blocks may be cut anywhere. Raises as `verify_export`."""
        self._line, self._take = 0, self._begin
        try:
            for block in _whole_lines(blocks):
                if self._take != self._leaf or not self._usual(block):
                    self._lines(block)
            if self._take != self._nothing:
                raise FormatError("the file is cut off: it has no closing line")  # noqa: TRY301 -- named below
        except (FormatError, SignatureError) as error:
            raise type(error)(f"{name}, line {self._line}: {error}") from None

    def finish(self) -> Exported:
        """What was verified. Raises BrokenLog where the whole is not what a checkpoint says."""
        walk, signed = self._walk, self._signed
        if walk is None:
            raise BrokenLog("there is no export")
        if signed is None:
            raise BrokenLog(f"no checkpoint says that the log has {walk.tree.size} leaves")
        self._held.finish(walk)
        walk.finish()
        return exported(walk, signed, self._held.old)

    def _begin(self, text: bytes) -> None:
        said = parse_header(text)
        whole, tree = said.shows == ALL, said.tree
        self._take = self._leaf
        if self._walk is None:
            self._walk, self._whole = Walk(said.origin, tree, withhold=not whole, exported=True), whole
            return
        here = self._walk.tree
        if (said.origin, whole) != (self._walk.origin, self._whole):
            raise FormatError(f"the file is of another export than the one before it: {shown(said.origin)}")
        if (tree.size, tree.to_bytes()) != (here.size, here.to_bytes()):
            raise FormatError(f"the file begins at leaf {tree.size}, or after others, where {here.size} comes next")

    def _usual(self, block: bytes) -> bool:
        """Take in lines that are all usual events; False where one is not, and nothing is taken in."""
        walk, found = self._walk, usual_lines(block)
        if found is None or walk is None:
            return False
        for index, leaf, event, payload, salt in found:
            self._line += 1
            if walk.tree.size == self._held.size:
                self._held.compare(walk)
            walk.add_event(int(index), leaf, event, decoded(payload, "payload"), decoded(salt, "salt"))
        self._signed = None
        return True

    def _lines(self, block: bytes) -> None:
        """Take in lines one by one."""
        for text in BytesIO(block):
            self._line += 1
            self._take(text)

    def _leaf(self, text: bytes) -> None:
        """Take in a leaf's line, or the closing one."""
        walk, index = self._walk, index_of(text)
        assert walk is not None
        if walk.tree.size == self._held.size:
            self._held.compare(walk)
        if index is None:
            self._end(text)
            self._take = self._nothing
            return
        if index != walk.tree.size:
            raise BrokenLog(walk.displaced(index), index=index)
        found = parse_leaf(text)
        if found.leaf is None:
            walk.hide(index, found.event_hash)
        else:
            walk.add(index, found.leaf, found.payload, found.salt)
        self._signed = None

    def _nothing(self, _text: bytes) -> None:
        raise FormatError("something follows the closing line")

    def _end(self, text: bytes) -> None:
        walk = self._walk
        assert walk is not None
        said = parse_closing(text)
        if said.end != walk.tree.size:
            raise FormatError(f"the file ends at {walk.tree.size} leaves, its closing line says {said.end}")
        if said.checkpoint:
            self._signed = open_checkpoint(said.checkpoint, self._keys(walk))
            compare(self._signed, walk)
            self._vouched = said.end

    def _keys(self, walk: Walk) -> list[Verifier]:
        """The auditor's keys, and those that the log announced in leaves that a checkpoint by such a key covers."""
        vouched = max(self._vouched, self._held.size if self._held.compared else 0)
        return [*self._verifiers, *(key for index, key in walk.announced if index < vouched)]


def _whole_lines(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut behind newlines; a last line without one comes by itself."""
    rest = b""
    for block in blocks:
        rest += block
        cut = rest.rfind(b"\n") + 1
        if cut:
            yield rest[:cut]
            rest = rest[cut:]
        if len(rest) > MAX_LINE:
            raise FormatError(f"a line has at most {MAX_LINE} bytes")
    if rest:
        yield rest
