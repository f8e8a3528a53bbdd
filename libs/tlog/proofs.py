"""Proofs of RFC 6962, made from the hashes of perfect subtrees and verified as RFC 9162, sections 2.1.3 and 2.1.4.

An inclusion proof shows that a leaf stands at its index under a root; a consistency proof, that one tree begins with
all of another. Verifying is stricter than the RFC's text: a size of zero and a hash that is not 32 bytes are refused.
"""

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from libs.tlog.errors import ProofError
from libs.tlog.tree import EMPTY_ROOT, HASH_BYTES, node_hash

Hashes: TypeAlias = Callable[[int, int], bytes]
"""(level, index) -> root of the perfect subtree over leaves index * 2**level up to (index + 1) * 2**level."""

MAX_PATH: Final = 64  # hashes: no tree is higher


def root_of(size: int, hashes: Hashes) -> bytes:
    """Root of the first `size` leaves. Raises ProofError on a negative size."""
    if size < 0:
        raise ProofError(f"there is no tree of size {size}")
    return _root(0, size, hashes) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, hashes: Hashes) -> list[bytes]:
    """Hashes from the leaf's sibling up to the root's child. Raises ProofError where the tree has no such leaf."""
    _has_leaf(index, size)
    begin, end, path = 0, size, []
    while end - begin > 1:
        middle = begin + _split(end - begin)
        if index < middle:
            path.append(_root(middle, end, hashes))
            end = middle
        else:
            path.append(_root(begin, middle, hashes))
            begin = middle
    return path[::-1]


def consistency_proof(old: int, new: int, hashes: Hashes) -> list[bytes]:
    """Hashes that lead to the roots of both sizes; none where they are equal. Raises ProofError unless 1 <= old <= new.

    An empty tree begins every other: there is nothing to prove of it, and no proof of it is accepted.
    """
    _are_sizes(old, new)
    begin, end, whole, path = 0, new, True, []
    while old != end:
        middle = begin + _split(end - begin)
        if old <= middle:
            path.append(_root(middle, end, hashes))
            end = middle
        else:
            path.append(_root(begin, middle, hashes))
            begin, whole = middle, False
    if not whole:
        path.append(_root(begin, end, hashes))
    return path[::-1]


def verify_inclusion(leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofError unless the proof shows that the leaf is number `index` of the `size` leaves under `root`."""
    _has_leaf(index, size)
    _are_hashes(proof, leaf=leaf_hash, root=root)
    at, last, found = index, size - 1, leaf_hash
    for sibling in proof:
        if last == 0:
            raise ProofError(f"the proof is too long for leaf {index} of {size}")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            at, last = _up_to_a_right_child(at, last)
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError(f"the proof is too short for leaf {index} of {size}")
    if found != root:
        raise ProofError(f"leaf {index} of {size} leads to root {found.hex()}, not to {root.hex()}")


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofError unless the proof shows that the tree of `new` leaves begins with that of `old` leaves."""
    _are_sizes(old, new)
    _are_hashes(proof, old_root=old_root, new_root=new_root)
    if old == new:
        _are_one(old, old_root, new_root, proof)
        return
    path = [old_root, *proof] if old.bit_count() == 1 else list(proof)
    if not path or not proof:
        raise ProofError(f"the proof from size {old} to {new} is empty")
    at, last = _up_to_a_left_child(old - 1, new - 1)
    before = after = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise ProofError(f"the proof from size {old} to {new} is too long")
        if at & 1 or at == last:
            before, after = node_hash(sibling, before), node_hash(sibling, after)
            at, last = _up_to_a_right_child(at, last)
        else:
            after = node_hash(after, sibling)
        at, last = at >> 1, last >> 1
    if last:
        raise ProofError(f"the proof from size {old} to {new} is too short")
    if before != old_root:
        raise ProofError(f"the proof leads to root {before.hex()} at size {old}, not to {old_root.hex()}")
    if after != new_root:
        raise ProofError(f"the proof leads to root {after.hex()} at size {new}, not to {new_root.hex()}")


def _split(count: int) -> int:
    """The largest power of two below `count`, which is above one."""
    return 1 << ((count - 1).bit_length() - 1)


def _root(begin: int, end: int, hashes: Hashes) -> bytes:
    """Root of leaves begin..end, where `begin` is a multiple of the power of two that the range is cut at."""
    count = end - begin
    if count.bit_count() == 1:
        level = count.bit_length() - 1
        return hashes(level, begin >> level)
    middle = begin + _split(count)
    return node_hash(_root(begin, middle, hashes), _root(middle, end, hashes))


def _up_to_a_right_child(at: int, last: int) -> tuple[int, int]:
    """Climb where the node is the last of its level and has no sibling there."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _up_to_a_left_child(at: int, last: int) -> tuple[int, int]:
    """Climb to the root of the perfect subtree that ends at leaf `at`."""
    while at & 1:
        at, last = at >> 1, last >> 1
    return at, last


def _has_leaf(index: int, size: int) -> None:
    if not 0 <= index < size:
        raise ProofError(f"a tree of size {size} has no leaf {index}")


def _are_sizes(old: int, new: int) -> None:
    if not 1 <= old <= new:
        raise ProofError(f"no tree of size {old} can be shown to begin one of size {new}")


def _are_one(size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    if old_root != new_root:
        raise ProofError(f"two roots at size {size}: {old_root.hex()} and {new_root.hex()}")
    if proof:
        raise ProofError(f"a proof from size {size} to itself has no hashes")


def _are_hashes(proof: Sequence[bytes], **named: bytes) -> None:
    for name, value in named.items():
        if len(value) != HASH_BYTES:
            raise ProofError(f"the {name.replace('_', ' ')} is {len(value)} bytes, not {HASH_BYTES}")
    if len(proof) > MAX_PATH:
        raise ProofError(f"a proof has at most {MAX_PATH} hashes")
    for number, value in enumerate(proof):
        if len(value) != HASH_BYTES:
            raise ProofError(f"hash {number} of the proof is {len(value)} bytes, not {HASH_BYTES}")
