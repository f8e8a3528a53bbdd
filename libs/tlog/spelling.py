"""The one spelling of numbers and bytes in text: decimals without leading zeros, base64 with its bits in order.

Whatever is signed or hashed elsewhere could be written in other ways that mean the same; all but one are refused, so
that equal things are equal bytes. `what` names the thing in the refusal.
"""

from base64 import b64encode
from binascii import Error, a2b_base64
from typing import Final

from libs.tlog.errors import FormatError
from libs.tlog.profile import is_decimal

MAX_NUMBER: Final = 2**63 - 1
_SHOWN: Final = 60  # characters of what is refused


def base64_text(raw: bytes) -> str:
    """Standard base64 of RFC 4648, section 4, with padding."""
    return b64encode(raw).decode()


def base64_bytes(text: str | bytes, what: str, *, length: int | None = None) -> bytes:
    """The bytes of canonical base64: no other alphabet, no spaces, padding, trailing bits zero.

    Raises:
        FormatError: it is spelled otherwise, or is not `length` bytes long.
    """
    try:
        raw = a2b_base64(text, strict_mode=True)
    except (Error, ValueError):
        raise FormatError(f"{what} is not base64: {shown(text)}") from None
    spelled = text.encode() if isinstance(text, str) else text
    if b64encode(raw) != spelled:  # the decoder ignores the last character's spare bits
        raise FormatError(f"{what} is not canonical base64: {shown(text)}")
    if length is not None and len(raw) != length:
        raise FormatError(f"{what} is {len(raw)} bytes, not {length}")
    return raw


def number(text: object, what: str) -> int:
    """A non-negative integer below 2**63 in decimal digits, without sign or leading zero.

    Raises:
        FormatError: it is spelled otherwise, or too large.
    """
    if not isinstance(text, str) or not is_decimal(text) or int(text) > MAX_NUMBER:
        raise FormatError(f"{what} is not a decimal number: {shown(text)}")
    return int(text)


def shown(found: object) -> str:
    """What is refused, short and on one line."""
    text = found.decode(errors="replace") if isinstance(found, bytes) else str(found)
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")
