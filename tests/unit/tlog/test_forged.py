"""Forged and malformed proofs, each form in each place where a proof is written: all refused, for the reason."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from libs.tlog.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from libs.tlog.errors import FormatError, ProofError, TlogError
from libs.tlog.hashing import event_hash
from libs.tlog.note import parse_note, sign_note
from libs.tlog.proofs import consistency_proof, inclusion_proof
from libs.tlog.spelling import base64_text
from libs.tlog.tlogproof import ConsistencyProof, LeafProof, TlogProof
from tests.unit.tlog.vectors import LOG, ORIGIN, naive_hashes, naive_root

KEYS = [LOG.verifier]
LEAVES = [b'{"n":"%d"}' % number for number in range(11)]
HASHES = [event_hash(leaf) for leaf in LEAVES]
ROOT, EARLIER = naive_root(HASHES), naive_root(HASHES[:6])
PATH = inclusion_proof(6, 11, naive_hashes(HASHES))
LINK = consistency_proof(6, 11, naive_hashes(HASHES))
TEXT = Checkpoint(ORIGIN, 11, ROOT).text()


def note(text: str = TEXT) -> bytes:
    """Signed by the log's own key: what is wrong with it is not the signature."""
    return sign_note(text, [LOG])


def written(hashes: list[str], checkpoint: bytes, index: str = "6") -> bytes:
    return (
        b"".join([b"c2sp.org/tlog-proof@v1\nindex %b\n" % index.encode(), *(b"%b\n" % one.encode() for one in hashes)])
        + b"\n%b" % checkpoint
    )


def texts(hashes: list[bytes]) -> list[str]:
    return [base64_text(raw) for raw in hashes]


def loose(text: str) -> str:
    """The same bytes for a decoder that ignores the spare bits of the last character."""
    assert text.endswith("=")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return f"{text[:-2]}{alphabet[alphabet.index(text[-2]) ^ 1]}="


def as_json(**changed: Any) -> dict[str, Any]:
    whole = LeafProof(ORIGIN, 11, LEAVES[6], TlogProof(6, tuple(PATH), note()))
    return {**whole.as_json(), **changed}


def one_fewer(hashes: list[str]) -> list[str]:
    return hashes[:-1]


def one_more(hashes: list[str]) -> list[str]:
    return [*hashes, base64_text(ROOT)]


def thirty_one_bytes(hashes: list[str]) -> list[str]:
    return [base64_text(PATH[0][:31]), *hashes[1:]]


def thirty_three_bytes(hashes: list[str]) -> list[str]:
    return [base64_text(PATH[0] + b"\0"), *hashes[1:]]


def not_canonical(hashes: list[str]) -> list[str]:
    return [loose(hashes[0]), *hashes[1:]]


def without_padding(hashes: list[str]) -> list[str]:
    return [hashes[0].rstrip("="), *hashes[1:]]


def with_a_carriage_return(hashes: list[str]) -> list[str]:
    return [f"{hashes[0]}\r", *hashes[1:]]


OF_HASHES: list[tuple[Callable[[list[str]], list[str]], type[TlogError], str]] = [
    (one_fewer, ProofError, "too short"),
    (one_more, ProofError, "too long"),
    (thirty_one_bytes, FormatError, "hash 0 of the proof is 31 bytes, not 32"),
    (thirty_three_bytes, FormatError, "hash 0 of the proof is 33 bytes, not 32"),
    (not_canonical, FormatError, "hash 0 of the proof is not canonical base64"),
    (without_padding, FormatError, "hash 0 of the proof is not base64"),
    (with_a_carriage_return, FormatError, "hash 0 of the proof is not base64"),
]


@pytest.mark.parametrize(("bend", "refusal", "words"), OF_HASHES, ids=[bend.__name__ for bend, *_ in OF_HASHES])
class TestHashes:
    """The same forgery of a path, in every form that a proof has."""

    def test_in_a_tlog_proof(
        self, bend: Callable[[list[str]], list[str]], refusal: type[TlogError], words: str
    ) -> None:
        TlogProof.parse(written(texts(PATH), note())).verify(HASHES[6], KEYS)
        with pytest.raises(refusal, match=words):
            TlogProof.parse(written(bend(texts(PATH)), note())).verify(HASHES[6], KEYS)

    def test_in_a_leafs_proof(
        self, bend: Callable[[list[str]], list[str]], refusal: type[TlogError], words: str
    ) -> None:
        LeafProof.from_json(as_json()).verify(KEYS)
        with pytest.raises(refusal, match=words):
            LeafProof.from_json(as_json(hashes=bend(texts(PATH)))).verify(KEYS)

    def test_in_a_proof_of_consistency(
        self, bend: Callable[[list[str]], list[str]], refusal: type[TlogError], words: str
    ) -> None:
        value = ConsistencyProof(6, 11, tuple(LINK)).as_json()
        ConsistencyProof.from_json(value).verify(EARLIER, ROOT)
        with pytest.raises(refusal, match=words):
            ConsistencyProof.from_json({**value, "hashes": bend(texts(LINK))}).verify(EARLIER, ROOT)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (TEXT.replace("\n11\n", "\n0\n"), "not that of an empty log"),
        (TEXT.replace("\n11\n", "\n011\n"), "size is not a decimal number: '011'"),
        (TEXT.replace("\n11\n", "\n-11\n"), "size is not a decimal number"),
        (TEXT.replace("\n11\n", "\n1e1\n"), "size is not a decimal number"),
        (TEXT.replace(base64_text(ROOT), base64_text(ROOT[:31])), "31 bytes, not 32"),
        (TEXT.replace(base64_text(ROOT), loose(base64_text(ROOT))), "not canonical base64"),
    ],
)
def test_a_checkpoint_that_is_signed_and_malformed_proves_nothing(text: str, words: str) -> None:
    assert parse_note(note(text)), "the note itself is one"
    with pytest.raises(FormatError, match=words):
        open_checkpoint(note(text), KEYS)
    with pytest.raises(FormatError, match=words):
        TlogProof.parse(written(texts(PATH), note(text))).verify(HASHES[6], KEYS)
    with pytest.raises(FormatError, match=words):
        LeafProof.from_json(as_json(checkpoint=note(text).decode())).verify(KEYS)


def test_a_checkpoint_of_size_0_proves_no_leaf() -> None:
    empty = Checkpoint(ORIGIN, 0, naive_root([]))
    proof = TlogProof(0, (), sign_checkpoint(empty, [LOG]))

    with pytest.raises(ProofError, match="a tree of size 0 has no leaf 0"):
        proof.verify(HASHES[0], KEYS)
    with pytest.raises(TlogError):
        LeafProof.from_json(as_json(size="0", index="0", hashes=[])).verify(KEYS)
    for old, new in (("0", "11"), ("0", "0"), ("12", "11")):
        value = {**ConsistencyProof(6, 11, tuple(LINK)).as_json(), "old": old, "new": new, "hashes": []}
        with pytest.raises(ProofError, match="can be shown to begin"):
            ConsistencyProof.from_json(value).verify(naive_root([]), ROOT)


@pytest.mark.parametrize("number", ["06", "+6", "-6", "6.0", " 6", "6\r", "", "\u0666", "9223372036854775808"])
def test_a_number_that_is_spelled_otherwise_is_refused_wherever_it_stands(number: str) -> None:
    with pytest.raises(FormatError, match="index is not a decimal number"):
        TlogProof.parse(written(texts(PATH), note(), index=number))
    with pytest.raises(FormatError, match="index is not a decimal number"):
        LeafProof.from_json(as_json(index=number))
    with pytest.raises(FormatError, match="size is not a decimal number"):
        LeafProof.from_json(as_json(size=number))
    value = ConsistencyProof(6, 11, tuple(LINK)).as_json()
    for name in ("old", "new"):
        with pytest.raises(FormatError, match=f"{name}.* is not a decimal number"):
            ConsistencyProof.from_json({**value, name: number})


@pytest.mark.parametrize(
    "raw",
    [
        written(texts(PATH), note()).replace(b"\n", b"\r\n"),
        written(texts(PATH), note()).replace(b"index 6\n", b"index 6\r\n"),
        written(texts(PATH), note().replace(b"\n", b"\r\n")),
        written(texts(PATH), note().replace(b"\n11\n", b"\n11\r\n")),
        b"\xef\xbb\xbf" + written(texts(PATH), note()),
    ],
)
def test_lines_that_end_otherwise_are_refused(raw: bytes) -> None:
    with pytest.raises(FormatError):
        TlogProof.parse(raw).verify(HASHES[6], KEYS)


def test_a_proof_of_another_leaf_place_or_size_does_not_hold() -> None:
    proof = TlogProof(6, tuple(PATH), note())

    with pytest.raises(ProofError, match=r"leaf 6 of 11 leads to root [0-9a-f]+, not to"):
        proof.verify(HASHES[5], KEYS)
    with pytest.raises(ProofError, match=r"leaf 7 of 11 leads to root [0-9a-f]+, not to"):
        replace(proof, index=7).verify(HASHES[6], KEYS)
    with pytest.raises(ProofError, match="a tree of size 11 has no leaf 11"):
        replace(proof, index=11).verify(HASHES[6], KEYS)
    with pytest.raises(ProofError, match=r"at size 6, not to"):
        ConsistencyProof(6, 11, tuple(LINK)).verify(ROOT, ROOT)
