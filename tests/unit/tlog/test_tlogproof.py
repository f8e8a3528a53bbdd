from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.errors import FormatError, ProofError, SignatureError, TlogError
from libs.tlog.hashing import event_hash
from libs.tlog.proofs import consistency_proof, inclusion_proof
from libs.tlog.tlogproof import ConsistencyProof, LeafProof, TlogProof
from tests.unit.tlog.vectors import (
    LEAF_1,
    LOG,
    NOTE,
    ORIGIN,
    PROOF,
    REFERENCE_LEAVES,
    REFERENCE_ROOTS,
    SEEN,
    WITNESS,
    flip,
    naive_hashes,
    naive_root,
)

KEYS = [LOG.verifier, WITNESS.verifier]
LEAVES = [b'{"n":"%d"}' % number for number in range(11)]
HASHES = [event_hash(leaf) for leaf in LEAVES]
SIGNED = sign_checkpoint(Checkpoint(ORIGIN, 11, naive_root(HASHES)), [LOG])
STORED = LeafProof(ORIGIN, 11, LEAVES[6], TlogProof(6, tuple(inclusion_proof(6, 11, naive_hashes(HASHES))), SIGNED))


def test_the_worked_examples_proof_comes_out_to_the_byte() -> None:
    proof = TlogProof.parse(PROOF)

    assert (proof.index, len(proof.hashes), proof.checkpoint, proof.extra) == (1, 2, NOTE, None)
    assert proof.encode() == PROOF


def test_the_worked_examples_proof_holds_and_shows_the_witness() -> None:
    signed = TlogProof.parse(PROOF).verify(LEAF_1, KEYS)

    assert signed.checkpoint.size == 3
    assert [found.time for found in signed.witnesses] == [SEEN]


def test_a_proof_of_another_leaf_or_place_does_not_hold() -> None:
    proof = TlogProof.parse(PROOF)

    with pytest.raises(ProofError, match="leaf 1 of 3 leads to root"):
        proof.verify(proof.hashes[0], KEYS)
    with pytest.raises(ProofError):
        replace(proof, index=0).verify(LEAF_1, KEYS)
    with pytest.raises(SignatureError):
        proof.verify(LEAF_1, [])


def test_what_an_application_adds_is_carried_along() -> None:
    proof = replace(TlogProof.parse(PROOF), extra=b"anything")

    assert proof.encode().split(b"\n")[1] == b"extra YW55dGhpbmc="
    assert TlogProof.parse(proof.encode()) == proof
    assert proof.verify(LEAF_1, KEYS)


def bent(old: bytes, new: bytes) -> bytes:
    assert old in PROOF
    return PROOF.replace(old, new, 1)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "not a tlog-proof"),
        (PROOF.replace(b"\n", b"\r\n"), "not a tlog-proof"),
        (bent(b"@v1", b"@v2"), "not a tlog-proof"),
        (PROOF[: PROOF.index(b"\n\n")], "not a tlog-proof"),
        (bent(b"index 1\n", b""), "has no index"),
        (bent(b"index 1", b"Index 1"), "has no index"),
        (bent(b"index 1", b"index 01"), "index is not a decimal number: '01'"),
        (bent(b"index 1", b"index -1"), "index is not a decimal number"),
        (bent(b"index 1", b"index  1"), "index is not a decimal number"),
        (bent(b"index 1", b"index 1\r"), "index is not a decimal number"),
        (bent(b"index 1", b"index \xff"), "index is not a decimal number"),
        (bent(b"index 1", b"extra %%\nindex 1"), "extra is not base64"),
        (bent(b"index 1", b"extra YQ==\nextra YQ==\nindex 1"), "has no index"),
        (bent(b"index 1", b"index 1\nextra YQ=="), "hash 0 of the proof is not base64"),
        (bent(b"dwE=\n", b"dwF=\n"), "hash 0 of the proof is not canonical base64"),
        (bent(b"dwE=\n", b"dwE\n"), "hash 0 of the proof is not base64"),
        (bent(b"W6mz", b""), "hash 0 of the proof is 29 bytes, not 32"),
        (bent(b"dwE=\n", b"dwE=\n" * 65), "at most 64 hashes"),
        (PROOF + bytes(1_100_000), "at most 1100000 bytes"),
    ],
)
def test_any_other_spelling_of_a_proof_is_refused(raw: bytes, words: str) -> None:
    with pytest.raises(FormatError, match=words):
        TlogProof.parse(raw)


@given(st.integers(0, len(PROOF) * 8 - 1))
def test_no_bit_of_a_proof_can_change(bit: int) -> None:
    """A witness's name may: then it is not known any more, and not among those who saw the checkpoint."""
    try:
        signed = TlogProof.parse(flip(PROOF, bit)).verify(LEAF_1, KEYS)
    except TlogError:
        return
    assert not signed.witnesses


@given(st.integers(0, len(STORED.proof.encode()) * 8 - 1))
def test_no_bit_of_a_proof_without_witnesses_can_change(bit: int) -> None:
    with pytest.raises(TlogError):
        TlogProof.parse(flip(STORED.proof.encode(), bit)).verify(HASHES[6], KEYS)


def test_a_proof_comes_back_out_of_json_and_holds() -> None:
    value = orjson.loads(orjson.dumps(STORED.as_json()))

    assert value["v"] == "rr.proof/1"
    assert (value["index"], value["size"], value["origin"]) == ("6", "11", ORIGIN)
    assert LeafProof.from_json(value) == STORED
    assert LeafProof.from_json(value).verify(KEYS).checkpoint.size == 11


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"v": "rr.proof/2"}, "not rr.proof/1"),
        ({"more": "x"}, "not rr.proof/1"),
        ({"index": 6}, "index is not a decimal number"),
        ({"index": "06"}, "index is not a decimal number"),
        ({"size": None}, "size is not a decimal number"),
        ({"leaf": 7}, "leaf is not text"),
        ({"leaf": "%"}, "leaf is not base64"),
        ({"leaf": "\u00e9"}, "leaf is not base64"),
        ({"origin": 7}, "origin is not text"),
        ({"checkpoint": b""}, "checkpoint is not text"),
        ({"hashes": "x"}, "hashes is not a list"),
        ({"hashes": [7]}, "hashes is not a list"),
        ({"hashes": ["AA=="]}, "hash 0 of the proof is 1 bytes, not 32"),
        ({"hashes": ["AA=="] * 65}, "at most 64 texts"),
    ],
)
def test_json_that_is_no_proof_is_refused(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        LeafProof.from_json({**STORED.as_json(), **changed})


@pytest.mark.parametrize(
    "changed",
    [
        {"index": "5"},
        {"size": "12"},
        {"origin": "rr.example/other"},
        {"checkpoint": SIGNED.decode().replace("\n11\n", "\n12\n")},
        {"checkpoint": "\ud800"},
        {"leaf": "e30="},
        {"hashes": []},
    ],
)
def test_json_that_proves_something_else_is_refused(changed: dict[str, Any]) -> None:
    with pytest.raises(TlogError):
        LeafProof.from_json({**STORED.as_json(), **changed}).verify(KEYS)


def test_no_value_at_all_is_a_proof() -> None:
    for nothing in (None, [], "x", {}, {"v": "rr.proof/1"}):
        with pytest.raises(FormatError):
            LeafProof.from_json(nothing)
        with pytest.raises(FormatError):
            ConsistencyProof.from_json(nothing)


def test_a_proof_of_consistency_comes_back_out_of_json_and_holds() -> None:
    proof = ConsistencyProof(6, 8, tuple(consistency_proof(6, 8, naive_hashes(REFERENCE_LEAVES))))

    value = orjson.loads(orjson.dumps(proof.as_json()))

    assert (value["v"], value["old"], value["new"]) == ("rr.consistency/1", "6", "8")
    old, new = bytes.fromhex(REFERENCE_ROOTS[6]), bytes.fromhex(REFERENCE_ROOTS[8])
    ConsistencyProof.from_json(value).verify(old, new)
    with pytest.raises(ProofError, match="at size 8"):
        ConsistencyProof.from_json(value).verify(old, old)
