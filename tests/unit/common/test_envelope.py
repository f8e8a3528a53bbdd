"""The envelope: what is written into headers is what is read from them, and nothing else is taken for one."""

import base64
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.envelope import MAX_VERSION, Envelope, MalformedEnvelope, Ref

SALT = bytes(range(32))
WHOLE: dict[str, Any] = {
    "id": "0198c0de-0000-7000-8000-000000000001",
    "type": "incident.created",
    "source": "/svc/incident",
    "time": "2026-03-01T09:59:50.000000Z",
    "aggregate_type": "incident",
    "aggregate_id": "0198c0de-0000-7000-8000-000000000002",
    "aggregate_version": 3,
    "tenant": "acme",
    "tenants": ("beta",),
    "actor": "Zoë",
    "correlation": "c-1",
    "causation": "0198c0de-0000-7000-8000-000000000003",
    "incident_id": "i-1",
    "execution_id": "e-1",
    "runbook_id": "r-1",
    "schema": "rr:incident.created/1",
    "refs": (Ref("spec", "b" * 64, 9), Ref("evidence", "a" * 64, 0)),
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "salt": SALT,
}
HEADERS = Envelope(**WHOLE).to_headers()


def test_an_envelope_comes_back_from_its_headers() -> None:
    assert Envelope.from_headers(HEADERS) == Envelope(**WHOLE)


NEEDED = ("id", "type", "source", "time", "aggregatetype", "aggregateid", "tenant", "actor", "correlationid")
SPARED = ("causationid", "incidentid", "executionid", "runbookid", "dataschema")


@pytest.mark.parametrize("name", [f"ce-{name}" for name in NEEDED])
def test_no_fact_is_without_who_said_what_of_which_and_why(name: str) -> None:
    for left in ({key: HEADERS[key] for key in HEADERS if key != name}, HEADERS | {name: ""}):
        with pytest.raises(MalformedEnvelope, match=f"^header {name} is missing$"):
            Envelope.from_headers(left)


@pytest.mark.parametrize("name", [*(f"ce-{name}" for name in SPARED), "traceparent"])
def test_the_rest_may_be_missing(name: str) -> None:
    Envelope.from_headers({key: HEADERS[key] for key in HEADERS if key != name})


def test_the_message_id_is_the_event_id() -> None:
    assert HEADERS["Nats-Msg-Id"] == HEADERS["ce-id"] == WHOLE["id"]


def test_tenants_and_refs_are_sorted_and_the_owner_is_among_the_tenants() -> None:
    envelope = Envelope(**WHOLE)

    assert envelope.tenants == ("acme", "beta")
    assert [ref.kind for ref in envelope.refs] == ["evidence", "spec"]


def test_what_is_empty_has_no_header() -> None:
    bare = Envelope(**{key: WHOLE[key] for key in list(WHOLE)[:8]}, actor="a", correlation="c").to_headers()

    assert set(bare) & {"ce-causationid", "ce-incidentid", "traceparent", "Rr-Refs", "ce-dataschema"} == set()


def test_each_envelope_has_a_salt_of_its_own() -> None:
    without = {key: value for key, value in WHOLE.items() if key != "salt"}

    assert Envelope(**without).salt != Envelope(**without).salt


text = st.text(st.characters(min_codepoint=32, exclude_characters="\x7f", exclude_categories=["Cs"]), min_size=1)


@given(actor=text, correlation=text, version=st.integers(1, MAX_VERSION), salt=st.binary(min_size=32, max_size=32))
def test_any_printable_text_and_any_version_come_back(actor: str, correlation: str, version: int, salt: bytes) -> None:
    given_ = {**WHOLE, "actor": actor, "correlation": correlation, "aggregate_version": version, "salt": salt}

    assert Envelope.from_headers(Envelope(**given_).to_headers()) == Envelope(**given_)


def _refs(*items: Any) -> str:
    return orjson.dumps(items).decode()


REF = {"k": "spec", "len": "1", "sha256": "a" * 64}


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        *(
            ({name: ""}, name)
            for name in (
                "ce-id", "ce-type", "ce-source", "ce-time", "ce-aggregatetype", "ce-aggregateid",
                "ce-tenant", "ce-actor", "ce-correlationid",
            )
        ),
        ({"ce-specversion": ""}, "ce-specversion"),
        ({"ce-specversion": "0.3"}, "ce-specversion"),
        *(
            ({"ce-aggregateversion": wrong}, "ce-aggregateversion")
            for wrong in ("", "0", "-1", "01", "1.0", "1e3", "\u0661", " 1", str(MAX_VERSION + 1), "9" * 5000)
        ),
        *(({"Rr-Salt": wrong}, "salt") for wrong in ("", "?", "AAAA", base64.b64encode(b"x" * 33).decode())),
        *(
            ({"Rr-Refs": wrong}, "refs")
            for wrong in ("{", "1", "null", '{"k": 1}', _refs({}), _refs({**REF, "len": "x"}), _refs(*[REF] * 17))
        ),
        ({"ce-actor": "ada\x00"}, "ce-actor"),
        ({"ce-aggregateid": "a\x01b"}, "ce-aggregateid"),
        ({"ce-correlationid": "a\r\nNats-Msg-Id: other"}, "ce-correlationid"),
        ({"ce-tenants": "acme,\x00"}, "tenant"),
    ],
)  # fmt: skip
def test_a_malformed_header_is_refused_by_name(changed: dict[str, str], said: str) -> None:
    with pytest.raises(MalformedEnvelope, match=f"(?i){said}"):
        Envelope.from_headers({**HEADERS, **changed})


@pytest.mark.parametrize(
    "text",
    [
        '[{"k":"spec","k":"spec","len":"1","sha256":"%s"}]',
        '[{"k":"spec","len":"1","len":"2","sha256":"%s"}]',
        '[{"k":"spec","len":1,"sha256":"%s"}]',
        '[{"k":"spec","len":-0.0,"sha256":"%s"}]',
        '[{"k":"spec","len":"01","sha256":"%s"}]',
        '[{"k":"spec","len":true,"sha256":"%s"}]',
        '[{"k":"spec","len":"1","more":"x","sha256":"%s"}]',
        '[ {"k":"spec","len":"1","sha256":"%s"}]',
    ],
)
def test_refs_have_one_spelling(text: str) -> None:
    assert Envelope.from_headers(HEADERS | {"Rr-Refs": '[{"k":"spec","len":"1","sha256":"%s"}]' % ("a" * 64)}).refs
    with pytest.raises(MalformedEnvelope, match="header Rr-Refs is not in its one spelling"):
        Envelope.from_headers(HEADERS | {"Rr-Refs": text % ("a" * 64)})


@pytest.mark.parametrize("headers", [None, {}])
def test_no_headers_are_no_envelope(headers: dict[str, str] | None) -> None:
    with pytest.raises(MalformedEnvelope, match="no headers"):
        Envelope.from_headers(headers)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"salt": b"short"}, "32 bytes"),
        ({"refs": tuple(Ref("spec", f"{n:064x}", 1) for n in range(17))}, "at most 16"),
        ({"tenant": "a,b"}, "comma"),
        ({"actor": "two\nlines"}, "control characters"),
        ({"actor": "lone \ud800"}, "ce-actor is not UTF-8"),
        ({"tenants": ("acme", "lone \udcff")}, "no Unicode"),
        ({"aggregate_version": 0}, "between 1"),
    ],
)
def test_a_producer_hears_at_once_what_no_header_could_carry(changed: dict[str, Any], said: str) -> None:
    with pytest.raises(MalformedEnvelope, match=said):
        Envelope(**{**WHOLE, **changed})
