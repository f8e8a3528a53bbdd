"""The exact bytes of each kind of leaf: canonical JSON, at most 4,096 bytes, hashed as `hashing` says.

Leaf bytes are a pure function of the stream message and its place in the log: a replay writes the same bytes.
"""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from msgspec import Struct

from libs.tlog.errors import LeafError, ProfileError
from libs.tlog.hashing import SALT_BYTES, commit, event_hash, genesis
from libs.tlog.profile import encode_checked
from libs.tlog.shape import CONFLICT, CONTROL, DUPLICATE, EVENT, GAP, MAX_LEAF, REJECT, VERSION, Leaf, check
from libs.tlog.usual import usual_event

__all__ = [  # with what appending shares with verifying
    "SALT_BYTES",
    "Event",
    "Link",
    "Ref",
    "Source",
    "commit",
    "conflict_leaf",
    "control_leaf",
    "duplicate_leaf",
    "event_hash",
    "event_leaf",
    "gap_leaf",
    "genesis",
    "reject_leaf",
    "same_content",
    "stream_reset",
]

_texts_of = attrgetter(
    "aggregate_id", "aggregate_type", "actor", "causation", "correlation", "id", "source", "tenant", "time", "type",
    "content_type",
)  # fmt: skip
_SUBJECT_SHOWN = 200  # characters of a rejected message's subject: its leaf must fit whatever was sent


class Source(Struct, frozen=True):
    """Where a message stands: stream, how often that stream was made anew, sequence, subject, stored time.

    `ts` is JetStream's stored timestamp, UTC with nine digits: `2026-03-01T10:00:00.000000000Z`.
    """

    stream: str
    epoch: int
    seq: int
    subject: str
    ts: str


class Ref(Struct, frozen=True, order=True):
    """An object that an event names: kind (spec, evidence, output, approval, bundle), SHA-256 in hex, bytes."""

    k: str
    sha256: str
    len: int


class Event(Struct, frozen=True):
    """What an event's envelope says. `tenants` and `refs` may come in any order; `causation` may be empty."""

    id: str
    source: str
    type: str
    time: str
    tenant: str
    tenants: tuple[str, ...]
    actor: str
    correlation: str
    causation: str
    aggregate_type: str
    aggregate_id: str
    aggregate_version: int
    content_type: str = "application/json"
    incident_id: str | None = None
    execution_id: str | None = None
    runbook_id: str | None = None
    refs: tuple[Ref, ...] = ()

    def chains(self) -> list[tuple[str, str]]:
        """The chains that the event belongs to, as (kind, id), sorted by kind."""
        named = (("execution", self.execution_id), ("incident", self.incident_id), ("runbook", self.runbook_id))
        return [(kind, chain_id) for kind, chain_id in named if chain_id]


class Link(Struct, frozen=True):
    """A leaf's place in one chain: the n-th of (kind, id), after the leaf whose hash is `prev`."""

    kind: str
    id: str
    n: int
    prev: bytes


def event_leaf(origin: str, src: Source, event: Event, payload: bytes, salt: bytes, links: Sequence[Link]) -> bytes:
    """Leaf of a message that is a valid event and the first with its source and id. Raises LeafError."""
    return usual_leaf(origin, src, event, payload, salt, links) or plain_leaf(origin, src, event, payload, salt, links)


def plain_leaf(origin: str, src: Source, event: Event, payload: bytes, salt: bytes, links: Sequence[Link]) -> bytes:
    """The same, whatever the event holds. Raises LeafError."""
    return _bytes(
        {
            "agg": {
                "id": event.aggregate_id,
                "type": event.aggregate_type,
                "version": str(event.aggregate_version),
            },
            "chains": [{"id": link.id, "k": link.kind, "n": str(link.n), "prev": link.prev.hex()} for link in links],
            "ev": {
                "actor": event.actor,
                "causation": event.causation,
                "correlation": event.correlation,
                "id": event.id,
                "source": event.source,
                "tenant": event.tenant,
                "tenants": sorted(set(event.tenants)),
                "time": event.time,
                "type": event.type,
            },
            "kind": EVENT,
            "log": origin,
            "payload": {"commit": commit(payload, salt).hex(), "ct": event.content_type, "len": str(len(payload))},
            "refs": [{"k": ref.k, "len": str(ref.len), "sha256": ref.sha256} for ref in sorted(set(event.refs))],
            "src": _src(src),
            "v": VERSION,
        }
    )


def usual_leaf(
    origin: str, src: Source, event: Event, payload: bytes, salt: bytes, links: Sequence[Link]
) -> bytes | None:
    """What `plain_leaf` gives of an event as nearly all are, at a third of its cost; None of any other.

    It is written by a template, and taken only where no value holds a quote and the pattern takes it by which such
    leaves are read. Raises LeafError.
    """
    texts = (*_texts_of(event), origin, src.stream, src.subject, src.ts, *[link.id for link in links])
    if event.refs or event.tenants != (event.tenant,) or '"' in "".join(texts):
        return None
    agg_id, agg_type, actor, causation, correlation, event_id, source, tenant, time, kind, content_type, *_ = texts
    chains = ",".join(
        [f'{{"id":"{link.id}","k":"{link.kind}","n":"{link.n}","prev":"{link.prev.hex()}"}}' for link in links]
    )
    leaf = (
        f'{{"agg":{{"id":"{agg_id}","type":"{agg_type}","version":"{event.aggregate_version}"}},"chains":[{chains}]'
        f',"ev":{{"actor":"{actor}","causation":"{causation}","correlation":"{correlation}","id":"{event_id}"'
        f',"source":"{source}","tenant":"{tenant}","tenants":["{tenant}"],"time":"{time}","type":"{kind}"}}'
        f',"kind":"event","log":"{origin}","payload":{{"commit":"{commit(payload, salt).hex()}","ct":"{content_type}"'
        f',"len":"{len(payload)}"}},"refs":[],"src":{{"epoch":"{src.epoch}","seq":"{src.seq}","stream":"{src.stream}"'
        f',"subject":"{src.subject}","ts":"{src.ts}"}},"v":"{VERSION}"}}'
    ).encode(errors="surrogatepass")  # which the pattern does not take
    return leaf if usual_event(leaf) is not None else None


def duplicate_leaf(origin: str, src: Source, event_id: str, of: int) -> bytes:
    """Leaf of a message that repeats the event at index `of`, byte for byte, under a new sequence."""
    return _outcome(DUPLICATE, origin, _src(src), {"id": event_id, "of": str(of)})


def conflict_leaf(origin: str, src: Source, event_id: str, of: int) -> bytes:
    """Leaf of a message that carries the id of the event at index `of` with other content; the first one stands."""
    return _outcome(CONFLICT, origin, _src(src), {"id": event_id, "of": str(of)})


def reject_leaf(origin: str, src: Source, reason: str) -> bytes:
    """Leaf of a message that is no valid event, or whose leaf would be too long. Fits whatever the subject is."""
    shown = src.subject[:_SUBJECT_SHOWN].replace("\0", "\ufffd").encode(errors="replace").decode()
    return _outcome(REJECT, origin, {**_src(src), "subject": shown}, {"reason": reason})


def gap_leaf(origin: str, stream: str, epoch: int, first: int, last: int) -> bytes:
    """Leaf of the sequences first..last (both included), confirmed absent from the stream."""
    return _outcome(GAP, origin, {"epoch": str(epoch), "stream": stream}, {"from": str(first), "to": str(last)})


def control_leaf(origin: str, body: Mapping[str, str]) -> bytes:
    """Leaf of something the log says about itself; `body` has a `type` and strings only."""
    return _bytes({"body": dict(body), "kind": CONTROL, "log": origin, "v": VERSION})


def stream_reset(stream: str, epoch: int, *, was: int, last: int) -> dict[str, str]:
    """Body of the control leaf between two epochs of a stream: `last` is the last sequence chained in epoch `was`."""
    return {"type": "stream_reset", "stream": stream, "epoch": str(epoch), "was": str(was), "last": str(last)}


def same_content(first: Leaf, second: Leaf) -> bool:
    """Whether two event leaves tell the same event: all but their places in the stream and the chains is equal."""
    return all(first[part] == second[part] for part in ("agg", "ev", "payload", "refs"))


def _outcome(kind: str, origin: str, src: dict[str, str], body: dict[str, str]) -> bytes:
    return _bytes({"body": body, "kind": kind, "log": origin, "src": src, "v": VERSION})


def _src(src: Source) -> dict[str, str]:
    return {
        "epoch": str(src.epoch),
        "seq": str(src.seq),
        "stream": src.stream,
        "subject": src.subject,
        "ts": src.ts,
    }


def _bytes(leaf: Leaf) -> bytes:
    check(leaf)
    try:
        raw = encode_checked(leaf)
    except ProfileError:
        raise LeafError("a field is not valid Unicode") from None
    if len(raw) > MAX_LEAF:
        raise LeafError(f"leaf is longer than {MAX_LEAF} bytes")
    return raw
