import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.msg import Msg

from libs.common import wire
from libs.common.contracts.envelope import Envelope
from libs.tlog.chain import Message, Missing, Unreadable, chain
from services.timeline.intake import arrival, headers, nanoseconds, received, stamp
from services.timeline.model import Hole, Received

ENVELOPE = Envelope(
    id="0192f0c2-0000-7000-8000-000000000000",
    type="incident.created",
    source="/svc/incident",
    time="2026-03-01T09:59:50.000000Z",
    aggregate_type="incident",
    aggregate_id="i-1",
    aggregate_version=1,
    tenant="t_a1",
    tenants=("t_b2",),
    actor="usr_7f3a",
    correlation="c-1",
    incident_id="i-1",
    salt=b"\1" * 32,
)
TEXT = st.text(max_size=60)


def message(told: dict[str, str], subject: str = "incident.created") -> Received:
    return Received(7, subject, 1_772_359_200_000_000_001, told, b'{"title":"x"}')


def item(told: Received | Hole) -> object:
    return arrival(told, stream="EVENTS", epoch=2).item


def test_a_fact_becomes_a_message_with_all_that_its_envelope_says() -> None:
    found = item(message(ENVELOPE.to_headers()))

    assert isinstance(found, Message)
    assert (found.src.stream, found.src.epoch, found.src.seq) == ("EVENTS", 2, 7)
    assert found.src.ts == "2026-03-01T10:00:00.000000001Z"
    assert (found.event.id, found.event.tenants, found.salt) == (ENVELOPE.id, ("t_a1", "t_b2"), b"\1" * 32)
    assert found.event.chains() == [("incident", "i-1")]


def test_a_hole_becomes_missing_sequences() -> None:
    assert item(Hole(3, 9)) == Missing("EVENTS", 2, 3, 9)


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"ce-id": ""}, "header ce-id is missing"),
        ({"ce-specversion": "0.3"}, "ce-specversion must be 1.0"),
        ({"Rr-Salt": "?"}, "header Rr-Salt is not base64"),
        ({"Rr-Salt": "AAAA"}, "salt must be 32 bytes, not 3"),
        ({"Rr-Refs": "{"}, "header Rr-Refs is not a JSON list of {k, len, sha256}"),
        ({"ce-aggregateversion": "0"}, "header ce-aggregateversion must be a positive integer"),
        ({"ce-aggregateversion": "9" * 5000}, "header ce-aggregateversion must be a positive integer"),
        ({"ce-type": "incident.closed"}, "ce-type is not the subject"),
    ],
)
def test_what_is_no_fact_has_a_reason_that_stays_the_same(changed: dict[str, str], reason: str) -> None:
    found = item(message({**ENVELOPE.to_headers(), **changed}))

    assert isinstance(found, Unreadable)
    assert found.reason == reason


@given(st.dictionaries(st.sampled_from(sorted(ENVELOPE.to_headers())), TEXT), TEXT)
def test_no_headers_and_no_subject_keep_the_log_from_going_on(changed: dict[str, str], subject: str) -> None:
    told = message({**ENVELOPE.to_headers(), **changed}, subject or "incident.created")

    batch = chain([arrival(told, stream="EVENTS", epoch=1).item], origin="o", size=0, heads={}, seen={})

    assert batch.entries[0].kind in {"event", "reject"}


@pytest.mark.parametrize(
    ("reply", "seq", "ts_ns"),
    [
        ("$JS.ACK.EVENTS.timeline.1.42.40.1772359200000000001.3", 42, 1_772_359_200_000_000_001),
        ("$JS.ACK._.acc.EVENTS.timeline.1.42.40.1772359200000000001.3", 42, 1_772_359_200_000_000_001),
        ("$JS.ACK.hub.acc.EVENTS.timeline.1.42.40.1772359200000000001.3.random", 42, 1_772_359_200_000_000_001),
    ],
)
def test_sequence_and_stored_time_are_read_from_the_reply_subject(reply: str, seq: int, ts_ns: int) -> None:
    found = received(Msg(None, subject="incident.created", reply=reply, data=b"x"))  # type: ignore[arg-type]

    assert (found.seq, found.ts_ns) == (seq, ts_ns)


@pytest.mark.parametrize(
    ("stored", "ts"),
    [
        ("2026-03-01T10:00:00.123456789Z", "2026-03-01T10:00:00.123456789Z"),
        ("2026-03-01T10:00:00.1Z", "2026-03-01T10:00:00.100000000Z"),
        ("2026-03-01T10:00:00Z", "2026-03-01T10:00:00.000000000Z"),
    ],
)
def test_a_stored_time_has_nine_digits_in_the_leaf(stored: str, ts: str) -> None:
    assert stamp(nanoseconds(stored)) == ts


def test_another_form_of_time_is_refused() -> None:
    with pytest.raises(ValueError, match="not a stored message's time"):
        nanoseconds("2026-03-01 10:00:00")


@given(st.lists(st.tuples(st.binary(max_size=12), st.binary(max_size=20)), max_size=6))
def test_raw_headers_are_read_as_those_of_a_message_that_was_pulled(lines: list[tuple[bytes, bytes]]) -> None:
    raw = b"".join(name + b":" + value + b"\r\n" for name, value in lines) + b"\r\n"

    assert headers(b"NATS/1.0\r\n" + raw) == wire.decode(raw)


def test_headers_that_are_no_utf_8_are_no_fact_whichever_way_they_came() -> None:
    block = b"".join(
        f"{name}: {value}\r\n".encode() for name, value in ENVELOPE.to_headers().items() if name != "ce-actor"
    )
    for read in (wire.decode, lambda raw: headers(b"NATS/1.0\r\n" + raw)):
        found = item(message(read(block + b"ce-actor: lone \xed\xa0\x80\r\n")))

        assert isinstance(found, Unreadable)
        assert found.reason == "header ce-actor is not UTF-8"
