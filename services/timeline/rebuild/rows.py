"""From a leaf to the rows that its append wrote: the same as when it was chained."""

from collections.abc import Callable, Iterable
from typing import Any

import orjson
from msgspec import Struct

from libs.common.contracts.envelope import Envelope
from libs.tlog.chain import Batch, Control, Entry, Head, Item, Message, Missing, Unreadable
from libs.tlog.hashing import SALT_BYTES, event_hash
from libs.tlog.heads import ChainKey
from libs.tlog.leaf import Event, Ref, Source
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, Leaf
from services.timeline.marks import Mark
from services.timeline.model import Arrival


class Copy(Struct, frozen=True):
    """A leaf as a source gives it, with what stands beside it; payload and salt are None where there are none."""

    index: int
    leaf: bytes
    payload: bytes | None
    salt: bytes | None
    mark: Mark


def batch(copies: Iterable[Copy], arrivals: Iterable[Arrival]) -> Batch:
    """What is to be appended, and the heads of the chains that it moves."""
    entries, heads = [], dict[ChainKey, Head]()
    for copy, arrival in zip(copies, arrivals, strict=True):
        read, digest = orjson.loads(copy.leaf), event_hash(copy.leaf)
        entries.append(Entry(copy.index, read["kind"], copy.leaf, digest, arrival.item))
        for link in read.get("chains", ()):
            heads[link["k"], link["id"]] = Head(int(link["n"]), digest)
    return Batch(entries, heads)


def arrival(copy: Copy, source_of: Callable[[int], str]) -> Arrival:
    """What a leaf came from; `source_of` names the source of the event at an index, for what repeats it."""
    read = orjson.loads(copy.leaf)
    if read["kind"] != EVENT:
        return Arrival(_other(read, source_of))
    bare = copy.payload is None or copy.salt is None
    item = Message(_source(read["src"]), _event(read), copy.payload or b"", copy.salt or b"")
    return Arrival(item, _envelope(item.event, copy.mark), bare=bare)


def _other(read: Leaf, source_of: Callable[[int], str]) -> Item:
    body = read["body"]
    if read["kind"] == CONTROL:
        return Control(body)
    src = read["src"]
    match read["kind"]:
        case k if k == GAP:
            return Missing(src["stream"], int(src["epoch"]), int(body["from"]), int(body["to"]))
        case k if k in {DUPLICATE, CONFLICT}:
            return Message(_source(src), _named(body["id"], source_of(int(body["of"]))), b"", b"")
        case _:
            return Unreadable(_source(src), body["reason"])


def _source(src: Leaf) -> Source:
    return Source(src["stream"], int(src["epoch"]), int(src["seq"]), src["subject"], src["ts"])


def _named(event_id: str, source: str) -> Event:
    """As much of an event as the leaf says that repeats one, or contradicts it."""
    return Event(event_id, source, "", "", "", (), "", "", "", "", "", 0)


def _event(read: Leaf) -> Event:
    ev, agg = read["ev"], read["agg"]
    chains: dict[str, Any] = {link["k"]: link["id"] for link in read["chains"]}
    return Event(
        id=ev["id"],
        source=ev["source"],
        type=ev["type"],
        time=ev["time"],
        tenant=ev["tenant"],
        tenants=tuple(ev["tenants"]),
        actor=ev["actor"],
        correlation=ev["correlation"],
        causation=ev["causation"],
        aggregate_type=agg["type"],
        aggregate_id=agg["id"],
        aggregate_version=int(agg["version"]),
        content_type=read["payload"]["ct"],
        incident_id=chains.get("incident"),
        execution_id=chains.get("execution"),
        runbook_id=chains.get("runbook"),
        refs=tuple(Ref(ref["k"], ref["sha256"], int(ref["len"])) for ref in read["refs"]),
    )


def _envelope(event: Event, mark: Mark) -> Envelope:
    """What rows take from an envelope: its marks. The rest is the event's own, and stands in the leaf."""
    return Envelope(
        id=event.id,
        type=event.type,
        source=event.source,
        time=event.time,
        aggregate_type=event.aggregate_type,
        aggregate_id=event.aggregate_id,
        aggregate_version=event.aggregate_version,
        tenant=event.tenant,
        tenants=event.tenants,
        actor=event.actor,
        correlation=event.correlation,
        schema=mark.dataschema,
        traceparent=mark.traceparent,
        marking=mark.marking,
        salt=bytes(SALT_BYTES),
    )
