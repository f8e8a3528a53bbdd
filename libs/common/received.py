"""What consumers hand to handlers: messages read into values, with their place in the stream."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import orjson
from msgspec import Struct
from nats.aio.msg import Msg

from libs.common import telemetry
from libs.common.contracts.choreography import BY_SUBJECT
from libs.common.contracts.envelope import Envelope, MalformedEnvelope
from libs.common.contracts.fact import Fact
from libs.common.database import Tx
from libs.common.ids import is_id

T = TypeVar("T")


class Received(Struct, Generic[T], frozen=True, kw_only=True):
    """A message to apply. `event_id` is its identity for the inbox; `aggregate_id` is empty where there is none."""

    value: T
    event_id: str
    aggregate_id: str
    tenant: str
    traceparent: str
    subject: str
    stream: str
    epoch: int
    seq: int
    received_ns: int
    headers: Mapping[str, str]
    data: bytes


class FactReceived(Struct, frozen=True):
    """A fact with its envelope, as services handle it."""

    envelope: Envelope
    fact: Fact


Decoder = Callable[[Msg, Callable[[], str]], tuple[T, str, str, str, str]]
"""(message, its position as an id) → (value, event id, aggregate id, tenant, traceparent); raises `Malformed…`."""

Handler = Callable[[Tx, Sequence[Received[T]]], Awaitable[None]]
"""Applies messages, in order, inside the transaction that marks them as applied."""


def decode_fact(message: Msg, _position: Callable[[], str]) -> tuple[FactReceived, str, str, str, str]:
    """A fact that the choreography knows.

    Raises:
        MalformedEnvelope, MalformedPayload: it is none.
    """
    envelope = Envelope.from_headers(message.headers)
    if not is_id(envelope.id):
        raise MalformedEnvelope("ce-id is not a UUID")
    row = BY_SUBJECT.get(message.subject)
    if row is None or envelope.type != message.subject:
        raise MalformedEnvelope(f"ce-type {envelope.type!r} does not belong on {message.subject}")
    received = FactReceived(envelope, row.fact.decode(message.data))
    return received, envelope.id, envelope.aggregate_id, envelope.tenant, envelope.traceparent


class StoredMessage:
    """A dead letter's message in the shape that decoders read."""

    def __init__(self, letter: Any) -> None:
        self.subject: str = letter["subject"]
        self.data: bytes = bytes(letter["payload"])
        self.headers: dict[str, str] = orjson.loads(letter["headers"])


def handled_span(message: Received[Any], consumer: str, **attributes: str) -> str:
    """A span for one message of a batch, in its own trace; its traceparent is what the message's facts carry on."""
    return telemetry.record(
        f"{consumer} handles {message.subject}",
        parent=message.traceparent,
        start_ns=message.received_ns,
        **{"messaging.system": "nats", "messaging.destination.name": message.subject, **attributes},
    )
