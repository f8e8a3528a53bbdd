"""Secrets do not come back: values are masked in every form in which a target may echo them."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "•••"
SHORTEST = 4  # anything shorter would blot out ordinary text
SECRET_HEADER = re.compile(
    r"(?:proxy-)?authorization|(?:set-)?cookie2?|.*(?:token|secret|passw|credential|signature|session|api-?key|auth-?key).*"
    r"|x-auth.*|x-amz-security.*",
    re.IGNORECASE,
)


def is_secret_header(name: str) -> bool:
    """Whether the value of a header must never be shown."""
    return SECRET_HEADER.fullmatch(name) is not None


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The secret values among headers, with the parts that stand alone (after a scheme, a cookie's, a Basic pair)."""
    found: list[str] = []
    for name, value in headers.items():
        if is_secret_header(name):
            found += [value, *_parts(value)]
    return tuple(dict.fromkeys(found))


class Mask:
    """Masks a fixed set of values; longest forms first, so that a part never leaves the rest behind."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values if len(value) >= SHORTEST for form in _forms(value) if len(form) >= SHORTEST}
        ordered = sorted(forms, key=lambda form: (-len(form), form))
        self._pattern = re.compile("|".join(map(re.escape, ordered))) if ordered else None

    def text(self, value: str) -> str:
        """The text with every form of every secret replaced."""
        return self._pattern.sub(MASK, value) if self._pattern else value

    def value(self, value: Any) -> Any:
        """A JSON value with its strings masked, names of members included."""
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(item) for item in value]
        return value


def _parts(value: str) -> list[str]:
    parts = [part for part in re.split(r"[\s;,]+", value) if part]
    parts += [part.partition("=")[2] for part in parts if "=" in part.rstrip("=")]
    parts += [pair for part in parts if (pair := _basic(part))]
    parts += [part.partition(":")[2] for part in parts if ":" in part]
    return [part for part in parts if part and part.lower() not in {"bearer", "basic", "digest", "token"}]


def _basic(part: str) -> str | None:
    try:
        return base64.b64decode(part, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        return None


def _forms(value: str) -> set[str]:
    raw = value.encode()
    forms = {value, quote(value, safe=""), quote_plus(value), quote(value), raw.hex(), raw.hex().upper()}
    forms |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1], value[::-1]}
    for lead in range(3):  # base64 of a text that holds the value, at each of the three alignments
        encoded = base64.b64encode(b"\0" * lead + raw).decode().rstrip("=")
        core = encoded[(0, 2, 3)[lead] : len(encoded) - (1 if (lead + len(raw)) % 3 else 0)]
        forms |= {core, core.replace("+", "-").replace("/", "_")}
    return forms
