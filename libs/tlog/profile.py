"""The canonical profile: the part of JCS (RFC 8785) in which one value has one spelling everywhere.

Objects with ASCII keys, arrays and strings; integers are decimal strings; no number, boolean or null.
Inside it, orjson with sorted keys gives the bytes of RFC 8785; outside it the two differ, so everything else is
refused rather than encoded.
"""

import json
import re
from typing import TypeAlias, Union

import orjson

from libs.tlog.errors import ProfileError

Value: TypeAlias = Union[str, list["Value"], dict[str, "Value"]]  # noqa: UP007  a quoted alias cannot use "|"

MAX_DEPTH = 8  # a leaf nests four deep; what nests deeper is no leaf

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")  # up to 19 digits: what a bigint holds, and every sequence is one


def encode(value: Value) -> bytes:
    """Canonical bytes of a value; raises ProfileError when the value lies outside the profile."""
    check(value)
    return encode_checked(value)


def encode_checked(value: Value) -> bytes:
    """As `encode`, for a value whose shape was checked already; still refuses lone surrogates."""
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError as error:
        raise ProfileError(f"cannot be encoded: {error}") from None


def parse(raw: bytes) -> Value:
    """The value of canonical bytes.

    Raises ProfileError for anything that `encode` would not have written: other types, duplicate keys, unsorted
    keys, spaces, other escapes, trailing bytes.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise ProfileError(f"not JSON: {error}") from None
    check(value)
    if encode_checked(value) != raw:
        raise ProfileError(_why_not_canonical(raw))
    return value  # type: ignore[no-any-return]  # check() has just proved it a Value


def check(value: object, depth: int = 0) -> None:
    """Raise ProfileError unless the value lies inside the profile."""
    if isinstance(value, str):
        return
    if depth >= MAX_DEPTH:
        raise ProfileError(f"nested deeper than {MAX_DEPTH}")
    if isinstance(value, list):
        for item in value:
            check(item, depth + 1)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not isinstance(key, str) or not key.isascii():
                raise ProfileError("an object key is not ASCII text")
            check(item, depth + 1)
    else:
        raise ProfileError(f"only objects, arrays and strings are allowed, not {type(value).__name__}")


def is_decimal(text: str) -> bool:
    """Whether the text is a non-negative integer in its only spelling (no sign, no leading zero, <= 19 digits)."""
    return _DECIMAL.fullmatch(text) is not None


def _why_not_canonical(raw: bytes) -> str:
    repeated: list[str] = []

    def notice(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys = [key for key, _ in pairs]
        repeated.extend(key for key in keys if keys.count(key) > 1)
        return dict(pairs)

    try:
        json.loads(raw, object_pairs_hook=notice)
    except (ValueError, RecursionError):
        return "not in canonical form"
    return f"key {repeated[0]!r} occurs twice" if repeated else "not in canonical form"
