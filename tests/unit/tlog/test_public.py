"""The public vectors for verifiers, each answered; and that a verifier to the letter of RFC 9162 would miss some."""

from base64 import b64encode
from typing import Any

import pytest

from libs.tlog.errors import ProofError
from libs.tlog.proofs import verify_consistency, verify_inclusion
from libs.tlog.tree import node_hash
from tests.unit.tlog.public import NO_HASH, Consistency, Inclusion, consistencies, inclusions

INCLUSIONS = {name: (case, good) for name, case, good in inclusions()}
CONSISTENCIES = {name: (case, good) for name, case, good in consistencies()}
_FIRST = "bjQLnP+zepicpUTmu3gKLHiQHT+zNzh2hRGjBhevoB0="
_SECOND = "lqKW0iTyhcZ77pPDD4owkVfw2qNdxbh+QQt4YwoJz8c="
_PAIR = "Xwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4="
_FIFTH = "vBoGQ7EuTS18d5GPROD095qDi2z57FtcKD4fTYhZnms="
_OF_FIVE = "Tju7H3tHjc/nH7YxYxUZo7yhLJrvyhYSv85ME6hiZNQ="
_LAST_FOUR = "a0eq8p7jwq+a+Im8H7klTavTEXfxYjLdaqsDXKOb9uQ="
_OF_EIGHT = "XcnaeacGWamtVZy3Ad7ZoqudgjqtL0lgz+Nw7/RgQyg="
SHOWN: dict[str, dict[str, Any]] = {  # files of theirs as they stand there, to hold ours against
    "inclusion/0/leafIdx sub @1": {
        "leafIdx": 18446744073709551615, "treeSize": 1, "root": _FIRST, "leafHash": _FIRST, "proof": [],
    },
    "inclusion/4/inserted component": {
        "leafIdx": 1, "treeSize": 5, "root": _OF_FIVE, "leafHash": _SECOND,
        "proof": [_FIRST, "q6yroAAAAAAAAAAAAAAAAAAAAAAAAAAAAGAGHgASNFY=", _PAIR, _FIFTH],
    },
    "inclusion/4/modified proof[1] bit @3": {
        "leafIdx": 1, "treeSize": 5, "root": _OF_FIVE, "leafHash": _SECOND,
        "proof": [_FIRST, "Vwg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=", _FIFTH],
    },
    "consistency/1/size1 sub @1": {
        "size1": 0, "size2": 8, "root1": _FIRST, "root2": _OF_EIGHT, "proof": [_SECOND, _PAIR, _LAST_FOUR],
    },
    "consistency/1/modified proof@1 bit @4": {
        "size1": 1, "size2": 8, "root1": _FIRST, "root2": _OF_EIGHT,
        "proof": [_SECOND, "Twg/ChozygdqlSeYMlgNs+DvRYS9/x9UyKNg9Q3jAx4=", _LAST_FOUR],
    },
    "consistency/3/preceding proof @0": {
        "size1": 2, "size2": 5, "root1": "+sVCA+fMaWzw38tCySodnbr3CtnmIfS9jZhmLwDjwSU=", "root2": _OF_FIVE,
        "proof": [_PAIR, _PAIR, _FIFTH],
    },
}  # fmt: skip


def as_file(case: Inclusion | Consistency) -> dict[str, Any]:
    """The case in the public files' form."""

    def text(raw: bytes) -> str:
        return b64encode(raw).decode()

    proof = [text(raw) for raw in case.proof]
    if isinstance(case, Inclusion):
        told = {"leafIdx": case.index, "treeSize": case.size, "root": text(case.root), "leafHash": text(case.leaf)}
    else:
        told = {"size1": case.old, "size2": case.new, "root1": text(case.old_root), "root2": text(case.new_root)}
    return {**told, "proof": proof}


def to_the_letter_included(case: Inclusion) -> bool:
    """Section 2.1.3.2 of RFC 9162 as it is written."""
    if case.index >= case.size:
        return False
    fn, sn, r = case.index, case.size - 1, case.leaf
    for p in case.proof:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            r = node_hash(p, r)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            r = node_hash(r, p)
        fn, sn = fn >> 1, sn >> 1
    return sn == 0 and r == case.root


def to_the_letter_consistent(case: Consistency) -> bool:
    """Section 2.1.4.2 of RFC 9162 as it is written, and what section 2.1.4 says of trees of one size or none."""
    if case.old > case.new:
        return False
    if case.old == case.new:
        return case.old_root == case.new_root and not case.proof
    if case.old == 0:
        return not case.proof
    if not case.proof:
        return False
    path = [case.old_root, *case.proof] if case.old.bit_count() == 1 else case.proof
    fn, sn = case.old - 1, case.new - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr, sr = node_hash(c, fr), node_hash(c, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = node_hash(sr, c)
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (case.old_root, case.new_root, 0)


def test_there_are_196_and_they_are_theirs() -> None:
    assert len(INCLUSIONS) + len(CONSISTENCIES) == 196
    for name, shown in SHOWN.items():
        assert as_file((INCLUSIONS | CONSISTENCIES)[name][0]) == shown


@pytest.mark.parametrize("name", INCLUSIONS)
def test_a_public_vector_of_inclusion_is_answered(name: str) -> None:
    case, good = INCLUSIONS[name]
    if good:
        verify_inclusion(*case)
        return
    with pytest.raises(ProofError):
        verify_inclusion(*case)


@pytest.mark.parametrize("name", CONSISTENCIES)
def test_a_public_vector_of_consistency_is_answered(name: str) -> None:
    case, good = CONSISTENCIES[name]
    if name == NO_HASH:
        with pytest.raises(ProofError, match="old root is 12 bytes, not 32"):
            verify_consistency(*case)
    elif good:
        verify_consistency(*case)
    else:
        with pytest.raises(ProofError):
            verify_consistency(*case)


def test_what_a_verifier_to_the_letter_of_the_rfc_misses_is_refused_here_by_its_reason() -> None:
    missed = {name for name, (case, good) in INCLUSIONS.items() if to_the_letter_included(case) != good}
    missed |= {name for name, (case, good) in CONSISTENCIES.items() if to_the_letter_consistent(case) != good}

    assert missed == {
        "inclusion/single-entry/empty root and leaf",
        "consistency/additional/sizes are equal (zero) and proof is empty",
        "consistency/additional/size1 is zero and does not equal size2",
        "consistency/additional/size1 is zero and size2 is not zero",
    }
    for name in missed & CONSISTENCIES.keys():
        with pytest.raises(ProofError, match="no tree of size 0 can be shown to begin one"):
            verify_consistency(*CONSISTENCIES[name][0])
    with pytest.raises(ProofError, match="the leaf is 0 bytes, not 32"):
        verify_inclusion(*INCLUSIONS["inclusion/single-entry/empty root and leaf"][0])
