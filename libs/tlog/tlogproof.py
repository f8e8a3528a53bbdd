r"""Proofs that stand alone: C2SP tlog-proof files, and the same as JSON for an API.

    c2sp.org/tlog-proof@v1\n[extra <base64>\n]index <n>\n(<base64 of a hash>\n)*\n<checkpoint>

    {"v": "rr.proof/1", "origin", "index", "size", "leaf": base64, "hashes": [base64], "checkpoint": the note}
    {"v": "rr.consistency/1", "old", "new", "hashes": [base64]}

Integers are strings in JSON. A proof names no key: whoever verifies brings the log's. Each form has one spelling.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import FormatError, ProofError
from libs.tlog.hashing import event_hash
from libs.tlog.note import MAX_NOTE, Verifier
from libs.tlog.proofs import MAX_PATH, verify_consistency, verify_inclusion
from libs.tlog.spelling import base64_bytes, base64_text, number, shown
from libs.tlog.tree import HASH_BYTES

HEADER: Final = b"c2sp.org/tlog-proof@v1"
INCLUSION: Final = "rr.proof/1"
CONSISTENCY: Final = "rr.consistency/1"
MAX_PROOF: Final = MAX_NOTE + 100_000  # bytes: a note, a path and what an application adds
_INCLUSION_KEYS: Final = frozenset({"v", "origin", "index", "size", "leaf", "hashes", "checkpoint"})
_CONSISTENCY_KEYS: Final = frozenset({"v", "old", "new", "hashes"})


@dataclass(frozen=True, slots=True)
class TlogProof:
    """What a `.tlog-proof` file holds. `extra` is not signed by anybody."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The file."""
        extra = [] if self.extra is None else [f"extra {base64_text(self.extra)}"]
        lines = [*extra, f"index {self.index}", *map(base64_text, self.hashes), ""]
        return b"\n".join([HEADER, *(line.encode() for line in lines), self.checkpoint])

    @classmethod
    def parse(cls, raw: bytes) -> "TlogProof":
        """The proof of a file, of which nothing is verified yet. Raises FormatError unless `encode` gives the same."""
        if len(raw) > MAX_PROOF:
            raise FormatError(f"a tlog-proof has at most {MAX_PROOF} bytes")
        head, separator, checkpoint = raw.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        if first != HEADER or not separator:
            raise FormatError(f"not a tlog-proof: it does not begin with {HEADER.decode()} and end with a checkpoint")
        extra = base64_bytes(lines.pop(0)[6:], "the proof's extra") if lines and lines[0][:6] == b"extra " else None
        if not lines or not lines[0].startswith(b"index "):
            raise FormatError(f"the proof has no index: {shown(lines[0] if lines else b'')}")
        if len(lines) > MAX_PATH + 1:
            raise FormatError(f"a proof has at most {MAX_PATH} hashes")
        index = number(lines[0][6:].decode(errors="replace"), "the proof's index")
        return cls(index, tuple(_hashes(lines[1:])), checkpoint, extra)

    def verify(self, leaf_hash: bytes, verifiers: Iterable[Verifier]) -> Signed:
        """The checkpoint under which the leaf stands at the proof's index.

        Raises:
            FormatError, SignatureError: the checkpoint is none, or not signed by its log with one of the keys.
            ProofError: the leaf is not there.
        """
        signed = open_checkpoint(self.checkpoint, verifiers)
        found = signed.checkpoint
        verify_inclusion(leaf_hash, self.index, found.size, self.hashes, found.root)
        return signed


@dataclass(frozen=True, slots=True)
class LeafProof:
    """A leaf with its proof, as the API gives it."""

    origin: str
    size: int
    leaf: bytes
    proof: TlogProof

    def as_json(self) -> dict[str, Any]:
        """The value whose JSON is `rr.proof/1`."""
        return {
            "v": INCLUSION,
            "origin": self.origin,
            "index": str(self.proof.index),
            "size": str(self.size),
            "leaf": base64_text(self.leaf),
            "hashes": [base64_text(item) for item in self.proof.hashes],
            "checkpoint": self.proof.checkpoint.decode(),
        }

    @classmethod
    def from_json(cls, found: object) -> "LeafProof":
        """What `as_json` gave. Raises FormatError."""
        value = _object(found, INCLUSION, _INCLUSION_KEYS)
        index, size = number(value["index"], "index"), number(value["size"], "size")
        leaf = base64_bytes(_text(value, "leaf"), "leaf")
        proof = TlogProof(index, _listed(value["hashes"]), _text(value, "checkpoint").encode(errors="replace"))
        return cls(_text(value, "origin"), size, leaf, proof)

    def verify(self, verifiers: Iterable[Verifier]) -> Signed:
        """As `TlogProof.verify`; origin and size must also be the checkpoint's."""
        signed = self.proof.verify(event_hash(self.leaf), verifiers)
        said = (signed.checkpoint.origin, signed.checkpoint.size)
        if said != (self.origin, self.size):
            raise ProofError(
                f"the proof is for {self.origin} at {self.size}, its checkpoint for {said[0]} at {said[1]}"
            )
        return signed


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That the log of `new` leaves begins with the log of `old` leaves."""

    old: int
    new: int
    hashes: tuple[bytes, ...]

    def as_json(self) -> dict[str, Any]:
        """The value whose JSON is `rr.consistency/1`."""
        hashes = [base64_text(item) for item in self.hashes]
        return {"v": CONSISTENCY, "old": str(self.old), "new": str(self.new), "hashes": hashes}

    @classmethod
    def from_json(cls, found: object) -> "ConsistencyProof":
        """What `as_json` gave. Raises FormatError."""
        value = _object(found, CONSISTENCY, _CONSISTENCY_KEYS)
        return cls(number(value["old"], "old"), number(value["new"], "new"), _listed(value["hashes"]))

    def verify(self, old_root: bytes, new_root: bytes) -> None:
        """Raise ProofError unless the roots of both sizes belong together."""
        verify_consistency(self.old, self.new, old_root, new_root, self.hashes)


def _hashes(lines: Iterable[str | bytes]) -> Iterable[bytes]:
    return (base64_bytes(line, f"hash {at} of the proof", length=HASH_BYTES) for at, line in enumerate(lines))


def _listed(found: object) -> tuple[bytes, ...]:
    if not isinstance(found, list) or len(found) > MAX_PATH or not all(isinstance(item, str) for item in found):
        raise FormatError(f"hashes is not a list of at most {MAX_PATH} texts")
    return tuple(_hashes(found))


def _object(found: object, version: str, keys: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(found, dict) or found.get("v") != version or found.keys() != keys:
        raise FormatError(f"not {version}: an object with exactly {', '.join(sorted(keys))}")
    return found


def _text(value: Mapping[str, Any], key: str) -> str:
    if not isinstance(value[key], str):
        raise FormatError(f"{key} is not text")
    return str(value[key])
