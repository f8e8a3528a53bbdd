"""An event's leaf as nearly all are, read by one pattern: at a third of the cost of parsing, checking and encoding it.

Whatever the pattern takes is canonical and holds every rule of `shape.check`; what it leaves, `event_of` reads from
the parsed leaf. Usual are printable ASCII without escapes, one tenant, no refs, a UTC time.
"""

import re
from datetime import date
from functools import lru_cache
from typing import Final, TypeAlias

from libs.tlog.shape import MAX_LEAF, MAX_NAME, VERSION, Leaf

Link: TypeAlias = tuple[str, bytes, bytes, bytes]
"""(kind, chain's id, n in digits, prev in hex)."""

Event: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes, bytes, list[Link]]
"""What verifying needs of an event's leaf: (id, source, log, commit in hex, length, epoch, seq, stream, links)."""

_PRINTABLE: Final = bytes(char for char in range(0x20, 0x7F) if char != 0x5C)
_TEXT: Final = r'"[^"]++"'
_KEPT: Final = r'"([^"]++)"'
_NAME: Final = rf'"([^"]{{1,{MAX_NAME}}}+)"'
_NUMBER: Final = r'"(0|[1-9][0-9]{0,18})"'
_COUNT: Final = r'"([1-9][0-9]{0,18})"'
_HASH: Final = r'"([0-9a-f]{64})"'
_TIME: Final = r'"(\d{4}-\d\d-\d\d)T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d{6})?Z"'
_STAMP: Final = r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"'


def _chain(kind: str) -> str:
    """A link, and what must stand behind it: another one after a comma, or the end."""
    return rf'(?:\{{"id":{_NAME},"k":"{kind}","n":{_COUNT},"prev":{_HASH}\}}(?:,(?=\{{)|(?=\])))?+'


_PATTERN: Final = re.compile(
    rf'\{{"agg":\{{"id":{_TEXT},"type":{_TEXT},"version":"(?:0|[1-9][0-9]{{0,18}})"\}}'
    rf',"chains":\[{_chain("execution")}{_chain("incident")}{_chain("runbook")}\]'
    rf',"ev":\{{"actor":{_TEXT},"causation":"[^"]*+","correlation":{_TEXT},"id":{_NAME},"source":{_NAME}'
    rf',"tenant":"(?P<tenant>[^"]++)","tenants":\["(?P=tenant)"\],"time":{_TIME},"type":{_TEXT}\}}'
    rf',"kind":"event","log":{_KEPT},"payload":\{{"commit":{_HASH},"ct":{_TEXT},"len":{_NUMBER}\}},"refs":\[\]'
    rf',"src":\{{"epoch":{_NUMBER},"seq":{_COUNT},"stream":{_KEPT},"subject":{_TEXT},"ts":{_STAMP}\}}'
    rf',"v":"{VERSION}"\}}'.encode()
).fullmatch


def usual_event(leaf: bytes) -> Event | None:
    """What the leaf says, when it is a valid event as nearly all are; None says nothing about it."""
    found = None if len(leaf) > MAX_LEAF or leaf.translate(None, _PRINTABLE) else _PATTERN(leaf)
    if found is None:
        return None
    (
        execution, n_execution, prev_execution, incident, n_incident, prev_incident, runbook, n_runbook, prev_runbook,
        event_id, source, _, day, log, commitment, length, epoch, seq, stream,
    ) = found.groups()  # fmt: skip
    if not _is_day(day):
        return None
    links: list[Link] = []
    if execution is not None:
        links.append(("execution", execution, n_execution, prev_execution))
    if incident is not None:
        links.append(("incident", incident, n_incident, prev_incident))
    if runbook is not None:
        links.append(("runbook", runbook, n_runbook, prev_runbook))
    return event_id, source, log, commitment, length, epoch, seq, stream, links


def event_of(leaf: Leaf) -> Event:
    """The same of a parsed event leaf that holds every rule."""
    ev, payload, src = leaf["ev"], leaf["payload"], leaf["src"]
    links: list[Link] = [
        (link["k"], link["id"].encode(), link["n"].encode(), link["prev"].encode()) for link in leaf["chains"]
    ]
    texts = (ev["id"], ev["source"], leaf["log"], payload["commit"], payload["len"])
    event_id, source, log, commitment, length = (text.encode() for text in texts)
    epoch, seq, stream = (src[key].encode() for key in ("epoch", "seq", "stream"))
    return event_id, source, log, commitment, length, epoch, seq, stream, links


@lru_cache(maxsize=1024)
def _is_day(text: bytes) -> bool:
    try:
        date.fromisoformat(text.decode())
    except ValueError:
        return False
    return True
