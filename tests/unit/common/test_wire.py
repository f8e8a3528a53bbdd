"""The fast way to write and read headers gives what the client's own way gives, whatever the headers hold."""

import asyncio
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import BadHeaderError, BadSubjectError

from libs.common import wire
from libs.common.contracts.envelope import HEADERS, Envelope, MalformedEnvelope, Ref

NAMES = st.sampled_from([*HEADERS, "Rr-Reason", "Status", "X", "ce-ID", "", " ce-id", "ce id", "ce-id:", "ü"])
TEXT = st.text(alphabet=st.sampled_from("aZ09-:;,= \t\r\n\x00\x0b\x1c\x85ü€\ud800"), max_size=12)
FACT = Envelope(
    id=str(uuid.UUID(int=7)), type="runbook.step_completed", source="/svc/executor", time="2026-03-01T09:59:50.000000Z",
    aggregate_type="execution", aggregate_id="e-1", aggregate_version=7, tenant="acme", actor="svc:executor",
    correlation="c", causation="d", incident_id="i", execution_id="e-1", runbook_id="r", schema="rr/x/1",
    refs=(Ref("evidence", "a" * 64, 12),), traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
)  # fmt: skip


class Recorder(Client):
    """A connection that only keeps what would go out."""

    def __init__(self) -> None:
        super().__init__()
        self.out = b""
        self._max_payload = 1000
        self._status = Client.CONNECTED

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        assert not priority
        self.out += bytes(cmd)


async def written(headers: dict[str, str], way: Any) -> bytes | type[Exception]:
    """What a way of publishing puts on the wire, or how it refuses."""
    client = Recorder()
    try:
        await way(client, headers)
    except (BadHeaderError, UnicodeEncodeError) as error:
        return type(error)
    return client.out


async def ours(client: Client, headers: dict[str, str]) -> None:
    await wire.publish(client, "a.b", b"payload", reply="r.1", headers=headers)


async def theirs(client: Client, headers: dict[str, str]) -> None:
    await client.publish("a.b", b"payload", reply="r.1", headers=headers)


@given(st.dictionaries(NAMES, TEXT, max_size=6))
async def test_any_headers_are_written_as_the_client_writes_them(headers: dict[str, str]) -> None:
    assert await written(headers, ours) == await written(headers, theirs)


@given(st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", "", " :"]), TEXT), max_size=6), st.binary(max_size=8))
def test_any_block_is_read_as_the_client_reads_it(lines: list[tuple[str, str, str]], noise: bytes) -> None:
    text = "".join(f"{name}{colon}{value}\r\n" for name, colon, value in lines)
    raw = text.encode(errors="replace") + noise

    assert shown(wire.decode(raw)) == Client._parse_header_lines(raw)


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=6))
def test_any_bytes_are_read_as_the_client_reads_them(lines: list[tuple[bytes, bytes]]) -> None:
    raw = b"".join(name + b":" + value + b"\r\n" for name, value in lines) + b"\r\n"

    assert shown(wire.parse(raw)) == Client._parse_header_lines(raw)
    assert shown(wire.decode(raw)) == Client._parse_header_lines(raw)


def shown(headers: dict[str, str]) -> dict[str, str]:
    """Bytes that are no UTF-8 as the client shows them."""
    return {name: value.encode(errors="surrogateescape").decode(errors="replace") for name, value in headers.items()}


def test_bytes_that_are_no_utf_8_are_told_from_the_sign_that_stands_for_them() -> None:
    headers = {**FACT.to_headers(), "ce-actor": "\ufffd"}
    block = "".join(f"{name}: {value}\r\n" for name, value in headers.items()).encode()

    assert Envelope.from_headers(wire.decode(block)).actor == "\ufffd"
    for broken in (b"\xff", b"\xed\xa0\x80", b"\xc3"):
        with pytest.raises(MalformedEnvelope, match="header ce-actor is not UTF-8"):
            Envelope.from_headers(wire.decode(block.replace("\ufffd".encode(), broken)))


async def test_a_fact_goes_the_fast_way_and_comes_back() -> None:
    block = wire.encode(FACT.to_headers())

    assert block is not None
    assert await written(FACT.to_headers(), ours) == await written(FACT.to_headers(), theirs)
    assert Envelope.from_headers(wire.decode(block.partition(b"\r\n")[2])) == FACT


@pytest.mark.parametrize("value", [" x", "x ", "a\nb", "a\r\nHPUB", "ü"])
def test_what_is_not_plain_is_left_to_the_client(value: str) -> None:
    assert wire.encode({"ce-actor": value}) is None


async def test_a_message_that_is_too_long_is_refused_as_ever() -> None:
    from nats.errors import MaxPayloadError

    with pytest.raises(MaxPayloadError):
        await wire.publish(Recorder(), "a.b", b"x" * 1001, reply="r.1", headers=FACT.to_headers())


@given(st.lists(st.text(alphabet=st.sampled_from("a.$_ 9"), max_size=6), max_size=4))
async def test_one_write_of_many_bare_messages_is_what_the_client_writes_for_each(subjects: list[str]) -> None:
    async def one_by_one(client: Client, _headers: dict[str, str]) -> None:
        for subject in subjects:
            await client.publish(subject, b"+ACK")

    async def at_once(client: Client, _headers: dict[str, str]) -> None:
        await wire.publish_bare(client, subjects, b"+ACK")

    assert await _sent(at_once) == await _sent(one_by_one)


async def _sent(way: Any) -> bytes | type[Exception]:
    try:
        return await written({}, way)
    except BadSubjectError as error:
        return type(error)


FRAMES: list[tuple[str, bytes | None, bytes]] = [
    ("$JS.ACK.EVENTS.timeline.1.7.7.1763717000000000000.3", wire.encode(FACT.to_headers()), b'{"a":1}'),
    ("", b"NATS/1.0\r\nOther: \xc3\xbc \r\n\r\n", b"x"),
    ("", b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\r\n", b""),
    ("", b"NATS/1.0 503\r\n\r\n", b""),
    ("reply", None, b"y"),
]


async def test_what_is_delivered_at_once_is_what_the_client_would_have_delivered() -> None:
    assert await _delivered(None) == await _delivered(lambda _message: True) == await _delivered(lambda _message: False)


async def _delivered(take: Any) -> list[tuple[Any, ...]]:
    """Every message of `FRAMES` as a subscription gets it, at once where `take` says so."""
    client, found = Client(), asyncio.Queue[tuple[Any, ...]]()
    wire.quicken(client)

    def keep(message: Msg) -> bool:
        found.put_nowait((message.subject, message.reply, message.data, message.headers))
        return True

    async def callback(message: Msg) -> None:
        keep(message)

    subscription = Subscription(client, 7, "a.b", cb=callback)
    client._subs[7] = subscription
    subscription._start(None)  # type: ignore[no-untyped-call]
    if take is not None:
        wire.deliver(client, subscription, lambda message: take(message) and keep(message))
    for reply, headers, payload in FRAMES:
        head = b"" if headers is None else b"%d " % len(headers)
        line = b"%sMSG a.b 7 %s %s%d\r\n" % (
            b"" if headers is None else b"H", reply.encode(), head, len(headers or b"") + len(payload)
        )  # fmt: skip
        await client._ps.parse(line + (headers or b"") + payload + b"\r\n")
    messages = [await asyncio.wait_for(found.get(), 5) for _ in FRAMES]
    subscription._stop_processing()
    return sorted(messages, key=repr)
