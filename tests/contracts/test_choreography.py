"""The choreography: one publisher a fact, known services only, and the page says what the table says."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from libs.common.contracts import page
from libs.common.contracts.choreography import (
    BY_SUBJECT,
    EVENTS,
    INGRESS,
    INTAKES,
    ROWS,
    SERVICES,
    STREAMS,
    UnlistedFact,
    check_publisher,
    consumers,
)
from libs.common.contracts.fact import Fact
from libs.common.outbox import Cause, Outbox
from tests.contracts.samples import FACTS, sample

ROOT = Path(__file__).resolve().parents[2]
CAUSE = Cause(tenant="acme", actor="ada", correlation="c")


def _concrete(base: type[Fact]) -> set[type[Fact]]:
    found = {sub for direct in base.__subclasses__() for sub in _concrete(direct) | {direct}}
    return {fact for fact in found if hasattr(fact, "subject") and fact.__module__.startswith("libs.")}


def test_every_subject_has_two_tokens_on_a_subject_of_the_stream() -> None:
    families = {pattern.removesuffix(".*") for pattern in STREAMS[EVENTS]}

    for fact in FACTS:
        family, _, name = fact.subject.partition(".")
        assert family in families
        assert name.replace("_", "").isalpha()
        assert name == name.lower()


def test_a_subject_has_one_row_and_so_one_publisher() -> None:
    assert max(Counter(fact.subject for fact in FACTS).values()) == 1


def test_publishers_and_consumers_are_services() -> None:
    named = {row.publisher for row in ROWS} | {name for row in (*ROWS, *INTAKES) for name in row.consumers}

    assert named <= set(SERVICES)


def test_every_contract_is_in_the_table() -> None:
    assert _concrete(Fact) == set(FACTS)


def test_every_row_says_why() -> None:
    assert all(len(row.why) > 10 for row in (*ROWS, *INTAKES))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.subject)
def test_only_its_publisher_may_publish_a_fact(row: object) -> None:
    listed = BY_SUBJECT[getattr(row, "subject")]  # noqa: B009 -- the parameter's type is pytest's

    check_publisher(listed.publisher, [listed.subject])
    for other in set(SERVICES) - {listed.publisher}:
        with pytest.raises(UnlistedFact, match=f"{listed.subject} is published by {listed.publisher}, not by {other}"):
            check_publisher(other, [listed.subject])


def test_nobody_may_publish_what_has_no_row() -> None:
    class Invented(Fact):
        """A fact of somebody's imagination."""

        subject = "incident.invented"
        aggregate = "incident"

    for service in SERVICES:
        with pytest.raises(UnlistedFact, match="no row"):
            Outbox(service, service).event(
                Invented(), aggregate_id="a", aggregate_version=1, cause=CAUSE, now=datetime.now(UTC)
            )


def test_an_outbox_refuses_a_fact_of_another_service() -> None:
    row = BY_SUBJECT["incident.created"]

    with pytest.raises(UnlistedFact):
        Outbox("catalog", "catalog").event(
            sample(row.fact), aggregate_id="a", aggregate_version=1, cause=CAUSE, now=datetime.now(UTC)
        )


def test_a_durable_listens_to_what_its_rows_say_and_the_timeline_to_everything() -> None:
    wanted = consumers()

    assert wanted[EVENTS, "timeline"] == tuple(sorted(STREAMS[EVENTS]))
    for service in SERVICES:
        heard = {subject for (stream, name), found in wanted.items() if name == service for subject in found}
        rows = {row.subject for row in (*ROWS, *INTAKES) if service in row.consumers}
        assert service == "timeline" or heard == rows
    assert {stream for stream, _ in wanted} == {EVENTS, INGRESS}


def test_the_committed_page_is_what_the_table_renders() -> None:
    committed = (ROOT / "docs" / "choreography.md").read_text()

    assert committed == page.render(), "run `python -m libs.common.contracts.page > docs/choreography.md`"
    assert all(f"`{fact.subject}`" in committed for fact in FACTS)
