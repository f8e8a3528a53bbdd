"""NATS's keys as text, with Python's standard library alone: `deploy/make_secrets.py` runs where nothing is installed.

A seed (`SU…`) is what a process signs in with; the public key (`UA…`) is what the server knows it by. Only the public
key is computed here, RFC 8032 §5.1.5 by the book and not in constant time, where keys are made; signatures are a
library's. `tests/unit/stack/test_nkeys.py` compares with that library.
"""

import base64
import hashlib
import secrets
from typing import Final

USER: Final = 20 << 3  # the prefix that makes a public key begin with U
SEED: Final = 18 << 3  # and a seed with S
BYTES: Final = 32
SEED_BYTES: Final = 2 + BYTES + 2

_P: Final = 2**255 - 19
_D: Final = -121665 * pow(121666, -1, _P) % _P
_Y: Final = 4 * pow(5, -1, _P) % _P
_X: Final = 15112221349535400772501151409588531511454012693041857206046113283949847762202

Point = tuple[int, int, int, int]
_BASE: Final[Point] = (_X, _Y, 1, _X * _Y % _P)


class MalformedSeed(ValueError):
    """Not a user's seed; the text never holds it."""


def new_seed() -> str:
    """A fresh user's seed."""
    return _encode(bytes([SEED | USER >> 5, (USER & 31) << 3]) + secrets.token_bytes(BYTES))


def public_key(seed: str) -> str:
    """The public key of a user's seed.

    Raises:
        MalformedSeed: it is none, or a character of it is wrong.
    """
    return _encode(bytes([USER]) + ed25519_public(_secret(seed)))


def ed25519_public(secret: bytes) -> bytes:
    """The public half of 32 secret bytes."""
    digest = bytearray(hashlib.sha512(secret).digest()[:BYTES])
    digest[0] &= 248
    digest[31] = digest[31] & 127 | 64
    return _compressed(_times(int.from_bytes(digest, "little"), _BASE))


def _secret(seed: str) -> bytes:
    try:
        raw = base64.b32decode(seed.strip() + "=" * (-len(seed.strip()) % 8))
    except ValueError:
        raise MalformedSeed("a seed is written in base 32") from None
    if len(raw) != SEED_BYTES or raw[:2] != bytes([SEED | USER >> 5, (USER & 31) << 3]):
        raise MalformedSeed("this is no user's seed, which begins with SU and has 58 characters")
    if _checksum(raw[:-2]) != raw[-2:]:
        raise MalformedSeed("the seed's checksum is wrong: a character is missing or another")
    return raw[2:-2]


def _encode(raw: bytes) -> str:
    return base64.b32encode(raw + _checksum(raw)).decode().rstrip("=")


def _checksum(raw: bytes) -> bytes:
    """CRC-16/XMODEM, little end first."""
    found = 0
    for byte in raw:
        found ^= byte << 8
        for _ in range(8):
            found = (found << 1 ^ 0x1021 if found & 0x8000 else found << 1) & 0xFFFF
    return found.to_bytes(2, "little")


def _add(one: Point, other: Point) -> Point:
    """Of two points of the curve in extended coordinates."""
    a = (one[1] - one[0]) * (other[1] - other[0]) % _P
    b = (one[1] + one[0]) * (other[1] + other[0]) % _P
    c = 2 * one[3] * other[3] * _D % _P
    d = 2 * one[2] * other[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return (e * f % _P, g * h % _P, f * g % _P, e * h % _P)


def _times(scalar: int, point: Point) -> Point:
    found: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            found = _add(found, point)
        point = _add(point, point)
        scalar >>= 1
    return found


def _compressed(point: Point) -> bytes:
    inverse = pow(point[2], -1, _P)
    x, y = point[0] * inverse % _P, point[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(BYTES, "little")
