"""Contracts do not drift: each version of each fact has golden bytes, and later code still reads them.

A new field is optional: `v1.json` is then made anew (`python -m tests.contracts.golden`) and what was sent before is
kept beside it (`v1.before_approvals.json`). A change that breaks these tests is a new version with an upcaster.
"""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from libs.common.contracts.envelope import Envelope
from libs.common.contracts.fact import Fact, MalformedPayload
from tests.contracts.golden import GOLDEN
from tests.contracts.samples import FACTS, envelope, sample


def golden(fact: type[Fact]) -> dict[str, Any]:
    """{"payload", "headers"} as a message of this version stands on the wire."""
    return dict(orjson.loads((GOLDEN / f"{fact.subject}.v{fact.version}.json").read_bytes()))


@pytest.fixture(params=FACTS, ids=lambda fact: fact.subject)
def fact(request: pytest.FixtureRequest) -> type[Fact]:
    """Every fact."""
    return request.param  # type: ignore[no-any-return]


def test_every_golden_file_belongs_to_a_fact() -> None:
    assert {path.name.rpartition(".v")[0] for path in GOLDEN.glob("*.json")} == {fact.subject for fact in FACTS}


def test_a_payload_is_byte_for_byte_the_golden_one(fact: type[Fact]) -> None:
    assert sample(fact).encode().decode() == golden(fact)["payload"]


def test_headers_are_the_golden_ones(fact: type[Fact]) -> None:
    assert envelope(fact).to_headers() == golden(fact)["headers"]


def test_what_older_code_sent_is_read_by_this_code(fact: type[Fact]) -> None:
    for path in GOLDEN.glob(f"{fact.subject}.v*.json"):
        sent = orjson.loads(path.read_bytes())

        read = fact.decode(sent["payload"].encode()).model_dump()

        assert {name: read[name] for name in orjson.loads(sent["payload"])} == orjson.loads(sent["payload"])
        assert Envelope.from_headers(sent["headers"]) == envelope(fact)


def test_fields_from_newer_code_are_ignored(fact: type[Fact]) -> None:
    newer = orjson.loads(golden(fact)["payload"]) | {"from_the_future": {"a": [1]}}

    assert fact.decode(orjson.dumps(newer)) == sample(fact)


def test_headers_from_newer_code_are_ignored(fact: type[Fact]) -> None:
    assert Envelope.from_headers(golden(fact)["headers"] | {"ce-fromthefuture": "x"}) == envelope(fact)


def test_a_missing_or_mistyped_field_is_named_and_its_value_is_not_shown(fact: type[Fact]) -> None:
    payload = orjson.loads(golden(fact)["payload"])
    required = [name for name, field in fact.model_fields.items() if field.is_required()]

    for name in required:
        with pytest.raises(MalformedPayload, match=name):
            fact.decode(orjson.dumps({key: value for key, value in payload.items() if key != name}))
        with pytest.raises(MalformedPayload, match=name) as refused:
            fact.decode(orjson.dumps(payload | {name: {"canary": {}}}))
        assert "canary" not in str(refused.value).replace(f"{name}.canary", "")


@pytest.mark.parametrize("payload", [b"", b"null", b"[]", b"{", b"\xff", b'{"incident_id": NaN}'])
def test_what_is_no_object_is_no_fact(fact: type[Fact], payload: bytes) -> None:
    with pytest.raises(MalformedPayload):
        fact.decode(payload)
