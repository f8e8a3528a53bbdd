"""The public vectors for verifiers of RFC 6962 and RFC 9162.

They are the 196 cases below `testdata/inclusion` and `testdata/consistency` of github.com/transparency-dev/merkle:
proofs of the reference tree (`vectors.py`), each bent in the ways that are listed here, and some made by hand. Written
down as what makes them, as `cmd/proofgen` of that repository does; the tests hold some against the files' own figures.
Sizes and indexes are of 64 bits there, so that one before 0 is the largest number.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from libs.tlog.hashing import event_hash
from libs.tlog.tree import EMPTY_ROOT
from tests.unit.tlog.vectors import (
    REFERENCE_CONSISTENCY,
    REFERENCE_INCLUSION,
    REFERENCE_LEAVES,
    REFERENCE_ROOTS,
    decoded,
)

SOME: Final = bytes.fromhex("abacaba000000000000000000000000000000000000000000060061e00123456")
BETWEEN: Final = "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f"
INCLUDED: Final = ((0, 1), (0, 8), (5, 8), (2, 3), (1, 5))
CONSISTENT: Final = ((1, 1), (1, 8), (6, 8), (2, 5), (6, 7))


class Inclusion(NamedTuple):
    """In the order of `verify_inclusion`."""

    leaf: bytes
    index: int
    size: int
    proof: list[bytes]
    root: bytes


class Consistency(NamedTuple):
    """In the order of `verify_consistency`."""

    old: int
    new: int
    old_root: bytes
    new_root: bytes
    proof: list[bytes]


def _root(size: int) -> bytes:
    return bytes.fromhex(REFERENCE_ROOTS[size])


def _flipped(proof: list[bytes], at: int, bits: int) -> list[bytes]:
    return [bytes([raw[0] ^ bits, *raw[1:]]) if number == at else raw for number, raw in enumerate(proof)]


def _bent_inclusion(case: Inclusion) -> Iterator[tuple[str, Inclusion]]:
    proof = case.proof
    yield "leafIdx sub @1", case._replace(index=(case.index - 1) % 2**64)
    yield "leafIdx plus @1", case._replace(index=case.index + 1)
    yield "leafIdx XOR @2", case._replace(index=case.index ^ 2)
    yield "treeSize mul @2", case._replace(size=case.size * 2)
    yield "treeSize div @2", case._replace(size=case.size // 2)
    yield "wrong leaf", case._replace(leaf=b"WrongLeaf")
    yield "empty root", case._replace(root=EMPTY_ROOT)
    yield "random root", case._replace(root=SOME)
    for word, extra in (("garbage", b""), ("root", case.root)):
        yield f"trailing {word}", case._replace(proof=[*proof, extra])
        yield f"preceding {word}", case._replace(proof=[extra, *proof])
    for at in range(len(proof)):
        yield f"modified proof[{at}] bit @3", case._replace(proof=_flipped(proof, at, 8))
    if proof:
        yield "removed component", case._replace(proof=proof[:-1])
    if len(proof) > 1:
        yield "inserted component", case._replace(proof=[proof[0], SOME, *proof[1:]])


def _bent_consistency(case: Consistency) -> Iterator[tuple[str, Consistency]]:
    proof = case.proof
    yield "size1 sub @1", case._replace(old=case.old - 1)
    yield "size1 plus @1", case._replace(old=case.old + 1)
    yield "size1 XOR @2", case._replace(old=case.old ^ 2)
    yield "size2 mul @2", case._replace(new=case.new * 2)
    yield "size2 div @2", case._replace(new=case.new // 2)
    yield "wrong root1", case._replace(old_root=b"WrongRoot")
    yield "wrong root2", case._replace(new_root=b"WrongRoot")
    yield "swapped roots", case._replace(old_root=case.new_root, new_root=case.old_root)
    yield "empty proof", case._replace(proof=[])
    for word, extra in (("garbage", b""), ("root1", case.old_root), ("root2", case.new_root)):
        yield f"trailing {word}", case._replace(proof=[*proof, extra])
        yield f"preceding {word}", case._replace(proof=[extra, *proof])
    yield "preceding proof @0", case._replace(proof=[proof[0], *proof])
    yield "truncated proof", case._replace(proof=proof[:-1])
    for at in range(len(proof)):
        yield f"modified proof@{at} bit @4", case._replace(proof=_flipped(proof, at, 16))


def inclusions() -> Iterator[tuple[str, Inclusion, bool]]:
    """Name, case, and whether it is to be accepted."""
    for number, (index, size) in enumerate(INCLUDED):
        case = Inclusion(REFERENCE_LEAVES[index], index, size, decoded(REFERENCE_INCLUSION[index, size]), _root(size))
        yield f"inclusion/{number}/happy path", case, True
        for name, bent in _bent_inclusion(case):
            yield f"inclusion/{number}/{name}", bent, False
    for number, (index, size) in enumerate(((0, 0), (0, 1), (1, 0), (2, 1))):
        here = f"inclusion/additional/{number}"
        yield f"{here}/random leaf", Inclusion(SOME, index, size, [], b""), False
        yield f"{here}/empty root", Inclusion(b"", index, size, [], EMPTY_ROOT), False
        yield f"{here}/empty root and random leaf", Inclusion(SOME, index, size, [], EMPTY_ROOT), False
    data = event_hash(b"data")
    for name, leaf, root in (
        ("matching root and leaf", data, data),
        ("empty leaf", b"", data),
        ("empty root", data, b""),
        ("empty root and leaf", b"", b""),
    ):
        yield f"inclusion/single-entry/{name}", Inclusion(leaf, 0, 1, [], root), root == data == leaf


def consistencies() -> Iterator[tuple[str, Consistency, bool]]:
    """Likewise. Of two equal trees whose roots are no hashes see `NO_HASH`."""
    for number, (old, new) in enumerate(CONSISTENT):
        found = REFERENCE_CONSISTENCY.get((old, new)) or [REFERENCE_CONSISTENCY[6, 8][0], BETWEEN, REFERENCE_ROOTS[4]]
        proof = [] if old == new else decoded(found)
        case = Consistency(old, new, _root(old), _root(new), proof)
        yield f"consistency/{number}/happy path", case, True
        for name, bent in _bent_consistency(case) if proof else ():
            yield f"consistency/{number}/{name}", bent, False
    one, two = b"don't care 1", b"don't care 2"
    by_hand: tuple[tuple[int, int, bytes, bytes, list[bytes], str], ...] = (
        (0, 0, one, two, [], "sizes are equal (zero) but roots are not"),
        (1, 1, one, two, [], "sizes are equal (one) but roots are not"),
        (0, 0, one, one, [], "sizes are equal (zero) and proof is empty"),
        (0, 1, one, two, [], "size1 is zero and does not equal size2"),
        (1, 1, two, two, [], "sizes are equal (one) and proof is empty"),
        (1, 0, one, two, [], "size1 is greater than size2"),
        (2, 1, one, two, [], "size1 is greater than size2 again"),
        (1, 2, one, two, [], "sizes do not watch and proof is empty"),
        (0, 0, EMPTY_ROOT, two, [], "roots do not match and sizes are zero"),
        (1, 1, EMPTY_ROOT, two, [], "roots do not not match and sizes are one"),
        (0, 0, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT], "sizes match but proof is not empty and sizes are zero"),
        (1, 1, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT], "sizes match but proof is not empty and sizes are one"),
        (0, 1, EMPTY_ROOT, two, [], "size1 is zero and size2 is not zero"),
        (0, 1, EMPTY_ROOT, EMPTY_ROOT, [EMPTY_ROOT], "consistency check on empty tree (size1 is zero) is useless"),
    )
    for old, new, old_root, new_root, proof, name in by_hand:
        told = f"consistency/additional/{name}"
        yield told, Consistency(old, new, old_root, new_root, proof), told == NO_HASH


NO_HASH: Final = "consistency/additional/sizes are equal (one) and proof is empty"
"""The one case that is accepted there and refused here: both roots are the same twelve bytes, which are no SHA-256."""
