"""Reads a stored log from its first leaf and names the first thing that does not hold.

Everything is computed anew from the leaves: hashes, canonical form, commitments, chains, sequences, size, root.
What the store says of itself (event hashes, heads, size, root, position) is only compared.

Without an external witness or an auditor's own copy of a checkpoint, whoever can write the store can rewrite all of
it consistently: then this passes. What it proves is that the log is whole and consistent as stored.

Memory: about 200 bytes an event (ids, to find repetitions) and a chain; entries themselves are not kept.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

from libs.tlog.errors import BrokenLog, LeafError, ProfileError
from libs.tlog.hashing import commit, event_hash, genesis
from libs.tlog.heads import ChainKey, Head
from libs.tlog.profile import parse
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, MAX_LEAF, Leaf, check
from libs.tlog.tree import Frontier


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """One row of the log as it is stored; payload and salt are None for other kinds than event, and once redacted."""

    index: int
    leaf: bytes
    event_hash: bytes
    payload: bytes | None = None
    salt: bytes | None = None


@dataclass(frozen=True, slots=True)
class StoredState:
    """What the store says of the log as a whole. `seq` is the last stream sequence with an outcome, 0 before any."""

    origin: str
    size: int
    root: bytes
    stream: str
    epoch: int
    seq: int


@dataclass(slots=True)
class Report:
    """What a log that verifies consists of. `redacted` are the indexes of events whose payload was deleted."""

    size: int
    root: bytes
    kinds: dict[str, int] = field(default_factory=dict)
    redacted: list[int] = field(default_factory=list)


def verify(entries: Iterable[StoredEntry], state: StoredState, heads: Mapping[ChainKey, Head]) -> Report:
    """Verify a whole log; entries in the order of their index. Raises BrokenLog with the first finding."""
    verifier = Verifier(state)
    for entry in entries:
        verifier.add(entry)
    return verifier.finish(heads)


class Verifier:
    """As `verify`, for entries that arrive in pages: `add` each, then `finish`."""

    def __init__(self, state: StoredState) -> None:
        self._state = state
        self._tree = Frontier()
        self._heads: dict[ChainKey, Head] = {}
        self._firsts: dict[tuple[str, str], int] = {}
        self._ids: dict[int, str] = {}
        self._source: tuple[str, int] | None = None
        self._seq = 0
        self._kinds: dict[str, int] = {}
        self._bare: dict[int, BrokenLog] = {}
        self._redacted: list[int] = []

    def add(self, entry: StoredEntry) -> None:
        """Verify the next entry against all before it. Raises BrokenLog."""
        expected = self._tree.size
        if entry.index != expected:
            raise BrokenLog(_index_words(entry.index, expected), index=entry.index)
        if event_hash(entry.leaf) != entry.event_hash:
            raise BrokenLog("stored leaf does not match its stored hash", **_names(entry))
        leaf = self._read(entry)
        kind = leaf["kind"]
        if kind == CONTROL:
            self._control(entry, leaf)
        else:
            self._sequence(entry, leaf)
        if kind == EVENT:
            self._event(entry, leaf)
        elif kind in {DUPLICATE, CONFLICT}:
            self._repetition(entry, leaf)
        self._tree.append(entry.event_hash)
        self._kinds[kind] = self._kinds.get(kind, 0) + 1

    def finish(self, heads: Mapping[ChainKey, Head]) -> Report:
        """Compare the whole with what the store says of it. Raises BrokenLog."""
        state, root = self._state, self._tree.root()
        if self._tree.size != state.size:
            raise BrokenLog(f"the log holds {self._tree.size} leaves, its state says {state.size}")
        if root != state.root:
            raise BrokenLog(f"the leaves' root is {root.hex()}, the state says {state.root.hex()}")
        for finding in self._bare.values():
            raise finding
        self._compare_heads(heads)
        self._compare_position()
        return Report(self._tree.size, root, self._kinds, self._redacted)

    def _read(self, entry: StoredEntry) -> Leaf:
        if len(entry.leaf) > MAX_LEAF:
            raise BrokenLog(f"leaf is longer than {MAX_LEAF} bytes", index=entry.index)
        try:
            leaf = cast("Leaf", parse(entry.leaf))
            check(leaf)
        except ProfileError as error:
            raise BrokenLog(f"leaf is not canonical: {error}", index=entry.index) from None
        except (LeafError, AttributeError) as error:
            raise BrokenLog(f"leaf is malformed: {error}", index=entry.index) from None
        if leaf["log"] != self._state.origin:
            raise BrokenLog(f"leaf belongs to another log, {leaf['log']}", **_names(entry, leaf))
        return leaf

    def _sequence(self, entry: StoredEntry, leaf: Leaf) -> None:
        src = leaf["src"]
        source = (src["stream"], int(src["epoch"]))
        if self._source is None:
            self._source = source
        elif self._source != source:
            reason = f"stream {source[0]} epoch {source[1]} follows {self._source[0]} epoch {self._source[1]}"
            raise BrokenLog(f"{reason} without a stream_reset", **_names(entry, leaf))
        gap = leaf["kind"] == GAP
        first, last = _range(leaf["body"]) if gap else (int(src["seq"]), int(src["seq"]))
        if first != self._seq + 1:
            raise BrokenLog(_sequence_words(first, self._seq + 1), **_names(entry, leaf))
        self._seq = last

    def _control(self, entry: StoredEntry, leaf: Leaf) -> None:
        body = leaf["body"]
        if body["type"] == "stream_reset":
            self._reset(entry, body)
        elif body["type"] == "redaction":
            self._redaction(entry, body)

    def _reset(self, entry: StoredEntry, body: Leaf) -> None:
        try:
            source, was, last = (body["stream"], int(body["epoch"])), int(body["was"]), int(body["last"])
        except (KeyError, ValueError):
            raise BrokenLog("stream_reset does not name stream, epoch, was and last", index=entry.index) from None
        before = self._source or (source[0], was)
        if (source[0], was, last) != (*before, self._seq) or source[1] <= was:
            reason = f"stream_reset does not continue {before[0]} epoch {before[1]} sequence {self._seq}"
            raise BrokenLog(reason, index=entry.index)
        self._source, self._seq = source, 0

    def _redaction(self, entry: StoredEntry, body: Leaf) -> None:
        of = body.get("of", "")
        if not of.isdecimal() or self._bare.pop(int(of), None) is None:
            raise BrokenLog("redaction names no event whose payload is gone", index=entry.index)
        self._redacted.append(int(of))

    def _event(self, entry: StoredEntry, leaf: Leaf) -> None:
        key = (leaf["ev"]["source"], leaf["ev"]["id"])
        if key in self._firsts:
            raise BrokenLog(f"the event stands at leaf {self._firsts[key]} already", **_names(entry, leaf))
        self._commitment(entry, leaf)
        for link in leaf["chains"]:
            self._link(entry, leaf, link)
        for link in leaf["chains"]:
            self._heads[link["k"], link["id"]] = Head(int(link["n"]), entry.event_hash)
        self._firsts[key] = entry.index
        self._ids[entry.index] = key[1]

    def _commitment(self, entry: StoredEntry, leaf: Leaf) -> None:
        if entry.payload is None or entry.salt is None:
            reason = "stored payload or salt is missing and no redaction says so"
            self._bare[entry.index] = BrokenLog(reason, **_names(entry, leaf))
            return
        try:
            commitment = commit(entry.payload, entry.salt).hex()
        except LeafError as error:
            raise BrokenLog(f"stored {error}", **_names(entry, leaf)) from None
        if commitment != leaf["payload"]["commit"]:
            raise BrokenLog("stored payload does not match its commitment", **_names(entry, leaf))
        if str(len(entry.payload)) != leaf["payload"]["len"]:
            raise BrokenLog("stored payload does not have its stated length", **_names(entry, leaf))

    def _link(self, entry: StoredEntry, leaf: Leaf, link: Leaf) -> None:
        kind, chain_id = link["k"], link["id"]
        head = self._heads.get((kind, chain_id))
        n = head.n + 1 if head else 1
        if link["n"] != str(n):
            reason = f"is number {link['n']} of {kind} {chain_id}'s chain, expected {n}"
            raise BrokenLog(reason, **_names(entry, leaf))
        before = head.event_hash if head else genesis(self._state.origin, kind, chain_id)
        if link["prev"] != before.hex():
            reason = f"does not follow the leaf before it in {kind} {chain_id}'s chain"
            raise BrokenLog(reason, **_names(entry, leaf))

    def _repetition(self, entry: StoredEntry, leaf: Leaf) -> None:
        of, event_id = int(leaf["body"]["of"]), leaf["body"]["id"]
        if self._ids.get(of) != event_id:
            reason = f"{leaf['kind']} names leaf {of}, which is no event {event_id}"
            raise BrokenLog(reason, **_names(entry, leaf))

    def _compare_heads(self, heads: Mapping[ChainKey, Head]) -> None:
        for key, head in self._heads.items():
            stored = heads.get(key)
            if stored != head:
                says = f"number {stored.n}, {stored.event_hash.hex()}" if stored else "nothing"
                raise BrokenLog(
                    f"the chain of {key[0]} {key[1]} ends at number {head.n}, {head.event_hash.hex()}; "
                    f"the stored head says {says}"
                )
        for kind, chain_id in heads.keys() - self._heads.keys():
            raise BrokenLog(f"a head is stored for {kind} {chain_id}, which no leaf names")

    def _compare_position(self) -> None:
        state = self._state
        source, seq = self._source or (state.stream, state.epoch), self._seq
        if (*source, seq) != (state.stream, state.epoch, state.seq):
            raise BrokenLog(
                f"the leaves end at {source[0]} epoch {source[1]} sequence {seq}, "
                f"the state says {state.stream} epoch {state.epoch} sequence {state.seq}"
            )


def _names(entry: StoredEntry, leaf: Leaf | None = None) -> dict[str, Any]:
    """What identifies an entry in a finding; a leaf that cannot be trusted is still read for its names."""
    names: dict[str, Any] = {"index": entry.index}
    if leaf is None:
        try:
            leaf = cast("Leaf", parse(entry.leaf))
            check(leaf)
        except (ProfileError, LeafError, AttributeError):
            return names
    if leaf["kind"] == EVENT:
        names |= {"event_id": leaf["ev"]["id"], "event_type": leaf["ev"]["type"]}
    elif leaf["kind"] in {DUPLICATE, CONFLICT}:
        names["event_id"] = leaf["body"]["id"]
    if "seq" in leaf.get("src", {}):
        names["sequence"] = int(leaf["src"]["seq"])
    return names


def _range(body: Leaf) -> tuple[int, int]:
    return int(body["from"]), int(body["to"])


def _index_words(index: int, expected: int) -> str:
    if index < expected:
        return f"the index occurs twice or out of order, expected {expected}"
    missing = f"leaf {expected} is" if index == expected + 1 else f"leaves {expected} to {index - 1} are"
    return f"{missing} missing before it"


def _sequence_words(first: int, expected: int) -> str:
    if first < expected:
        return f"stream sequence {first} has its outcome already, expected {expected}"
    missing = f"sequence {expected} has" if first == expected + 1 else f"sequences {expected} to {first - 1} have"
    return f"stream {missing} no outcome before it"
