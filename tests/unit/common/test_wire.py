"""The fast way to write and read headers gives what the client's own way gives, whatever the headers hold."""

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import BadHeaderError

from libs.common import wire
from libs.common.contracts.envelope import HEADERS, Envelope, Ref

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

    assert wire.decode(raw) == Client._parse_header_lines(raw)


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
