"""Errors over the wire: the class, the words and the data come back; nothing else does."""

import orjson
import pytest

from libs.common.errors import _KINDS, Conflict, InvalidInput, RangerError, Refusal, TooLarge, Unavailable, from_wire


@pytest.mark.parametrize("kind", _KINDS.values())
def test_every_error_comes_back_as_what_it_was(kind: type[RangerError]) -> None:
    sent = kind("It is so.", fix="Do this.", code="some.reason", incident_id="i-1", limit=3)

    back = from_wire(orjson.loads(orjson.dumps(sent.to_wire())))

    assert type(back) is kind
    assert back.to_wire() == sent.to_wire()
    assert (back.detail, back.fix, back.reason_code) == ("It is so.", "Do this.", "some.reason")
    assert back.data == {"incident_id": "i-1", "limit": 3}


@pytest.mark.parametrize("kind", _KINDS.values())
def test_an_error_without_a_reason_of_its_own_has_its_class_as_reason(kind: type[RangerError]) -> None:
    assert kind("x").to_wire()["code"] == kind.code


def test_a_kind_from_a_newer_process_is_an_internal_error_that_keeps_its_words() -> None:
    back = from_wire({"kind": "from_the_future", "code": "why", "detail": "What happened."})

    assert type(back) is RangerError
    assert (back.status, back.reason_code, back.detail) == (500, "why", "What happened.")


def test_statuses_are_those_of_http() -> None:
    assert {kind: cls.status for kind, cls in _KINDS.items()} == {
        "internal": 500,
        "refused": 400,
        "invalid": 422,
        "unauthenticated": 401,
        "denied": 403,
        "not_found": 404,
        "conflict": 409,
        "too_large": 413,
        "misconfigured": 500,
        "unavailable": 503,
    }


def test_only_what_changed_nothing_is_a_refusal() -> None:
    assert issubclass(Conflict, Refusal)
    assert issubclass(InvalidInput, Refusal)
    assert issubclass(TooLarge, Refusal)
    assert not issubclass(Unavailable, Refusal)
