"""RFC 6962 Merkle tree, kept as its frontier: the roots of the perfect subtrees that the size's bits name.

    leaf = SHA256(0x00 ‖ bytes);  node = SHA256(0x01 ‖ left ‖ right);  empty root = SHA256("")

The frontier of n leaves has as many hashes as n has one bits, at most 63: appending and the root need no more.
"""

from collections.abc import Iterable
from hashlib import sha256

from libs.tlog.errors import TlogError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree that grows by leaf hashes. `size` is the number of leaves."""

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size = size
        self._hashes = list(hashes)  # the largest subtree first
        if size < 0 or len(self._hashes) != size.bit_count():
            raise TlogError(f"a frontier of size {size} does not have {len(self._hashes)} hashes")
        if any(len(item) != HASH_BYTES for item in self._hashes):
            raise TlogError(f"a frontier's hash is not {HASH_BYTES} bytes")

    @classmethod
    def from_bytes(cls, size: int, raw: bytes) -> "Frontier":
        """The frontier that `to_bytes` wrote; raises TlogError when it does not fit the size."""
        if len(raw) % HASH_BYTES:
            raise TlogError(f"a frontier's bytes are not a multiple of {HASH_BYTES}")
        return cls(size, [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)])

    def to_bytes(self) -> bytes:
        """The hashes one after the other, the largest subtree first."""
        return b"".join(self._hashes)

    def copy(self) -> "Frontier":
        """A frontier that grows apart from this one."""
        return Frontier(self.size, self._hashes)

    def append(self, leaf_hash: bytes) -> None:
        """Add one leaf by its hash."""
        hashes, carry = self._hashes, self.size
        while carry & 1:
            leaf_hash = sha256(b"\x01" + hashes.pop() + leaf_hash).digest()  # node_hash, without the call
            carry >>= 1
        hashes.append(leaf_hash)
        self.size += 1

    def root(self) -> bytes:
        """Root over all leaves so far."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root
