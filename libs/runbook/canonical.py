"""Canonical JSON: the bytes that hashes are made over.

The profile: objects with string keys, arrays, strings without lone surrogates, booleans, null and integers within
±(2⁵³ - 1). No floats: their text differs between languages, so a hash over them proves nothing. Keys are sorted by
code point, nothing is escaped that JSON lets stand, no white space. For keys without characters beyond U+FFFF these
are the bytes of RFC 8785.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson

MAX_INTEGER: Final = 2**53 - 1
MAX_DEPTH: Final = 64


class OutsideProfile(ValueError):
    """A value that the hash profile does not hold; the text names where and why."""

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path or 'value'}: {why}")
        self.path = path
        self.why = why


def canonical(value: Any) -> bytes:
    """The canonical bytes of a value.

    Raises:
        OutsideProfile: a float, an integer beyond ±(2⁵³ - 1), a key that is no string, text that is not Unicode,
            a value nested deeper than 64, or a type that JSON does not know.
    """
    if _plain(value, 0):
        with suppress(TypeError):  # text that is not Unicode: where it stands is said below
            return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return canonical_with_care(value)


def canonical_with_care(value: Any) -> bytes:
    """As `canonical`, for whatever `_plain` does not take: it copies, and knows where it is."""
    return orjson.dumps(_checked(value, "", 0), option=orjson.OPT_SORT_KEYS)


def _plain(value: Any, depth: int) -> bool:
    """Whether a value is of plain types and inside the profile: nearly every one is, and needs no copy and no paths."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return depth <= MAX_DEPTH
    if kind is int:
        return depth <= MAX_DEPTH and -MAX_INTEGER <= value <= MAX_INTEGER
    if depth > MAX_DEPTH:
        return False
    if kind is dict:
        return all(type(key) is str and _plain(item, depth + 1) for key, item in value.items())
    return kind is list and all(_plain(item, depth + 1) for item in value)


def _checked(value: Any, path: str, depth: int) -> Any:
    """The value as plain dicts and lists of the profile."""
    if depth > MAX_DEPTH:
        raise OutsideProfile(path, f"nested deeper than {MAX_DEPTH}")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value, path)
    if isinstance(value, int):
        return _integer(value, path)
    if isinstance(value, Mapping):
        return {_key(key, path): _checked(item, _below(path, key), depth + 1) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_checked(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value)]
    if isinstance(value, float):
        raise OutsideProfile(path, "floats are not hashed; write an integer of a smaller unit, or a string")
    raise OutsideProfile(path, f"{type(value).__name__} is not JSON")


def _text(value: str, path: str) -> str:
    try:
        value.encode()
    except UnicodeEncodeError:
        raise OutsideProfile(path, "text holds a lone surrogate") from None
    return str(value)


def _integer(value: int, path: str) -> int:
    if abs(value) > MAX_INTEGER:
        raise OutsideProfile(path, "integers must lie within ±(2^53 - 1); write a string")
    return int(value)


def _key(key: Any, path: str) -> str:
    if not isinstance(key, str):
        raise OutsideProfile(path, f"keys are strings, not {type(key).__name__}")
    return _text(key, path)


def _below(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
