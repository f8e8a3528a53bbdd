"""The words by which an event's payload is found, and the question that somebody's words make.

A word is a run of letters and digits of one of the payload's texts, in lower case. Names of fields, numbers, UUIDs and
hashes are none: events are found by their ids through columns, and what is different in every event would make most of
the index. Long payloads are found by their beginning.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

import orjson

from libs.common.errors import InvalidInput

TEXT: Final = 4096
"""How many characters of a payload's texts are looked at."""
MOST: Final = 256
WORD: Final = 64
ASKED: Final = 16
_ID_LENGTHS: Final = frozenset({36, 40, 64})
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{40}|[0-9a-f]{64}")
_BREAKS: Final = bytes(code if code > 127 or chr(code).isalnum() else 32 for code in range(256))
_ASKED: Final = re.compile(r"([0-9a-z\u0080-\U0010ffff]+)(\*?)")


def vector(payload: bytes) -> str:
    """A payload's words as Postgres reads a text-search vector; empty for what is not JSON."""
    try:
        read = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return ""
    found = set(_text(read).lower().encode().translate(_BREAKS).split())
    if not found:
        return ""
    if len(found) > MOST or max(map(len, found)) > WORD:
        found = {word.decode()[:WORD].encode() for word in sorted(found)[:MOST]}
    quoted = b"' '".join(found).decode()
    return f"'{quoted}'"


def query(text: str) -> str:
    """A question for all words of `text`, each whole or, with a star behind it, as a beginning.

    Raises:
        InvalidInput: there is no word in it, or too many are.
    """
    found = list(_queried(text.lower()))
    if not found:
        raise InvalidInput("`text` has no word in it.", fix="Letters and digits make words; `resta*` finds restarted.")
    if len(found) > ASKED:
        raise InvalidInput(f"`text` has {len(found)} words; {ASKED} are the most.")
    return " & ".join(found)


def _queried(text: str) -> Iterator[str]:
    for word, star in _ASKED.findall(text):
        yield f"'{word[:WORD]}'{':*' if star else ''}"


def _text(read: Any) -> str:
    """The beginning of the texts, at whatever depth."""
    parts: list[str] = []
    left, waiting = TEXT, [read]
    while waiting and left > 0:
        value = waiting.pop()
        kind = type(value)
        if kind is str:
            if len(value) not in _ID_LENGTHS or not _ID.fullmatch(value):
                parts.append(value)
                left -= len(value) + 1
        elif kind is dict:
            waiting += value.values()
        elif kind is list:
            waiting += value
    return " ".join(parts)[:TEXT]
