"""Identifiers: UUIDv7, so that keys made later sort later (RFC 9562, section 5.7)."""

import os
import time
import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("6f1d3c1e-4b0a-5c57-9a55-3f6f9a4d7b10")


def new_id() -> str:
    """A fresh UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits."""
    millis = time.time_ns() // 1_000_000
    value = (millis << 80) | int.from_bytes(os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return str(uuid.UUID(int=value))


def derived_id(*parts: str) -> str:
    """The one id of what `parts` name (UUIDv5): equal parts, equal id, in every process and after every restart."""
    return str(uuid.uuid5(_NAMESPACE, "\x1f".join(parts)))


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False
