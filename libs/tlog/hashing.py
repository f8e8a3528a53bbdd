r"""The hashes that everything hangs on, each over exact bytes.

commit  = SHA256("rr/payload/v1\0" ‖ salt[32] ‖ raw payload)
genesis = SHA256("rr/chain-genesis/v1\0" ‖ origin ‖ "\0" ‖ kind ‖ "\0" ‖ id)
event   = SHA256(0x00 ‖ leaf), which is the RFC 6962 leaf hash
"""

from hashlib import sha256
from typing import Final

from libs.tlog.errors import LeafError

SALT_BYTES: Final = 32


def commit(payload: bytes, salt: bytes) -> bytes:
    """Commitment to a payload's raw bytes; hides the payload from whoever lacks the salt. Raises LeafError."""
    if len(salt) != SALT_BYTES:
        raise LeafError(f"salt is not {SALT_BYTES} bytes")
    return sha256(b"rr/payload/v1\0" + salt + payload).digest()


def genesis(origin: str, kind: str, chain_id: str) -> bytes:
    """What the first leaf of a chain gives as `prev`. Raises LeafError on NUL, which separates the parts."""
    if "\0" in origin or "\0" in kind or "\0" in chain_id:
        raise LeafError("a chain's origin, kind or id contains NUL")
    try:
        return sha256(f"rr/chain-genesis/v1\0{origin}\0{kind}\0{chain_id}".encode()).digest()
    except UnicodeEncodeError:
        raise LeafError("a field is not valid Unicode") from None


def event_hash(leaf: bytes) -> bytes:
    """RFC 6962 leaf hash of a leaf's bytes."""
    return sha256(b"\0" + leaf).digest()
