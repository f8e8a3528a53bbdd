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

import re
from binascii import Error, a2b_base64, b2a_base64
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import BrokenLog, FormatError, ProfileError, SignatureError
from libs.tlog.held import Held, compare
from libs.tlog.note import Verifier
from libs.tlog.profile import encode, parse
from libs.tlog.spelling import base64_bytes, base64_text, number, shown
from libs.tlog.tree import HASH_BYTES, Frontier
from libs.tlog.usual import usual_lines
from libs.tlog.walk import Walk

VERSION: Final = "rr.export/1"
ALL, SOME = "all", "some"
BLOCK: Final = 64 * 2**10  # bytes: where all its lines are usual events, they are read at once
MAX_LINE: Final = 16 * 2**20  # bytes; an event's payload is at most a mebibyte

_HEADER_KEYS: Final = {"first", "frontier", "origin", "shows", "v"}
_CLOSING_KEYS: Final = {"checkpoint", "end", "v"}
_TAIL: Final = re.compile(rb',"payload":(?:"([^"]*+)","salt":"([^"]*+)"|null,"salt":null)\}\n').fullmatch
_HIDDEN: Final = re.compile(rb'\{"index":"([0-9]+)","hash":"([0-9a-f]{64})"\}\n').fullmatch
_INDEX: Final = re.compile(rb'\{"index":"(0|[1-9][0-9]{0,18})",').match


def header(origin: str, tree: Frontier, *, whole: bool = True) -> bytes:
    """The first line of a file that begins after the leaves of `tree`; not `whole`: something may be withheld."""
    raw = tree.to_bytes()
    frontier = [base64_text(raw[at : at + HASH_BYTES]) for at in range(0, len(raw), HASH_BYTES)]
    shows = ALL if whole else SOME
    return encode(
        {"first": str(tree.size), "frontier": [*frontier], "origin": origin, "shows": shows, "v": VERSION}
    ) + b"\n"  # fmt: skip


def line(index: int, leaf: bytes, payload: bytes | None = None, salt: bytes | None = None) -> bytes:
    """The line of a leaf."""
    if payload is None or salt is None:
        return b'{"index":"%d","leaf":%b,"payload":null,"salt":null}\n' % (index, leaf)
    texts = (b2a_base64(payload, newline=False), b2a_base64(salt, newline=False))
    return b'{"index":"%d","leaf":%b,"payload":"%b","salt":"%b"}\n' % (index, leaf, *texts)


def hidden_line(index: int, event_hash: bytes) -> bytes:
    """The line of a leaf that the reader may not see."""
    return b'{"index":"%d","hash":"%b"}\n' % (index, event_hash.hex().encode())


def closing(end: int, checkpoint: bytes = b"") -> bytes:
    """The last line of a file that ends before leaf `end`."""
    return encode({"checkpoint": checkpoint.decode(), "end": str(end), "v": VERSION}) + b"\n"


def first_of(head: bytes) -> int:
    """The index at which the file with this first line begins. Raises FormatError when it is no export's."""
    return number(_read(head, _HEADER_KEYS, "the first line")["first"], "first")


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export that verifies consists of: leaves `first` up to the checkpoint's size.

    `last` is the last leaf of the stream that was shown, with its index; `withheld` and `bare` count leaves and
    payloads that were not; `announced` are new keys with the leaves that name them; `old` is the auditor's own
    checkpoint that the log was found to continue.
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
        walk.announced, old,
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
        said = _read(text, _HEADER_KEYS, "the first line")
        first = number(said["first"], "first")
        if said["shows"] not in {ALL, SOME} or not isinstance(said["frontier"], list):
            raise FormatError("the first line does not say what the file shows, or where it begins")
        hashes = [base64_bytes(str(item), "a hash of the frontier", length=HASH_BYTES) for item in said["frontier"]]
        if len(hashes) != first.bit_count():
            raise FormatError(f"the frontier of {first} leaves does not have {len(hashes)} hashes")
        whole, tree = said["shows"] == ALL, Frontier(first, hashes)
        self._take = self._leaf
        if self._walk is None:
            self._walk, self._whole = Walk(str(said["origin"]), tree, withhold=not whole), whole
            return
        here = self._walk.tree
        if (said["origin"], whole) != (self._walk.origin, self._whole):
            raise FormatError(f"the file is of another export than the one before it: {shown(said['origin'])}")
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
            walk.add_event(int(index), leaf, event, _decoded(payload, "payload"), _decoded(salt, "salt"))
        self._signed = None
        return True

    def _lines(self, block: bytes) -> None:
        """Take in lines one by one."""
        for text in BytesIO(block):
            self._line += 1
            self._take(text)

    def _leaf(self, text: bytes) -> None:
        """Take in a leaf's line, or the closing one."""
        walk = self._walk
        assert walk is not None
        if walk.tree.size == self._held.size:
            self._held.compare(walk)
        prefix = b'{"index":"%d","leaf":' % walk.tree.size
        if not text.startswith(prefix):
            self._other(walk, text)
            return
        cut = text.rfind(b',"payload":')
        tail = _TAIL(text, cut) if cut > 0 else None
        if tail is None:
            raise FormatError(f"not the line of a leaf with its payload and salt: {shown(text[-60:])}")
        payload, salt = tail.groups()
        if payload is not None:
            payload, salt = _decoded(payload, "payload"), _decoded(salt, "salt")
        walk.add(walk.tree.size, text[len(prefix) : cut], payload, salt)
        self._signed = None

    def _other(self, walk: Walk, text: bytes) -> None:
        """A leaf that is withheld, one that is out of its place, or the closing line."""
        hidden, elsewhere = _HIDDEN(text), _INDEX(text)
        if hidden is not None:
            walk.hide(int(hidden[1]), bytes.fromhex(hidden[2].decode()))
            self._signed = None
        elif elsewhere is not None:
            raise BrokenLog(walk.displaced(int(elsewhere[1])), index=int(elsewhere[1]))
        else:
            self._end(text)
            self._take = self._nothing

    def _nothing(self, _text: bytes) -> None:
        raise FormatError("something follows the closing line")

    def _end(self, text: bytes) -> None:
        walk = self._walk
        assert walk is not None
        said = _read(text, _CLOSING_KEYS, "the line")
        end = number(said["end"], "end")
        if end != walk.tree.size:
            raise FormatError(f"the file ends at {walk.tree.size} leaves, its closing line says {end}")
        if said["checkpoint"]:
            self._signed = open_checkpoint(str(said["checkpoint"]).encode(), self._keys(walk))
            compare(self._signed, walk)
            self._vouched = end

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


def _decoded(text: bytes, what: str) -> bytes:
    try:
        raw = a2b_base64(text)
    except (Error, ValueError):
        raw = b""
    return raw if b2a_base64(raw, newline=False) == text else base64_bytes(text, what)


def _read(text: bytes, keys: set[str], what: str) -> dict[str, Any]:
    try:
        found = parse(text.removesuffix(b"\n")) if text.endswith(b"\n") else None
    except ProfileError as error:
        raise FormatError(f"{what} is not one of {VERSION}: {error}") from None
    if not isinstance(found, dict) or found.keys() != keys or found["v"] != VERSION:
        raise FormatError(f"{what} is not one of {VERSION}: {shown(text)}")
    return found
