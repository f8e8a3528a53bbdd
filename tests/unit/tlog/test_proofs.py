from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.errors import ProofError
from libs.tlog.leaf import event_hash
from libs.tlog.proofs import (
    consistency_proof,
    inclusion_proof,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from libs.tlog.tree import EMPTY_ROOT
from tests.unit.tlog.public import Consistency, Inclusion
from tests.unit.tlog.vectors import (
    REFERENCE_CONSISTENCY,
    REFERENCE_INCLUSION,
    REFERENCE_LEAVES,
    REFERENCE_ROOTS,
    decoded,
    flip,
    naive_consistency,
    naive_hashes,
    naive_path,
    naive_root,
)

LARGEST = 130
LEAVES = [event_hash(b"leaf %d" % number) for number in range(LARGEST)]
HASHES = naive_hashes(LEAVES)
GARBAGE = bytes(32)


@cache
def root(size: int) -> bytes:
    return naive_root(LEAVES[:size])


def reference_root(size: int) -> bytes:
    return bytes.fromhex(REFERENCE_ROOTS[size])


INCLUDED = [
    Inclusion(REFERENCE_LEAVES[index], index, size, decoded(proof), reference_root(size))
    for (index, size), proof in REFERENCE_INCLUSION.items()
]
CONSISTENT = [
    Consistency(old, new, reference_root(old), reference_root(new), decoded(proof))
    for (old, new), proof in REFERENCE_CONSISTENCY.items()
]


def bent_inclusions() -> Iterator[tuple[str, Inclusion]]:
    """What the reference implementation's vectors do to a proof that holds, and more."""
    for case in INCLUDED:
        here = f"leaf {case.index} of {case.size}"
        for index in {case.index - 1, case.index + 1, case.index ^ 2, case.size, -1} - {case.index}:
            yield f"{here} as {index}", case._replace(index=index)
        for size in {case.size * 2, case.size // 2, 0, -1} - {case.size}:
            yield f"{here} in size {size}", case._replace(size=size)
        yield f"{here}, another leaf", case._replace(leaf=event_hash(b"WrongLeaf"))
        yield f"{here}, empty root", case._replace(root=EMPTY_ROOT)
        yield f"{here}, random root", case._replace(root=event_hash(b"random"))
        yield f"{here}, root of 31 bytes", case._replace(root=case.root[:31])
        yield f"{here}, leaf of 33 bytes", case._replace(leaf=case.leaf + b"\0")
        for name, extra in (("root", case.root), ("garbage", GARBAGE), ("nothing", b"")):
            yield f"{here}, {name} appended", case._replace(proof=[*case.proof, extra])
            yield f"{here}, {name} put before", case._replace(proof=[extra, *case.proof])
        for at in range(len(case.proof)):
            for bit in (3, 4):
                yield f"{here}, bit {bit} of hash {at}", case._replace(proof=changed(case.proof, at, bit))
            yield f"{here}, hash {at} is 31 bytes", case._replace(proof=shortened(case.proof, at))
            yield f"{here}, hash {at} left out", case._replace(proof=[*case.proof[:at], *case.proof[at + 1 :]])
            yield (
                f"{here}, something before hash {at}",
                case._replace(proof=[*case.proof[:at], GARBAGE, *case.proof[at:]]),
            )


def bent_consistencies() -> Iterator[tuple[str, Consistency]]:
    for case in CONSISTENT:
        here = f"{case.old} to {case.new}"
        for old in {case.old - 1, case.old + 1, case.old ^ 2, 0, -1} - {case.old}:
            yield f"{here} from {old}", case._replace(old=old)
        for new in {case.new * 2, case.new // 2, 0} - {case.new}:
            yield f"{here} to {new}", case._replace(new=new)
        yield f"{here}, wrong old root", case._replace(old_root=event_hash(b"WrongRoot"))
        yield f"{here}, wrong new root", case._replace(new_root=event_hash(b"WrongRoot"))
        yield f"{here}, old root of 31 bytes", case._replace(old_root=case.old_root[:31])
        yield f"{here}, new root of 33 bytes", case._replace(new_root=case.new_root + b"\0")
        yield f"{here}, nothing but zeros", case._replace(old=0, old_root=EMPTY_ROOT, proof=[])
        if case.old != case.new:
            yield f"{here}, roots swapped", case._replace(old_root=case.new_root, new_root=case.old_root)
            yield f"{here}, no proof", case._replace(proof=[])
        extras = {"old root": case.old_root, "new root": case.new_root, "garbage": GARBAGE, "nothing": b""}
        for name, extra in extras.items():
            yield f"{here}, {name} appended", case._replace(proof=[*case.proof, extra])
            yield f"{here}, {name} put before", case._replace(proof=[extra, *case.proof])
        for at in range(len(case.proof)):
            yield f"{here}, bit of hash {at}", case._replace(proof=changed(case.proof, at, 4))
            yield f"{here}, hash {at} is 31 bytes", case._replace(proof=shortened(case.proof, at))
            yield f"{here}, hash {at} left out", case._replace(proof=[*case.proof[:at], *case.proof[at + 1 :]])


def changed(proof: list[bytes], at: int, bit: int) -> list[bytes]:
    return [flip(item, bit) if number == at else item for number, item in enumerate(proof)]


def shortened(proof: list[bytes], at: int) -> list[bytes]:
    return [item[:31] if number == at else item for number, item in enumerate(proof)]


BENT_INCLUSIONS = dict(bent_inclusions())
BENT_CONSISTENCIES = dict(bent_consistencies())


def test_the_reference_proofs_come_out_and_are_accepted() -> None:
    hashes = naive_hashes(REFERENCE_LEAVES)

    for case in INCLUDED:
        assert inclusion_proof(case.index, case.size, hashes) == case.proof
        verify_inclusion(*case)
    for changed_to in CONSISTENT:
        assert consistency_proof(changed_to.old, changed_to.new, hashes) == changed_to.proof
        verify_consistency(*changed_to)


def test_there_are_as_many_broken_proofs_as_in_the_public_vectors() -> None:
    assert len(BENT_INCLUSIONS) + len(BENT_CONSISTENCIES) >= 196


@pytest.mark.parametrize("case", BENT_INCLUSIONS.values(), ids=BENT_INCLUSIONS)
def test_no_broken_proof_of_inclusion_is_accepted(case: Inclusion) -> None:
    with pytest.raises(ProofError):
        verify_inclusion(*case)


@pytest.mark.parametrize("case", BENT_CONSISTENCIES.values(), ids=BENT_CONSISTENCIES)
def test_no_broken_proof_of_consistency_is_accepted(case: Consistency) -> None:
    with pytest.raises(ProofError):
        verify_consistency(*case)


def test_every_leaf_of_every_tree_is_proven_as_the_definition_says() -> None:
    for size in range(1, LARGEST + 1):
        assert root_of(size, HASHES) == root(size)
        for index in range(0, size, 1 if size < 40 else 7):
            proof = inclusion_proof(index, size, HASHES)
            assert proof == naive_path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, proof, root(size))


def test_every_tree_begins_every_larger_one_as_the_definition_says() -> None:
    for new in range(1, LARGEST + 1):
        for old in range(1, new + 1, 1 if new < 40 else 7):
            proof = consistency_proof(old, new, HASHES)
            assert proof == naive_consistency(old, LEAVES[:new])
            verify_consistency(old, new, root(old), root(new), proof)


def test_no_proof_fits_another_place_than_its_own() -> None:
    for size in range(1, 20):
        proofs = [inclusion_proof(index, size, HASHES) for index in range(size)]
        for index, proof in enumerate(proofs):
            for other in range(size):
                if other != index:
                    with pytest.raises(ProofError):
                        verify_inclusion(LEAVES[index], other, size, proof, root(size))


@given(st.integers(1, LARGEST), st.data())
def test_no_bit_of_a_proof_of_inclusion_can_change(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    parts = [LEAVES[index], root(size), *inclusion_proof(index, size, HASHES)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flip(parts[at], data.draw(st.integers(0, 255)))

    with pytest.raises(ProofError):
        verify_inclusion(parts[0], index, size, parts[2:], parts[1])


@given(st.integers(1, LARGEST), st.data())
def test_no_bit_of_a_proof_of_consistency_can_change(new: int, data: st.DataObject) -> None:
    old = data.draw(st.integers(1, new))
    parts = [root(old), root(new), *consistency_proof(old, new, HASHES)]
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] = flip(parts[at], data.draw(st.integers(0, 255)))

    with pytest.raises(ProofError):
        verify_consistency(old, new, parts[0], parts[1], parts[2:])


def test_a_refusal_says_what_is_wrong() -> None:
    case = INCLUDED[1]

    with pytest.raises(ProofError, match="a tree of size 8 has no leaf 8"):
        verify_inclusion(case.leaf, 8, 8, case.proof, case.root)
    with pytest.raises(ProofError, match="hash 1 of the proof is 31 bytes, not 32"):
        verify_inclusion(*case._replace(proof=shortened(case.proof, 1)))
    with pytest.raises(ProofError, match="too short for leaf 0 of 8"):
        verify_inclusion(*case._replace(proof=case.proof[:-1]))
    with pytest.raises(ProofError, match=f"leaf 0 of 8 leads to root [0-9a-f]+, not to {EMPTY_ROOT.hex()}"):
        verify_inclusion(*case._replace(root=EMPTY_ROOT))
    with pytest.raises(ProofError, match="two roots at size 8"):
        verify_consistency(8, 8, reference_root(8), GARBAGE, [])
    with pytest.raises(ProofError, match="no tree of size 0"):
        consistency_proof(0, 8, naive_hashes(REFERENCE_LEAVES))
    with pytest.raises(ProofError, match="no tree of size -1"):
        root_of(-1, HASHES)
    with pytest.raises(ProofError, match="at most 64 hashes"):
        verify_inclusion(*case._replace(proof=[GARBAGE] * 65))


def test_an_empty_tree_has_the_hash_of_nothing() -> None:
    assert root_of(0, HASHES) == EMPTY_ROOT
