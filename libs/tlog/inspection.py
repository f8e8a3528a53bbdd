"""Verifies an incident's evidence bundle and names the first thing that does not hold.

Every leaf is proven to stand in the tree, since a valid head alone does not prove its ancestors: chains are then
followed from their first leaf, with indexes rising, to the head and count that the manifest says. Keys are the
auditor's; those in the bundle are not believed. What the manifest says of policy and specs is the bundle key's word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from libs.tlog.archive import check_names
from libs.tlog.bundle import STATEMENT, is_redaction, statement
from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.dsse import unseal
from libs.tlog.errors import BrokenLog, FormatError, LeafError, ProfileError, SignatureError, TlogError
from libs.tlog.findings import names, read_leaf
from libs.tlog.hashing import commit, event_hash, genesis
from libs.tlog.heads import ChainKey, Head
from libs.tlog.manifest import (
    CHECKPOINT,
    ENVELOPE,
    EVIDENCE,
    LEAVES,
    MANIFEST,
    SALTS,
    VKEYS,
    Manifest,
    leaf_name,
    payload_names,
    proof_name,
)
from libs.tlog.note import Verifier
from libs.tlog.profile import encode, is_decimal, parse
from libs.tlog.proofs import verify_inclusion
from libs.tlog.shape import CONTROL, EVENT, GAP, Leaf
from libs.tlog.spelling import base64_bytes, number, shown
from libs.tlog.tlogproof import TlogProof

FIXED = frozenset({CHECKPOINT, VKEYS, SALTS, MANIFEST, ENVELOPE})


@dataclass(slots=True)
class Inspected:
    """What a bundle that verifies consists of.

    `last` is its last leaf with a time, and that one's index; `sealed_by` is the bundle key.
    """

    manifest: Manifest
    signed: Signed
    sealed_by: Verifier
    last: tuple[int, bytes] | None = None


@dataclass(slots=True)
class _Found:
    """What the leaves so far say."""

    heads: dict[ChainKey, Head] = field(default_factory=dict)
    events: dict[tuple[str, str], int] = field(default_factory=dict)
    ends: list[tuple[str, int, int]] = field(default_factory=list)
    bare: dict[int, BrokenLog] = field(default_factory=dict)
    redacted: list[int] = field(default_factory=list)
    refs: dict[str, str] = field(default_factory=dict)
    last: tuple[int, bytes] | None = None


def verify_bundle(files: Mapping[str, bytes], verifiers: Sequence[Verifier]) -> Inspected:
    """Verify the files of a bundle by the auditor's keys: the log's, and the bundle key.

    Raises:
        BrokenLog: the first thing that does not hold, with its leaf where there is one.
        FormatError, SignatureError, ProofError: a file that is none or not signed, by its name.
    """
    check_names(files)
    for name in sorted(FIXED - files.keys()):
        raise FormatError(f"{name} is missing")
    signed = _opened(files, verifiers)
    manifest = Manifest.parse(files[MANIFEST])
    key = _sealed(files, manifest, signed, verifiers)
    said = signed.checkpoint
    if (manifest.origin, manifest.size) != (said.origin, said.size):
        raise BrokenLog(
            f"the manifest is of {manifest.origin} at {manifest.size}, the checkpoint of {said.origin} at {said.size}"
        )
    inspection = _Inspection(files, manifest, signed)
    inspection.run()
    return Inspected(manifest, signed, key, inspection.found.last)


def _opened(files: Mapping[str, bytes], verifiers: Sequence[Verifier]) -> Signed:
    try:
        signed = open_checkpoint(files[CHECKPOINT], verifiers)
    except (FormatError, SignatureError) as error:
        raise type(error)(f"{CHECKPOINT}: {error}") from None
    try:
        for line in files[VKEYS].decode().splitlines():
            Verifier.parse(line)
    except (FormatError, UnicodeDecodeError) as error:
        raise FormatError(f"{VKEYS}: {error}") from None
    return signed


def _sealed(files: Mapping[str, bytes], manifest: Manifest, signed: Signed, verifiers: Sequence[Verifier]) -> Verifier:
    """The key that sealed exactly these files."""
    log_keys = {found.key.public for found in signed.signers}
    try:
        body, keys = unseal(files[ENVELOPE], [key for key in verifiers if key.public not in log_keys])
    except (FormatError, SignatureError) as error:
        raise type(error)(f"{ENVELOPE}: {error}") from None
    others = {name: raw for name, raw in files.items() if name != ENVELOPE}
    if body != statement(others, manifest.value()):
        raise BrokenLog(f"{ENVELOPE}: {_difference(body, others)}")
    return keys[0]


def _difference(body: bytes, files: Mapping[str, bytes]) -> str:
    """Which file is not what the statement says."""
    try:
        said: Any = parse(body)
        digests = {subject["name"]: subject["digest"]["sha256"] for subject in said["subject"]}
        kind = said["_type"]
    except (ProfileError, KeyError, TypeError):
        return "the statement is not one about a bundle"
    if kind != STATEMENT:
        return f"the statement is of type {shown(kind)}"
    for name in sorted(digests.keys() | files.keys()):
        if name not in files:
            return f"{name} was sealed and is missing"
        if name not in digests:
            return f"{name} was not sealed"
        if sha256(files[name]).hexdigest() != digests[name]:
            return f"{name} is not the file that was sealed"
    return "the statement's predicate is not the manifest"


class _Inspection:
    def __init__(self, files: Mapping[str, bytes], manifest: Manifest, signed: Signed) -> None:
        self._files = files
        self._manifest = manifest
        self._signed = signed
        self._salts = _salts(files[SALTS])
        self._payloads: dict[int, str] = {}
        self.found = _Found()

    def run(self) -> None:
        indexes = sorted(number(name.removeprefix(LEAVES), name) for name in self._files if name.startswith(LEAVES))
        leaves = {index: self._included(index) for index in indexes}
        self._payloads = payload_names(
            (index, leaf["ev"]["id"]) for index, leaf in leaves.items() if leaf["kind"] == EVENT
        )
        for index, leaf in leaves.items():
            self._leaf(index, leaf)
        for finding in self.found.bare.values():
            raise finding
        self._nothing_else(indexes)
        self._as_the_manifest_says(len(indexes))

    def _included(self, index: int) -> Leaf:
        """The leaf, proven to stand in the tree."""
        raw, said = self._files[leaf_name(index)], self._signed.checkpoint
        leaf = read_leaf(index, raw)
        if leaf["log"] != said.origin:
            raise BrokenLog(f"leaf belongs to another log, {leaf['log']}", **names(index, raw))
        name = proof_name(index)
        if name not in self._files:
            raise BrokenLog("has no proof", **names(index, raw))
        try:
            proof = TlogProof.parse(self._files[name])
            if (proof.index, proof.checkpoint) != (index, self._signed.raw):
                raise FormatError("it is of another index or checkpoint")
            verify_inclusion(event_hash(raw), index, said.size, proof.hashes, said.root)
        except TlogError as error:
            raise BrokenLog(f"{name}: {error}", **names(index, raw)) from None
        return leaf

    def _leaf(self, index: int, leaf: Leaf) -> None:
        raw = self._files[leaf_name(index)]
        if leaf["kind"] not in {CONTROL, GAP}:
            self._position(index, raw, leaf["src"])
            self.found.last = (index, raw)
        if leaf["kind"] == EVENT:
            self._event(index, raw, leaf)
        elif is_redaction(leaf):
            of = leaf["body"].get("of", "")
            if not is_decimal(of) or self.found.bare.pop(int(of), None) is None:
                raise BrokenLog("redaction names no event of the bundle whose payload is gone", index=index)
            self.found.redacted.append(int(of))

    def _position(self, index: int, raw: bytes, src: Leaf) -> None:
        here = (src["stream"], int(src["epoch"]), int(src["seq"]))
        if self.found.ends and self.found.ends[-1] >= here and self.found.ends[-1][0] == here[0]:
            raise BrokenLog("its stream sequence does not rise with its index", **names(index, raw))
        self.found.ends = [*self.found.ends[:1], here]

    def _event(self, index: int, raw: bytes, leaf: Leaf) -> None:
        key = (leaf["ev"]["source"], leaf["ev"]["id"])
        if self.found.events.setdefault(key, index) != index:
            raise BrokenLog(f"the event stands at leaf {self.found.events[key]} already", **names(index, raw))
        self._payload(index, raw, leaf["payload"])
        for link in leaf["chains"]:
            self._link(index, raw, link)
        for ref in leaf["refs"]:
            self._ref(index, raw, ref)

    def _payload(self, index: int, raw: bytes, said: Leaf) -> None:
        name = self._payloads[index]
        if name not in self._files or name not in self._salts:
            reason = f"{name} or its salt is missing and no redaction leaf of the bundle says so"
            self.found.bare[index] = BrokenLog(reason, **names(index, raw))
            return
        try:
            commitment = commit(self._files[name], self._salts[name]).hex()
        except LeafError as error:
            raise BrokenLog(f"{name}: {error}", **names(index, raw)) from None
        if commitment != said["commit"] or str(len(self._files[name])) != said["len"]:
            raise BrokenLog(f"{name} does not match its commitment", **names(index, raw))

    def _link(self, index: int, raw: bytes, link: Leaf) -> None:
        key, n = (link["k"], link["id"]), int(link["n"])
        head = self.found.heads.get(key)
        known = head.n if head else 0
        if n <= known or (n != known + 1 and key in self._manifest.chains):
            reason = f"is number {n} of {key[0]} {key[1]}'s chain, expected {known + 1}"
            raise BrokenLog(reason, **names(index, raw))
        before = head.event_hash if head else genesis(self._manifest.origin, *key)
        if n == known + 1 and link["prev"] != before.hex():
            reason = f"does not follow the leaf before it in {key[0]} {key[1]}'s chain"
            raise BrokenLog(reason, **names(index, raw))
        self.found.heads[key] = Head(n, event_hash(raw))

    def _ref(self, index: int, raw: bytes, ref: Leaf) -> None:
        name = f"{EVIDENCE}{ref['sha256']}"
        if name not in self._files:
            if ref["sha256"] not in self._manifest.absent:
                raise BrokenLog(f"{name}, which it names, is missing", **names(index, raw))
            return
        found = self.found.refs.setdefault(name, sha256(self._files[name]).hexdigest())
        if found != ref["sha256"]:
            raise BrokenLog(f"{name} has the SHA-256 {found}", **names(index, raw))
        if str(len(self._files[name])) != ref["len"]:
            raise BrokenLog(f"{name} does not have the length that is named, {ref['len']}", **names(index, raw))

    def _nothing_else(self, indexes: Sequence[int]) -> None:
        told = {self._payloads[index] for index in self._payloads if index not in self.found.redacted}
        expected = FIXED | told | self.found.refs.keys()
        expected |= {leaf_name(index) for index in indexes} | {proof_name(index) for index in indexes}
        for name in sorted(self._files.keys() - expected):
            raise BrokenLog(f"{name} belongs to no leaf of the bundle")
        for name in sorted(self._salts.keys() - told):
            raise BrokenLog(f"{SALTS} has a salt for {name}, which belongs to no leaf of the bundle")

    def _as_the_manifest_says(self, leaves: int) -> None:
        said, found = self._manifest, self.found
        if ("incident", said.incident) not in said.chains:
            raise BrokenLog(f"the manifest does not say where the chain of incident {said.incident} ends")
        if said.leaves != leaves:
            raise BrokenLog(f"the bundle has {leaves} leaves, its manifest says {said.leaves}")
        for key, head in said.chains.items():
            here = found.heads.get(key)
            if here != head:
                ends = f"ends at number {here.n}, {here.event_hash.hex()}" if here else "has no leaf in the bundle"
                raise BrokenLog(
                    f"the chain of {key[0]} {key[1]} {ends}; the manifest says number {head.n}, {head.event_hash.hex()}"
                )
        if (said.sequences or ()) != tuple(found.ends[:1] + found.ends[-1:]):
            raise BrokenLog("the manifest's sequences are not those of the bundle's leaves")
        if tuple(sorted(found.redacted)) != said.redacted:
            raise BrokenLog("the manifest's redactions are not those of the bundle's leaves")


def _salts(raw: bytes) -> dict[str, bytes]:
    try:
        found = parse(raw)
    except ProfileError as error:
        raise FormatError(f"{SALTS}: {error}") from None
    if not isinstance(found, dict) or encode(found) != raw:
        raise FormatError(f"{SALTS}: not an object of salts by payload")
    return {name: base64_bytes(str(salt), f"{SALTS}: the salt of {name}") for name, salt in found.items()}
