"""Identifiers: later ones sort later, derived ones never change."""

import time
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common import ids
from libs.common.ids import derived_id, is_id, new_id


@pytest.fixture(autouse=True)
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """No id was made before a test, and none of a test's is remembered after it."""
    monkeypatch.setattr(ids, "_latest", 0)


def test_a_new_id_is_a_canonical_uuid_of_version_7() -> None:
    made = new_id()

    assert is_id(made)
    assert uuid.UUID(made).version == 7
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_an_id_carries_the_millisecond_it_was_made_in() -> None:
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_id()).int >> 80
    after = time.time_ns() // 1_000_000

    assert before <= made <= after


def test_an_id_of_a_later_millisecond_sorts_later(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_000_000_000_000_000_000, 1_000_000_100_000_000_000, 1_000_000))
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))

    made = [new_id() for _ in range(100)]

    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_767_225_600_000_000_000)

    assert len({new_id() for _ in range(1000)}) == 1000


def test_a_derived_id_is_the_same_in_every_process() -> None:
    assert derived_id("EVENTS", "1", "7") == "76f7eb9b-b6a1-5a45-b078-e21a37dae858"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1))
def test_a_derived_id_is_the_standard_s_uuid_of_version_5(parts: list[str]) -> None:
    namespace = uuid.UUID("6f1d3c1e-4b0a-5c57-9a55-3f6f9a4d7b10")

    assert derived_id(*parts) == str(uuid.uuid5(namespace, "\x1f".join(parts)))


def test_parts_of_a_derived_id_do_not_run_into_each_other() -> None:
    assert derived_id("ab", "c") != derived_id("a", "bc")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "incident-1",
        "0198C0DE-0000-7000-8000-000000000000",
        "{0198c0de-0000-7000-8000-000000000000}",
        "0198c0de000070008000000000000000",
        "urn:uuid:0198c0de-0000-7000-8000-000000000000",
        "0198c0de-0000-7000-8000-000000000000\n",
    ],
)
def test_only_the_canonical_form_is_an_id(text: str) -> None:
    assert not is_id(text)


def test_ids_ascend_within_a_millisecond_and_while_the_clock_stands_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time_ns()
    moments = iter([now] * 500 + [now - 10**10] * 500 + [now + 10**9])
    monkeypatch.setattr(time, "time_ns", lambda: next(moments))

    made = [new_id() for _ in range(1001)]

    assert made == sorted(set(made))
    assert {uuid.UUID(each).version for each in made} == {7}
    assert {uuid.UUID(each).variant for each in made} == {uuid.RFC_4122}
