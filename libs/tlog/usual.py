"""An event's leaf as nearly all are, read by one pattern: at a fifth of the cost of parsing, checking and encoding it.

Whatever the pattern takes is canonical and holds every rule of `shape.check`; what it leaves, `event_of` reads from
the parsed leaf. Usual are printable ASCII without escapes, one tenant, one ref at most, a UTC time. `usual_lines` reads
many leaves at once, as an export's lines hold them.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final, TypeAlias

from libs.tlog.shape import MAX_LEAF, MAX_NAME, REF_KINDS, VERSION, Leaf

Event: TypeAlias = tuple[bytes, ...]
"""What verifying needs of an event's leaf, as it stands there: `FIELDS`; chains that it is not in are empty."""

Line: TypeAlias = tuple[bytes, bytes, Event, bytes, bytes]
"""Index, leaf, event, and payload and salt in base64."""

FIELDS: Final = (
    "execution", "execution n", "execution prev", "incident", "incident n", "incident prev",
    "runbook", "runbook n", "runbook prev", "id", "source", "tenant", "day", "log", "commit", "length",
    "epoch", "seq", "stream",
)  # fmt: skip

_PRINTABLE: Final = bytes(char for char in range(0x20, 0x7F) if char != 0x5C)
_HEX: Final = b"0123456789abcdef"
_TEXT: Final = r'"[^"]++"'
_KEPT: Final = r'"([^"]++)"'
_NAME: Final = rf'"([^"]{{1,{MAX_NAME}}}+)"'
_DIGITS: Final = r"(?:0|[1-9][0-9]{0,18})"
_NUMBER: Final = rf'"({_DIGITS})"'
_COUNT: Final = r'"([1-9][0-9]{0,18})"'
_HASH: Final = r'"([^"]{64}+)"'  # that it is hex is seen faster afterwards, of all of them at once
_TIME: Final = r'"(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{6})?Z"'
_STAMP: Final = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"'
_REF: Final = rf'\{{"k":"(?:{"|".join(sorted(REF_KINDS))})","len":"{_DIGITS}","sha256":"[0-9a-f]{{64}}"\}}'


def _chain(kind: str) -> str:
    """A link, and what must stand behind it: another one after a comma, or the end."""
    return rf'(?:\{{"id":{_NAME},"k":"{kind}","n":{_COUNT},"prev":{_HASH}\}}(?:,(?=\{{)|(?=\])))?+'


_LEAF: Final = (
    rf'\{{"agg":\{{"id":{_TEXT},"type":{_TEXT},"version":"{_DIGITS}"\}}'
    rf',"chains":\[{_chain("execution")}{_chain("incident")}{_chain("runbook")}\]'
    rf',"ev":\{{"actor":{_TEXT},"causation":"[^"]*+","correlation":{_TEXT},"id":{_NAME},"source":{_NAME}'
    rf',"tenant":"(?P<tenant>[^"]++)","tenants":\["(?P=tenant)"\],"time":{_TIME},"type":{_TEXT}\}}'
    rf',"kind":"event","log":{_KEPT},"payload":\{{"commit":{_HASH},"ct":{_TEXT},"len":{_NUMBER}\}},"refs":\[(?:{_REF})?+\]'
    rf',"src":\{{"epoch":{_NUMBER},"seq":{_COUNT},"stream":{_KEPT},"subject":{_TEXT},"ts":{_STAMP}\}}'
    rf',"v":"{re.escape(VERSION)}"\}}'
)
_MATCH: Final = re.compile(_LEAF.encode()).fullmatch
_LINES: Final = re.compile(
    rf'^\{{"index":{_NUMBER},"leaf":({_LEAF}),"payload":"([^"]*+)","salt":"([^"]++)"\}}\n'.encode(), re.MULTILINE
).findall


def usual_event(leaf: bytes) -> Event | None:
    """What the leaf says, when it is a valid event as nearly all are; None says nothing about it."""
    if leaf.translate(None, _PRINTABLE):
        return None
    found = _MATCH(leaf)
    if found is None:
        return None
    event = found.groups(b"")
    return event if _is_valid(leaf, event) else None


def usual_lines(block: bytes) -> list[Line] | None:
    """What whole lines say, each with a usual event, payload and salt; None when any of them is something else."""
    if block.translate(None, _PRINTABLE + b"\n"):
        return None
    found = _LINES(block)
    if len(found) != block.count(b"\n"):  # each has one at its end: so many matches leave nothing between them
        return None
    lines = [(line[0], line[1], line[2:-2], line[-2], line[-1]) for line in found]
    return lines if all(_is_valid(line[1], line[2]) for line in lines) else None


def event_of(leaf: Leaf) -> Event:
    """The same of a parsed event leaf that holds every rule."""
    ev, payload, src = leaf["ev"], leaf["payload"], leaf["src"]
    links = {link["k"]: (link["id"], link["n"], link["prev"]) for link in leaf["chains"]}
    chains = [text for kind in ("execution", "incident", "runbook") for text in links.get(kind, ("", "", ""))]
    event = (ev["id"], ev["source"], ev["tenant"], ev["time"][:10])
    texts = (*chains, *event, leaf["log"], payload["commit"], payload["len"], src["epoch"], src["seq"], src["stream"])
    return tuple(text.encode() for text in texts)


def _is_valid(leaf: bytes, event: Event) -> bool:
    """What the pattern leaves to be looked at."""
    hashes = event[2] + event[5] + event[8] + event[14]
    return len(leaf) <= MAX_LEAF and not hashes.translate(None, _HEX) and _is_day(event[12])


@lru_cache(maxsize=1024)
def _is_day(text: bytes) -> bool:
    try:
        date.fromisoformat(text.decode())
    except ValueError:
        return False
    return True
