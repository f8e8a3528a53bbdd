"""What outsiders post: what is understood, what is refused, and that nothing else ever happens."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from libs.common.contracts.alert import (
    MAX_BODY_BYTES,
    MAX_TITLE,
    PARSERS,
    SUBJECT_ALERTMANAGER,
    SUBJECT_EVENT,
    Alert,
    label_fingerprint,
)
from libs.common.contracts.envelope import MalformedEnvelope
from libs.common.contracts.fact import MalformedPayload
from services.incident.intake import alert_decoder

START = "2026-03-01T09:59:50Z"


def event(**more: Any) -> bytes:
    return orjson.dumps({"name": "a", "severity": "high", "starts_at": START, **more})


def webhook(**more: Any) -> bytes:
    alert = {"status": "firing", "labels": {"alertname": "a"}, "startsAt": START, "endsAt": "0001-01-01T00:00:00Z"}
    return orjson.dumps({"version": "4", "alerts": [{**alert, **more}]})


def parse(body: bytes, subject: str = SUBJECT_EVENT) -> Alert:
    [alert] = PARSERS[subject](body)
    return alert


def test_an_event_may_come_as_the_data_of_a_structured_cloud_event() -> None:
    body = orjson.dumps({"specversion": "1.0", "id": "x", "data": orjson.loads(event())})

    assert parse(body) == parse(event())


def test_alertmanager_s_zero_time_means_that_it_has_not_ended() -> None:
    alert = parse(webhook(), SUBJECT_ALERTMANAGER)

    assert (alert.name, alert.status, alert.ends_at) == ("a", "firing", None)


def test_a_webhook_without_fingerprints_is_told_apart_by_its_labels() -> None:
    alert = parse(webhook(fingerprint=""), SUBJECT_ALERTMANAGER)

    assert alert.fingerprint == label_fingerprint({"alertname": "a"})


def test_the_default_fingerprint_is_prometheus_s_own() -> None:
    assert label_fingerprint({}) == "cbf29ce484222325"
    assert label_fingerprint({"a": "b"}) != label_fingerprint({"b": "a"})


@pytest.mark.parametrize(("label", "severity"), [("page", "critical"), ("Warning", "medium"), ("sev-1", "medium")])
def test_a_label_s_severity_is_translated_and_one_in_words_of_its_own_counts_as_medium(
    label: str, severity: str
) -> None:
    alert = parse(webhook(labels={"alertname": "a", "severity": label}), SUBJECT_ALERTMANAGER)

    assert alert.severity == severity


def test_a_body_s_own_severity_has_to_be_one_of_ours() -> None:
    with pytest.raises(MalformedPayload, match="severity"):
        parse(event(severity="sev-1"))


def test_a_long_summary_is_cut_and_does_not_cost_the_alert() -> None:
    alert = parse(webhook(annotations={"summary": "x" * 4000}), SUBJECT_ALERTMANAGER)

    assert len(alert.title) == MAX_TITLE


def test_moments_are_in_utc() -> None:
    alert = parse(event(starts_at="2026-03-01T11:59:50+02:00"))

    assert alert.starts_at == datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)
    assert alert.starts_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("starts_at", event(starts_at="0001-01-01T00:00:00+14:00")),
        ("starts_at", event(starts_at="9999-12-31T23:59:59-12:00")),
        ("starts_at", event(starts_at="2026-03-01T09:59:50")),
        ("starts_at", event(starts_at=None)),
        ("starts_at", event(starts_at=1e300)),
        ("ends_at", event(ends_at="9999-12-31T23:59:59-12:00")),
        ("name", event(name="a\nb")),
        ("name", event(name="x" * 201)),
        ("title", event(title="a\x00b")),
        ("labels", event(labels={f"l{n}": "x" for n in range(65)})),
        ("labels", event(labels={"a": "x" * 1025})),
        ("labels", event(labels={"a": 7})),
        ("labels", event(labels=[1])),
        ("fingerprint", event(fingerprint="a b")),
        ("fingerprint", event(fingerprint="x" * 129)),
        ("status", event(status="dead")),
        ("body must be a JSON object", b"[]"),
        ("not JSON", b"{"),
        ("not JSON", b'{"name": "\xff"}'),
        ("not JSON", b'{"name": "\\ud800"}'),
        ("not JSON", b'{"a":' * 2000 + b"1" + b"}" * 2000),
        ("the limit is 262144", event(title="x" * MAX_BODY_BYTES)),
    ],
)
def test_what_is_malformed_is_refused_by_field(field: str, body: bytes) -> None:
    with pytest.raises(MalformedPayload, match=field):
        parse(body)


@pytest.mark.parametrize(
    ("field", "body"),
    [
        ("version", orjson.dumps({"version": "3", "alerts": []})),
        ("alerts", orjson.dumps({"version": "4", "alerts": []})),
        ("alerts", orjson.dumps({"version": "4", "alerts": [{}] * 201})),
        ("name", webhook(labels={"severity": "page"})),
        ("alerts.0.status", webhook(status="pending")),
    ],
)
def test_what_alertmanager_would_never_send_is_refused_by_field(field: str, body: bytes) -> None:
    with pytest.raises(MalformedPayload, match=field):
        parse(body, SUBJECT_ALERTMANAGER)


def test_a_refusal_never_repeats_what_a_sender_wrote_as_it_stood() -> None:
    with pytest.raises(MalformedPayload) as refused:
        parse(event(labels={"a\x00\n" + "b" * 500: "x"}))

    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 400


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=20), inner, max_size=3),
    max_leaves=10,
)
FIELDS = st.sampled_from([*Alert.model_fields, "startsAt", "endsAt", "data", "specversion", "version", "alerts"])


@given(subject=st.sampled_from(sorted(PARSERS)), body=st.dictionaries(FIELDS, ANYTHING))
@example(subject=SUBJECT_EVENT, body={"name": "a", "severity": ["x"], "starts_at": START})
@example(subject=SUBJECT_EVENT, body={"name": "a", "starts_at": START, "labels": {"severity": {}}})
@example(subject=SUBJECT_ALERTMANAGER, body={"version": "4", "alerts": [None]})
def test_any_json_is_an_alert_or_refused(subject: str, body: dict[str, Any]) -> None:
    if subject == SUBJECT_EVENT:
        body = {"name": "a", "starts_at": START, **body}
    reason = ""
    try:
        alerts = PARSERS[subject](orjson.dumps(body))
    except MalformedPayload as refused:
        alerts, reason = [], str(refused)

    assert reason.isprintable()
    assert bool(alerts) != bool(reason)
    assert all(alert.fingerprint and alert.starts_at.tzinfo is UTC for alert in alerts)


@given(body=st.binary(max_size=200))
def test_any_bytes_are_an_alert_or_refused(body: bytes) -> None:
    for parser in PARSERS.values():
        with pytest.raises(MalformedPayload):
            parser(body)


class Message:
    """What a decoder reads of a message."""

    def __init__(self, headers: dict[str, str] | None, *, subject: str = SUBJECT_EVENT) -> None:
        self.headers = headers
        self.subject = subject
        self.data = event()


def test_a_post_is_identified_by_its_place_and_belongs_to_the_credential_s_tenant() -> None:
    message: Any = Message({"Rr-Tenant": "acme", "Nats-Msg-Id": "chosen-by-the-sender", "traceparent": "00-1"})

    value, event_id, aggregate_id, tenant, trace = alert_decoder("default")(message, lambda: "place")

    assert [alert.name for alert in value] == ["a"]
    assert (event_id, aggregate_id, tenant, trace) == ("place", "", "acme", "00-1")


def test_without_a_tenant_it_belongs_to_the_installation_s_own() -> None:
    message: Any = Message(None)

    assert alert_decoder("home")(message, lambda: "place")[3] == "home"


@pytest.mark.parametrize(
    "message", [Message({"Rr-Tenant": "a b"}), Message({"Rr-Tenant": "x" * 65}), Message({}, subject="alert.other")]
)
def test_a_tenant_that_is_no_name_and_a_subject_nobody_reads_are_refused(message: Any) -> None:
    with pytest.raises(MalformedEnvelope):
        alert_decoder("default")(message, lambda: "place")
