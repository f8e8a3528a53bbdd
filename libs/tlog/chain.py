"""Chaining of one batch: what the stream gave, in order -> leaves, hashes and new chain heads.

Pure and total: whatever a message holds, it gets an outcome (event, duplicate, conflict or reject), so that a
hostile message cannot stop the log.
"""

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import orjson
from msgspec import Struct

from libs.tlog.errors import LeafError
from libs.tlog.hashing import event_hash, genesis
from libs.tlog.heads import ChainKey, Head
from libs.tlog.leaf import (
    Event,
    Link,
    Source,
    conflict_leaf,
    control_leaf,
    duplicate_leaf,
    event_leaf,
    gap_leaf,
    reject_leaf,
    same_content,
)
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, REJECT

__all__ = [  # with what appending shares with verifying
    "Batch",
    "ChainKey",
    "Control",
    "Entry",
    "EventKey",
    "First",
    "Head",
    "Item",
    "Message",
    "Missing",
    "Unreadable",
    "chain",
]

EventKey: TypeAlias = tuple[str, str]  # (source, event id)


class Message(Struct, frozen=True):
    """A stream message whose envelope could be read."""

    src: Source
    event: Event
    payload: bytes
    salt: bytes


class Unreadable(Struct, frozen=True):
    """A stream message without a valid envelope. `reason` must depend on the message alone."""

    src: Source
    reason: str


class Missing(Struct, frozen=True):
    """Sequences first..last, confirmed absent from the stream."""

    stream: str
    epoch: int
    first: int
    last: int


class Control(Struct, frozen=True):
    """Something the log says about itself."""

    body: Mapping[str, str]


Item: TypeAlias = Message | Unreadable | Missing | Control


class First(Struct, frozen=True):
    """The event leaf that holds an id: its index and its bytes."""

    index: int
    leaf: bytes


class Entry(Struct, frozen=True):
    """One leaf to be appended, and the item it tells of."""

    index: int
    kind: str
    leaf: bytes
    event_hash: bytes
    item: Item


class Batch(Struct, frozen=True):
    """Entries in order, and the heads of the chains that they moved."""

    entries: list[Entry]
    heads: dict[ChainKey, Head]


def chain(
    items: Iterable[Item],
    *,
    origin: str,
    size: int,
    heads: Mapping[ChainKey, Head],
    seen: Mapping[EventKey, First],
) -> Batch:
    """Leaves of the items, the first at index `size`.

    `heads` must hold the head of every chain that the items name and that exists; `seen` the event leaf of every
    (source, id) among them that the log already has. Items must come in stream order.
    """
    chainer = _Chainer(origin, heads, seen)
    entries = [chainer.entry(index, item) for index, item in enumerate(items, size)]
    return Batch(entries, chainer.heads())


class _Chainer:
    def __init__(self, origin: str, heads: Mapping[ChainKey, Head], seen: Mapping[EventKey, First]) -> None:
        self.origin = origin
        self._moved: dict[ChainKey, tuple[int, bytes]] = {}  # as in a Head, which costs more to make for each link
        self._heads = heads
        self._seen = seen
        self._new: dict[EventKey, First] = {}

    def heads(self) -> dict[ChainKey, Head]:
        """Where the chains stand that moved."""
        return {key: Head(*last) for key, last in self._moved.items()}

    def entry(self, index: int, item: Item) -> Entry:
        kind, leaf, links = self._outcome(item)
        digest = event_hash(leaf)
        if kind == EVENT and isinstance(item, Message):
            self._new[item.event.source, item.event.id] = First(index, leaf)
        for link in links:
            self._moved[link.kind, link.id] = (link.n, digest)
        return Entry(index, kind, leaf, digest, item)

    def _outcome(self, item: Item) -> tuple[str, bytes, list[Link]]:
        """Kind, leaf, and the links by which it moves chains."""
        match item:
            case Message():
                return self._message(item)
            case Unreadable():
                return REJECT, reject_leaf(self.origin, item.src, item.reason), []
            case Missing():
                return GAP, gap_leaf(self.origin, item.stream, item.epoch, item.first, item.last), []
            case Control():
                return CONTROL, control_leaf(self.origin, item.body), []

    def _message(self, item: Message) -> tuple[str, bytes, list[Link]]:
        try:
            links = [self._link(key) for key in item.event.chains()]
            leaf = event_leaf(self.origin, item.src, item.event, item.payload, item.salt, links)
        except LeafError as error:
            return REJECT, reject_leaf(self.origin, item.src, error.reason), []
        key = (item.event.source, item.event.id)
        first = self._new.get(key) or self._seen.get(key)
        if first is None:
            return EVENT, leaf, links
        if same_content(orjson.loads(first.leaf), orjson.loads(leaf)):
            return DUPLICATE, duplicate_leaf(self.origin, item.src, item.event.id, first.index), []
        return CONFLICT, conflict_leaf(self.origin, item.src, item.event.id, first.index), []

    def _link(self, key: ChainKey) -> Link:
        kind, chain_id = key
        head = self._moved.get(key) or self._heads.get(key)
        if head is None:
            return Link(kind, chain_id, 1, genesis(self.origin, kind, chain_id))
        return Link(kind, chain_id, head[0] + 1, head[1])
