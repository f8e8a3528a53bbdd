"""What a log's rows say of events and its leaves do not, beside each file of leaves: `rr.marks/1`, lines of JSON.

    {"end":"500","first":"0","origin":"…","v":"rr.marks/1"}
    {"clearance":"2","dataschema":"incident.created/1","environment":"prod","index":"0","traceparent":"00-…"}

One line an event, in order, canonical as leaves are. No hash of the log covers them: who may write where they are kept
may widen who sees an event once the log is rebuilt from there.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from msgspec import Struct

from libs.common.contracts.marking import MAX_CLEARANCE, Marking
from libs.tlog.errors import FormatError, ProfileError
from libs.tlog.profile import encode, parse
from libs.tlog.spelling import number, shown

VERSION: Final = "rr.marks/1"
_HEAD: Final = {"end", "first", "origin", "v"}
_LINE: Final = {"clearance", "dataschema", "environment", "index", "traceparent"}


class Mark(Struct, frozen=True):
    """One event's; an unknown one is for the fewest eyes."""

    marking: Marking = Marking("", MAX_CLEARANCE)
    dataschema: str = ""
    traceparent: str = ""


class Marks(Struct, frozen=True):
    """Those of the leaves `first` to before `end`."""

    origin: str
    first: int
    end: int
    of: Mapping[int, Mark]


def encoded(origin: str, first: int, end: int, rows: Iterable[Any]) -> bytes:
    """The file; rows of `entry` in the order of their index."""
    head = encode({"end": str(end), "first": str(first), "origin": origin, "v": VERSION})
    lines = [
        encode(
            {
                "clearance": str(row["clearance"]),
                "dataschema": row["dataschema"],
                "environment": row["environment"],
                "index": str(row["index"]),
                "traceparent": row["traceparent"],
            }
        )
        for row in rows
    ]
    return b"".join(line + b"\n" for line in (head, *lines))


def decoded(raw: bytes) -> Marks:
    """What `encoded` wrote. Raises FormatError."""
    head, *lines = raw.removesuffix(b"\n").split(b"\n")
    said = _read(head, _HEAD)
    if said["v"] != VERSION or not raw.endswith(b"\n"):
        raise FormatError(f"not {VERSION}, or cut off")
    first, end = number(said["first"], "first"), number(said["end"], "end")
    found: dict[int, Mark] = {}
    for line in lines:
        one = _read(line, _LINE)
        index = number(one["index"], "index")
        if not first <= index < end or index in found:
            raise FormatError(f"a mark of leaf {index} between {first} and {end}")
        found[index] = Mark(_marking(one), one["dataschema"], one["traceparent"])
    return Marks(said["origin"], first, end, found)


def _marking(one: Mapping[str, str]) -> Marking:
    try:
        return Marking(one["environment"], number(one["clearance"], "clearance"))
    except ValueError as error:
        raise FormatError(f"a mark cannot be read: {error}") from None


def _read(line: bytes, keys: set[str]) -> dict[str, str]:
    try:
        found = parse(line)
    except ProfileError as error:
        raise FormatError(f"not a line of {VERSION}: {error}") from None
    texts = {key: one for key, one in found.items() if isinstance(one, str)} if isinstance(found, dict) else {}
    if texts.keys() != keys or texts != found:
        raise FormatError(f"not a line of {VERSION}: {shown(line)}")
    return texts
