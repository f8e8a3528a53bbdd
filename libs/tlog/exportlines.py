"""The lines of an export, `rr.export/1`, written and read one by one; `export.py` says what they are."""

import re
from binascii import Error, a2b_base64, b2a_base64
from dataclasses import dataclass
from typing import Any, Final

from libs.tlog.errors import FormatError, ProfileError
from libs.tlog.profile import encode, parse
from libs.tlog.spelling import base64_bytes, base64_text, number, shown
from libs.tlog.tree import HASH_BYTES, Frontier

VERSION: Final = "rr.export/1"
ALL, SOME = "all", "some"
MAX_LINE: Final = 16 * 2**20  # bytes; an event's payload is at most a mebibyte

_HEADER_KEYS: Final = {"first", "frontier", "origin", "shows", "v"}
_CLOSING_KEYS: Final = {"checkpoint", "end", "v"}
_TAIL: Final = re.compile(rb',"payload":(?:"([^"]*+)","salt":"([^"]*+)"|null,"salt":null)\}\n').fullmatch
_HIDDEN: Final = re.compile(rb'\{"index":"[0-9]+","hash":"([0-9a-f]{64})"\}\n').fullmatch
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
class Head:
    """What a first line says: the log, the tree before the first leaf, and whether `all` is shown, or `some`."""

    origin: str
    tree: Frontier
    shows: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What a leaf's line shows: the leaf, with payload and salt where it has them, or only its hash."""

    index: int
    leaf: bytes | None
    payload: bytes | None = None
    salt: bytes | None = None
    event_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class Closing:
    """What a last line says; the checkpoint is empty where there is none."""

    end: int
    checkpoint: bytes


def parse_header(text: bytes) -> Head:
    """The first line. Raises FormatError when it is no export's."""
    said = _read(text, _HEADER_KEYS, "the first line")
    first = number(said["first"], "first")
    if said["shows"] not in {ALL, SOME} or not isinstance(said["frontier"], list):
        raise FormatError("the first line does not say what the file shows, or where it begins")
    hashes = [base64_bytes(str(item), "a hash of the frontier", length=HASH_BYTES) for item in said["frontier"]]
    if len(hashes) != first.bit_count():
        raise FormatError(f"the frontier of {first} leaves does not have {len(hashes)} hashes")
    return Head(str(said["origin"]), Frontier(first, hashes), str(said["shows"]))


def index_of(text: bytes) -> int | None:
    """The index of the leaf whose line this is; None for what is no leaf's line."""
    found = _INDEX(text)
    return None if found is None else int(found[1])


def parse_leaf(text: bytes) -> Shown:
    """The line of a leaf, shown or not. Raises FormatError when it is none."""
    index = index_of(text)
    prefix = b'{"index":"%d","leaf":' % (index or 0)
    if index is None or not text.startswith(prefix):
        hidden = _HIDDEN(text)
        if index is None or hidden is None:
            raise FormatError(f"not the line of a leaf: {shown(text)}")
        return Shown(index, None, event_hash=bytes.fromhex(hidden[1].decode()))
    cut = text.rfind(b',"payload":')
    tail = _TAIL(text, cut) if cut > 0 else None
    if tail is None:
        raise FormatError(f"not the line of a leaf with its payload and salt: {shown(text[-60:])}")
    payload, salt = tail.groups()
    if payload is None:
        return Shown(index, text[len(prefix) : cut])
    return Shown(index, text[len(prefix) : cut], decoded(payload, "payload"), decoded(salt, "salt"))


def parse_closing(text: bytes) -> Closing:
    """The last line. Raises FormatError when it is none."""
    said = _read(text, _CLOSING_KEYS, "the line")
    return Closing(number(said["end"], "end"), str(said["checkpoint"]).encode())


def decoded(text: bytes, what: str) -> bytes:
    """The bytes of canonical base64, read fast where it is. Raises FormatError."""
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
