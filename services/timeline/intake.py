"""From a stream message to an item of the log. Pure: the same message gives the same item on every replay."""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import lru_cache

from nats.aio.msg import Msg

from libs.common import wire
from libs.common.contracts.envelope import CONTENT_TYPE, Envelope, MalformedEnvelope
from libs.common.puller import sequence_at
from libs.tlog.chain import Message, Missing, Unreadable
from libs.tlog.leaf import Event, Ref, Source
from services.timeline.model import Arrival, Hole, LogState, Received

_SECOND = 1_000_000_000
_STORED = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?Z", re.ASCII)


def received(message: Msg) -> Received:
    """A pulled message. The client rounds the stored time, so it is read from the reply subject."""
    tokens = message.reply.split(".")
    at = sequence_at(tokens)
    return Received(
        seq=int(tokens[at]),
        subject=message.subject,
        ts_ns=int(tokens[at + 2]),
        headers=message.headers or {},
        payload=message.data,
    )


def pending(message: Msg) -> int:
    """How many messages of the consumer's were not delivered yet when this one was."""
    return message.metadata.num_pending


def nanoseconds(stored: str) -> int:
    """Unix nanoseconds of a stored message's RFC 3339 time, whose trailing zeros the server leaves out.

    Raises:
        ValueError: it is no such time.
    """
    found = _STORED.fullmatch(stored)
    if found is None:
        raise ValueError(f"not a stored message's time: {stored!r}")
    whole, fraction = found.groups()
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * _SECOND + int((fraction or "0").ljust(9, "0"))


def stamp(ts_ns: int) -> str:
    """UTC with nine digits, as it stands in a leaf."""
    seconds, fraction = divmod(ts_ns, _SECOND)
    return f"{_whole(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=64)
def _whole(seconds: int) -> str:
    """Messages come many a second, and writing a date costs more than the rest of a message's time."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


def headers(raw: bytes) -> dict[str, str]:
    """Headers of a stored message's raw block, by the same rules as of a pulled one."""
    return wire.parse(raw.partition(b"\r\n")[2])


def arrivals(run: Iterable[Received | Hole], log: LogState) -> list[Arrival]:
    """The items that messages and holes are, of the stream that a log is made of."""
    return [arrival(one, stream=log.stream, epoch=log.epoch) for one in run]


def arrival(message: Received | Hole, *, stream: str, epoch: int) -> Arrival:
    """The item that a message or a hole is, with a fixed reason where it is no valid fact."""
    if isinstance(message, Hole):
        return Arrival(Missing(stream, epoch, message.first, message.last))
    src = Source(stream, epoch, message.seq, message.subject, stamp(message.ts_ns))
    try:
        envelope = Envelope.from_headers(message.headers)
    except MalformedEnvelope as error:
        return Arrival(Unreadable(src, str(error)))
    except ValueError:  # whatever else a header holds, it must not stop the log
        return Arrival(Unreadable(src, "the envelope cannot be read"))
    if envelope.type != message.subject:
        return Arrival(Unreadable(src, "ce-type is not the subject"))
    content_type = message.headers.get("Content-Type") or CONTENT_TYPE
    return Arrival(Message(src, _event(envelope, content_type), message.payload, envelope.salt), envelope)


def _event(envelope: Envelope, content_type: str) -> Event:
    return Event(
        id=envelope.id,
        source=envelope.source,
        type=envelope.type,
        time=envelope.time,
        tenant=envelope.tenant,
        tenants=envelope.tenants,
        actor=envelope.actor,
        correlation=envelope.correlation,
        causation=envelope.causation,
        aggregate_type=envelope.aggregate_type,
        aggregate_id=envelope.aggregate_id,
        aggregate_version=envelope.aggregate_version,
        content_type=content_type,
        incident_id=envelope.incident_id or None,
        execution_id=envelope.execution_id or None,
        runbook_id=envelope.runbook_id or None,
        refs=tuple(Ref(ref.kind, ref.sha256, ref.length) for ref in envelope.refs),
    )
