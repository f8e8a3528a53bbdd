"""Reads a stored log from its first leaf and names the first thing that does not hold.

Everything is computed anew from the leaves, by a `Walk`. What the store says of itself (event hashes, heads, size,
root, position) is only compared.

Without an external witness or an auditor's own copy of a checkpoint, whoever can write the store can rewrite all of
it consistently: then this passes. What it proves is that the log is whole and consistent as stored.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from libs.tlog.errors import BrokenLog
from libs.tlog.heads import ChainKey, Head
from libs.tlog.walk import Walk


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
        self._walk = Walk(state.origin)

    def add(self, entry: StoredEntry) -> None:
        """Verify the next entry against all before it. Raises BrokenLog."""
        self._walk.add(entry.index, entry.leaf, entry.payload, entry.salt, entry.event_hash)

    def finish(self, heads: Mapping[ChainKey, Head]) -> Report:
        """Compare the whole with what the store says of it. Raises BrokenLog."""
        walk, state = self._walk, self._state
        root = walk.tree.root()
        if walk.tree.size != state.size:
            raise BrokenLog(f"the log holds {walk.tree.size} leaves, its state says {state.size}")
        if root != state.root:
            raise BrokenLog(f"the leaves' root is {root.hex()}, the state says {state.root.hex()}")
        walk.finish()
        self._compare_heads(heads)
        self._compare_position()
        return Report(walk.tree.size, root, walk.kinds, walk.redacted)

    def _compare_heads(self, heads: Mapping[ChainKey, Head]) -> None:
        found = self._walk.heads()
        for key, head in found.items():
            stored = heads.get(key)
            if stored != head:
                says = f"number {stored.n}, {stored.event_hash.hex()}" if stored else "nothing"
                raise BrokenLog(
                    f"the chain of {key[0]} {key[1]} ends at number {head.n}, {head.event_hash.hex()}; "
                    f"the stored head says {says}"
                )
        for kind, chain_id in heads.keys() - found.keys():
            raise BrokenLog(f"a head is stored for {kind} {chain_id}, which no leaf names")

    def _compare_position(self) -> None:
        state = self._state
        stream, epoch, seq = self._walk.position or (state.stream, state.epoch, 0)
        if (stream, epoch, seq) != (state.stream, state.epoch, state.seq):
            raise BrokenLog(
                f"the leaves end at {stream} epoch {epoch} sequence {seq}, "
                f"the state says {state.stream} epoch {state.epoch} sequence {state.seq}"
            )
