"""Private keys as text, in the spelling of Go's note package: whoever has it can sign with it.

    PRIVATE+KEY+<name>+<key id in hex>+<base64 of type ‖ seed>

No refusal here shows any of it.
"""

from typing import Final

from libs.tlog.errors import FormatError
from libs.tlog.note import ED25519, KEY_BYTES, Signer
from libs.tlog.spelling import base64_bytes, base64_text

PREFIX: Final = "PRIVATE+KEY+"


def private_text(signer: Signer) -> str:
    """The key on one line, without its end."""
    return f"{PREFIX}{signer.name}+{signer.key_id.hex()}+{base64_text(bytes([ED25519]) + signer.seed)}"


def parse_private(text: str) -> Signer:
    """The key of one line. Raises FormatError, also where its id is not that of its name and key."""
    parts = text.removeprefix(PREFIX).split("+", 2)
    if not text.startswith(PREFIX) or len(parts) != 3:
        raise FormatError("not a private key: it is written PRIVATE+KEY+name+id+key")
    name, key_id, encoded = parts
    try:
        raw = base64_bytes(encoded, "", length=1 + KEY_BYTES)
    except FormatError:
        raise FormatError("the private key is cut off, or not canonical base64") from None
    if raw[0] != ED25519:
        raise FormatError(f"the private key has type {raw[0]}, which is not known here")
    found = Signer(name, raw[1:])
    if found.key_id.hex() != key_id:
        raise FormatError("the private key is not the one that its id names: a character of it is another")
    return found
