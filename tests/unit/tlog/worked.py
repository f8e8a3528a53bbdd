"""The worked example's first leaf, and a small log around it that tests bend out of shape."""

import dataclasses
from dataclasses import dataclass, field
from hashlib import sha256

from msgspec.structs import replace

from libs.tlog.chain import ChainKey, Control, First, Head, Item, Message, Missing, Unreadable, chain
from libs.tlog.leaf import Event, Source, stream_reset
from libs.tlog.shape import EVENT
from libs.tlog.tree import Frontier
from libs.tlog.verify import StoredEntry, StoredState

ORIGIN = "rr.example/timeline/prod-1"
INCIDENT = "0192f0c1-0000-7000-8000-00000000000a"

PAYLOAD = b'{"severity":"high","title":"storage_latency_high"}'
SALT = sha256(b"rr test salt 0").digest()
SOURCE = Source("EVENTS", 1, 1, "incident.created", "2026-03-01T10:00:00.000000000Z")
CREATED = Event(
    id="0192f0c2-0000-7000-8000-000000000000",
    source="/svc/incident",
    type="incident.created",
    time="2026-03-01T09:59:50.000000Z",
    tenant="t_a1",
    tenants=("t_b2", "t_a1"),
    actor="usr_7f3a",
    correlation="0192f0c2-0000-7000-8000-000000000000",
    causation="",
    aggregate_type="incident",
    aggregate_id=INCIDENT,
    aggregate_version=1,
    incident_id=INCIDENT,
)


def source(seq: int, subject: str = "incident.created", epoch: int = 1) -> Source:
    return Source("EVENTS", epoch, seq, subject, f"2026-03-01T10:00:00.{seq:09d}Z")


def message(seq: int, *, event: int | None = None, epoch: int = 1, payload: bytes = PAYLOAD) -> Message:
    """A message of its own event unless `event` names another one's number; every third belongs to an execution.

    Every fourth names two tenants, and is read with more care than the others.
    """
    number = seq if event is None else event
    execution = f"exec-{number % 2}" if number % 3 == 0 else None
    told = replace(
        CREATED,
        id=f"0192f0c2-0000-7000-8000-{number:012d}",
        aggregate_version=number,
        execution_id=execution,
        tenants=CREATED.tenants if number % 4 == 0 else (CREATED.tenant,),
    )
    return Message(source(seq, epoch=epoch), told, payload, sha256(b"salt %d" % number).digest())


ITEMS: tuple[Item, ...] = (
    *(message(seq) for seq in range(1, 8)),
    message(8, event=3),
    message(9, event=3, payload=b'{"severity":"low"}'),
    Unreadable(source(10), "ce-id is missing"),
    Missing("EVENTS", 1, 11, 14),
    message(15),
    Control(stream_reset("EVENTS", 2, was=1, last=15)),
    message(1, event=101, epoch=2),
    message(2, event=102, epoch=2),
)


@dataclass
class Store:
    """A stored log in memory, grown by `append` as the timeline grows its own."""

    entries: list[StoredEntry] = field(default_factory=list)
    heads: dict[ChainKey, Head] = field(default_factory=dict)
    seen: dict[tuple[str, str], First] = field(default_factory=dict)
    tree: Frontier = field(default_factory=Frontier)
    position: tuple[str, int, int] = ("EVENTS", 1, 0)

    def append(self, *items: Item) -> None:
        batch = chain(items, origin=ORIGIN, size=self.tree.size, heads=self.heads, seen=self.seen)
        for entry in batch.entries:
            payload = salt = None
            if entry.kind == EVENT and isinstance(entry.item, Message):
                payload, salt = entry.item.payload, entry.item.salt
                self.seen[entry.item.event.source, entry.item.event.id] = First(entry.index, entry.leaf)
            self.entries.append(StoredEntry(entry.index, entry.leaf, entry.event_hash, payload, salt))
            self.tree.append(entry.event_hash)
            self.position = _position(entry.item) or self.position
        self.heads |= batch.heads

    @property
    def state(self) -> StoredState:
        return StoredState(ORIGIN, self.tree.size, self.tree.root(), *self.position)


def _position(item: Item) -> tuple[str, int, int] | None:
    match item:
        case Message() | Unreadable():
            return item.src.stream, item.src.epoch, item.src.seq
        case Missing():
            return item.stream, item.epoch, item.last
        case Control() if item.body["type"] == "stream_reset":
            return item.body["stream"], int(item.body["epoch"]), 0
        case Control():
            return None


def stored() -> Store:
    store = Store()
    store.append(*ITEMS)
    return store


def redacted() -> Store:
    """The log whose fifth event's payload was deleted."""
    store = stored()
    store.append(Control({"type": "redaction", "of": "4", "id": "0192f0c2-0000-7000-8000-000000000005"}))
    store.entries[4] = dataclasses.replace(store.entries[4], payload=None, salt=None)
    return store
