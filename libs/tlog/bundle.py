"""An incident's evidence bundle, built: everything that an outsider needs to check it, as files (see `manifest`).

Pure and deterministic: the same leaves, payloads, objects and key give the same bytes. `inspection` verifies it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

import orjson

from libs.tlog.checkpoint import Checkpoint
from libs.tlog.dsse import seal
from libs.tlog.errors import FormatError
from libs.tlog.hashing import event_hash
from libs.tlog.heads import ChainKey, Head
from libs.tlog.manifest import (
    CHECKPOINT,
    ENVELOPE,
    EVIDENCE,
    MANIFEST,
    SALTS,
    VKEYS,
    Manifest,
    leaf_name,
    payload_names,
    proof_name,
)
from libs.tlog.note import Signer, Verifier, parse_note
from libs.tlog.profile import Value, encode
from libs.tlog.proofs import Hashes, inclusion_proof
from libs.tlog.shape import CONTROL, EVENT
from libs.tlog.spelling import base64_text
from libs.tlog.tlogproof import TlogProof

STATEMENT: Final = "https://in-toto.io/Statement/v1"
PREDICATE: Final = "urn:runbook-ranger:bundle:v1"


@dataclass(frozen=True, slots=True)
class Bundled:
    """A leaf for a bundle; payload and salt are None where they were deleted, and for leaves that are no events."""

    index: int
    leaf: bytes
    payload: bytes | None = None
    salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What goes into an incident's bundle.

    `entries` are all leaves of its chain below the checkpoint's size, with the redaction leaves that name them, and
    whatever else explains them, in any order. `heads` are the chains that they hold completely. `evidence` are the
    objects' bytes; `absent` gives a reason for each object that an event names and the bundle does not hold.
    """

    incident: str
    checkpoint: bytes
    entries: Sequence[Bundled]
    heads: Mapping[ChainKey, Head]
    evidence: Sequence[bytes] = ()
    absent: Mapping[str, str] | None = None
    policy: str = ""
    specs: Sequence[str] = ()


def build(content: Content, hashes: Hashes, vkeys: Iterable[Verifier], signer: Signer) -> dict[str, bytes]:
    """The bundle's files by name. `hashes` are the log's at the checkpoint, `signer` the bundle key.

    Raises:
        FormatError: the checkpoint is none, or salts or payloads are missing without each other.
        ProofError: an entry lies beyond the checkpoint.
    """
    entries = sorted(content.entries, key=lambda entry: entry.index)
    said = Checkpoint.parse(parse_note(content.checkpoint)[0])
    known = cache(hashes)  # proofs of neighbours share most of their nodes
    files = {CHECKPOINT: content.checkpoint, VKEYS: "".join(f"{key.vkey}\n" for key in vkeys).encode()}
    for entry in entries:
        path = inclusion_proof(entry.index, said.size, known)
        files[leaf_name(entry.index)] = entry.leaf
        files[proof_name(entry.index)] = TlogProof(entry.index, tuple(path), content.checkpoint).encode()
    files |= _payloads(entries)
    files |= {f"{EVIDENCE}{sha256(raw).hexdigest()}": raw for raw in content.evidence}
    manifest = _manifest(content, said, entries).value()
    files[MANIFEST] = encode(manifest)
    files[ENVELOPE] = seal(statement(files, manifest), signer)
    return files


def statement(files: Mapping[str, bytes], manifest: dict[str, Value]) -> bytes:
    """The in-toto statement about the files: a subject for each, sorted by name, and the manifest as predicate."""
    subjects: list[Value] = [
        {"digest": {"sha256": sha256(files[name]).hexdigest()}, "name": name} for name in sorted(files)
    ]
    return encode({"_type": STATEMENT, "predicate": manifest, "predicateType": PREDICATE, "subject": subjects})


def sealed_digest(files: Mapping[str, bytes]) -> str:
    """The envelope's SHA-256 in hex: what a `bundle_sealed` leaf names."""
    return sha256(files[ENVELOPE]).hexdigest()


def _payloads(entries: Sequence[Bundled]) -> dict[str, bytes]:
    events = {entry.index: orjson.loads(entry.leaf)["ev"]["id"] for entry in entries if _kind(entry) == EVENT}
    names = payload_names(events.items())
    files: dict[str, bytes] = {}
    salts: dict[str, Value] = {}
    for entry in entries:
        if (entry.payload is None) != (entry.salt is None):
            raise FormatError(f"leaf {entry.index} has a payload without its salt, or a salt without its payload")
        if entry.payload is not None and entry.salt is not None:
            files[names[entry.index]] = entry.payload
            salts[names[entry.index]] = base64_text(entry.salt)
    return {**files, SALTS: encode(salts)}


def _manifest(content: Content, said: Checkpoint, entries: Sequence[Bundled]) -> Manifest:
    read: list[dict[str, Any]] = [orjson.loads(entry.leaf) for entry in entries]
    ends = [
        (src["stream"], int(src["epoch"]), int(src["seq"])) for leaf in read if "seq" in (src := leaf.get("src", {}))
    ]
    redacted = [int(leaf["body"]["of"]) for leaf in read if is_redaction(leaf)]
    return Manifest(
        incident=content.incident,
        origin=said.origin,
        size=said.size,
        leaves=len(entries),
        chains=content.heads,
        sequences=(ends[0], ends[-1]) if ends else None,
        redacted=tuple(sorted(redacted)),
        absent=content.absent or {},
        policy=content.policy,
        specs=tuple(content.specs),
    )


def is_redaction(leaf: Mapping[str, Any]) -> bool:
    """Whether a parsed leaf says that a payload was deleted."""
    return bool(leaf["kind"] == CONTROL and leaf["body"]["type"] == "redaction")


def head_of(entries: Iterable[Bundled], key: ChainKey) -> Head | None:
    """Where a chain ends among the entries; None when none of them stands in it."""
    last = None
    for entry in sorted(entries, key=lambda item: item.index):
        for link in orjson.loads(entry.leaf).get("chains", ()):
            if (link["k"], link["id"]) == key:
                last = Head(int(link["n"]), event_hash(entry.leaf))
    return last


def _kind(entry: Bundled) -> str:
    return str(orjson.loads(entry.leaf)["kind"])
