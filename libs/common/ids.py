"""Identifiers: UUIDv7, so that keys made later sort later (RFC 9562, section 5.7).

They are made as text: each step makes and reads dozens, and a `uuid.UUID` on the way costs three times as much.
"""

import hashlib
import os
import re
import time
import uuid
from typing import Final

_NAMESPACE: Final = uuid.UUID("6f1d3c1e-4b0a-5c57-9a55-3f6f9a4d7b10")
_RANDOM_BITS: Final = 74
_CANONICAL: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_latest = 0


def new_id() -> str:
    """A fresh UUIDv7 as text: 48 bits of Unix milliseconds, then 74 random bits; later than all before it in a process.

    Of one millisecond, or while the clock stands back, each is the one before it and a random step (method 2 of the
    RFC's section 6.2).
    """
    global _latest  # noqa: PLW0603 — what makes ids ascend is the process's, like the clock
    fresh = (time.time_ns() // 1_000_000 << _RANDOM_BITS) | int.from_bytes(os.urandom(10), "big") >> 6
    _latest = fresh if fresh > _latest else _latest + 1 + int.from_bytes(os.urandom(4), "big")
    high, low = _latest >> 62, _latest & (1 << 62) - 1
    return _text((high >> 12 << 80) | (0x7 << 76) | ((high & 0xFFF) << 64) | (0x2 << 62) | low)


def derived_id(*parts: str) -> str:
    """The one id of what `parts` name (UUIDv5): equal parts, equal id, in every process and after every restart."""
    named = hashlib.sha1(_NAMESPACE.bytes + "\x1f".join(parts).encode(), usedforsecurity=False).digest()
    value = int.from_bytes(named[:16], "big") & ~(0xF << 76 | 0x3 << 62)
    return _text(value | 0x5 << 76 | 0x2 << 62)


def is_id(text: str) -> bool:
    """Whether `text` is a UUID in its canonical form."""
    return _CANONICAL.fullmatch(text) is not None


def _text(value: int) -> str:
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
