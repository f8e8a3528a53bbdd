"""Alerts from outside: both bodies, Prometheus's fingerprints, and whatever a hostile sender thinks of."""

from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.alert import (
    MAX_ALERTS,
    MAX_BODY_BYTES,
    label_fingerprint,
    parse_alertmanager,
    parse_event,
)
from libs.common.contracts.fact import MalformedPayload

START = "2026-03-01T09:59:50Z"
OWN: dict[str, Any] = {
    "name": "storage_latency_high",
    "severity": "high",
    "title": "Slow",
    "labels": {"service": "evidence"},
    "starts_at": START,
}
ITEM: dict[str, Any] = {
    "status": "firing",
    "labels": {"alertname": "StorageLatencyHigh", "severity": "page", "instance": "a:1"},
    "annotations": {"summary": "Storage is slow"},
    "startsAt": START,
    "endsAt": "0001-01-01T00:00:00Z",
    "generatorURL": "http://prometheus/graph",
    "fingerprint": "d1c1e6dd6b0ca1b4",
}


def event(**changed: Any) -> bytes:
    return orjson.dumps({**OWN, **changed})


def webhook(*items: dict[str, Any], **changed: Any) -> bytes:
    return orjson.dumps({"version": "4", "receiver": "r", "alerts": list(items or (ITEM,)), **changed})


def test_our_own_body_is_one_alert() -> None:
    (alert,) = parse_event(event())

    assert (alert.name, alert.severity, alert.title, alert.status) == ("storage_latency_high", "high", "Slow", "firing")
    assert alert.starts_at == datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)
    assert alert.ends_at is None


def test_the_data_of_a_structured_cloud_event_is_the_same_alert() -> None:
    wrapped = orjson.dumps({"specversion": "1.0", "id": "1", "source": "x", "type": "alert", "data": OWN})

    assert parse_event(wrapped) == parse_event(event())


def test_an_alertmanager_webhook_is_as_many_alerts_as_it_lists() -> None:
    over = {**ITEM, "status": "resolved", "endsAt": "2026-03-01T11:00:00+01:00", "fingerprint": ""}

    first, second = parse_alertmanager(webhook(ITEM, over))

    assert (first.name, first.severity, first.title) == ("StorageLatencyHigh", "critical", "Storage is slow")
    assert (first.fingerprint, first.ends_at) == ("d1c1e6dd6b0ca1b4", None)
    assert second.status == "resolved"
    assert second.ends_at == datetime(2026, 3, 1, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("labels", "number"),
    [
        ({}, 14695981039346656037),
        ({"name": "garland, briggs", "fear": "love is not enough"}, 5799056148416392346),
        ({"first-label": "first-label-value"}, 5146282821936882169),
    ],
)
def test_fingerprints_are_those_of_prometheus(labels: dict[str, str], number: int) -> None:
    """The values stand in the tests of prometheus/common."""
    assert label_fingerprint(labels) == f"{number:016x}"


def test_without_a_fingerprint_the_name_and_the_labels_in_any_order_are_the_identity() -> None:
    one, other = {"a": "1", "b": "2"}, {"b": "2", "a": "1"}

    (first,), (second,) = parse_event(event(labels=one)), parse_event(event(labels=other))
    (third,) = parse_event(event(labels=one, name="another"))

    assert first.fingerprint == second.fingerprint
    assert first.fingerprint != third.fingerprint


def test_name_and_severity_may_stand_in_the_labels_alone() -> None:
    body = orjson.dumps({"labels": {"alertname": "Full", "severity": "warning"}, "starts_at": START})

    (alert,) = parse_event(body)

    assert (alert.name, alert.severity) == ("Full", "medium")


def test_where_nobody_names_a_severity_it_is_medium() -> None:
    (alert,) = parse_event(orjson.dumps({"name": "Full", "starts_at": START}))

    assert alert.severity == "medium"


def test_a_label_may_call_a_severity_what_it_likes_and_a_body_may_not() -> None:
    assert parse_event(orjson.dumps({**OWN, "severity": "", "labels": {"severity": "sev-9"}}))[0].severity == "medium"
    with pytest.raises(MalformedPayload, match="severity"):
        parse_event(event(severity="sev-9"))


def test_unknown_fields_are_ignored() -> None:
    assert parse_event(event(silenced_by="nobody")) == parse_event(event())


HOSTILE = {
    "nothing": b"",
    "no json": b"hello",
    "half of it": event()[:-5],
    "trailing text": event() + b"x",
    "invalid utf-8": b'{"name": "\xff\xfe", "starts_at": "2026-03-01T00:00:00Z"}',
    "a lone surrogate": b'{"name": "\\ud800", "starts_at": "2026-03-01T00:00:00Z"}',
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "NaN": b'{"name": "x", "starts_at": NaN}',
    "infinity": b'{"name": "x", "starts_at": Infinity}',
    "1e400": b'{"name": "x", "starts_at": 1e400}',
    "a huge integer": b'{"name": "x", "starts_at": ' + b"9" * 400 + b"}",
    "a depth bomb of lists": b'{"name": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a depth bomb of objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "over the limit": event(padding="x" * MAX_BODY_BYTES),
    "no name": event(name=None),
    "an empty name": event(name=""),
    "a name of control characters": event(name="a\x00b"),
    "a name of lines": event(name="a\nb"),
    "a name that is a list": event(name=["x"]),
    "a name that is a number": event(name=7),
    "a long name": event(name="x" * 201),
    "a title with NUL": event(title="a\x00"),
    "a long title": event(title="x" * 501),
    "labels that are a list": event(labels=[["a", "b"]]),
    "a label that is a number": event(labels={"a": 1}),
    "a label that is an object": event(labels={"a": {}}),
    "a label with NUL": event(labels={"a": "x\x00"}),
    "a label's name with a space": event(labels={"a b": "x"}),
    "a label's name with NUL": event(labels={"a\x00": "x"}),
    "a label without a name": event(labels={"": "x"}),
    "many labels": event(labels={f"l{n}": "x" for n in range(65)}),
    "very many labels": event(labels={f"l{n}": "" for n in range(20_000)}),
    "a long label": event(labels={"a": "x" * 1025}),
    "many annotations": event(annotations={f"a{n}": "x" for n in range(33)}),
    "an unknown status": event(status="maybe"),
    "a status that is true": event(status=True),
    "a fingerprint with spaces": event(fingerprint="a b"),
    "a long fingerprint": event(fingerprint="a" * 129),
    "no start": event(starts_at=None),
    "a naive start": event(starts_at="2026-03-01T09:59:50"),
    "a naive day": event(starts_at="2026-03-01"),
    "a start that is true": event(starts_at=True),
    "a start in the year 1": event(starts_at="0001-01-01T00:00:00Z"),
    "a start in the year 9999": event(starts_at="9999-12-31T23:59:59Z"),
    "a start no calendar has": event(starts_at="2026-02-30T00:00:00Z"),
    "a naive end": event(ends_at="2026-03-01T10:00:00"),
    "an end in the year 9999": event(ends_at="9999-12-31T23:59:59-23:59"),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_body_is_refused_as_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPayload):
        parse_event(body)


@pytest.mark.parametrize(
    "body",
    [
        webhook(version="3"),
        webhook(version=4),
        webhook(alerts=[]),
        webhook(alerts={}),
        webhook(alerts=[ITEM] * (MAX_ALERTS + 1)),
        webhook(alerts=[None]),
        webhook({**ITEM, "labels": {"instance": "a:1"}}),
        webhook({**ITEM, "labels": None}),
        webhook({**ITEM, "status": "pending"}),
        webhook({**ITEM, "startsAt": "2026-03-01T09:59:50"}),
        webhook({**ITEM, "fingerprint": "a b"}),
        webhook({**ITEM, "labels": {f"l{n}": "x" for n in range(65)}}),
        b"[" * 100_000,
    ],
)
def test_a_hostile_webhook_is_refused_as_malformed(body: bytes) -> None:
    with pytest.raises(MalformedPayload):
        parse_alertmanager(body)


def test_a_refusal_names_fields_and_never_values() -> None:
    with pytest.raises(MalformedPayload) as refused:
        parse_event(event(labels={"a": "canary\x00"}, title="canary" * 100))

    assert "title" in str(refused.value)
    assert "canary" not in str(refused.value)


def test_of_keys_given_twice_the_last_one_counts() -> None:
    (alert,) = parse_event(b'{"name": "first", "name": "last", "starts_at": "2026-03-01T00:00:00Z"}')

    assert alert.name == "last"


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from([*OWN, "status", "annotations", "ends_at", "fingerprint", "specversion"]), json))
def test_any_object_is_an_alert_or_malformed(changed: dict[str, Any]) -> None:
    try:
        body = event(**changed)
    except TypeError:
        return

    try:
        alerts = parse_event(body)
    except MalformedPayload:
        return

    assert all(len(alert.fingerprint) > 0 and alert.starts_at.tzinfo is UTC for alert in alerts)
