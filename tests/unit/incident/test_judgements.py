"""Severity, owner and runbooks: what people decide about an incident beside its status."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from libs.common.contracts.incident import OwnerChanged, RunbookLinked, Severity, SeverityChanged
from services.incident.errors import IncidentClosed, TooManyRunbooks
from services.incident.judgements import MAX_RUNBOOKS, history_of, linked, reassigned, reclassified
from services.incident.model import MAX_REASON, Incident, moved
from services.incident.sla import MINUTES, Sla
from tests.unit.incident.samples import LATER, NOW, Story

SLA = Sla()


def opened() -> Incident:
    story = Story()
    story.report()
    return story.incident()


def closed() -> Incident:
    resolved = moved(opened(), "resolve", rationale="false alarm", now=NOW).incident
    return moved(resolved, "close", rationale="false alarm", now=NOW).incident


@pytest.mark.parametrize("severity", sorted(set(MINUTES) - {"high"}))
def test_a_new_severity_has_its_own_deadline_from_the_same_opening(severity: Severity) -> None:
    step = reclassified(opened(), severity, rationale="one shard only", sla=SLA, now=LATER)

    assert step is not None
    assert step.incident.severity == severity
    assert step.incident.sla_deadline == NOW + timedelta(minutes=MINUTES[severity])
    assert (step.incident.version, step.incident.updated_at) == (2, LATER)
    assert isinstance(step.fact, SeverityChanged)
    assert (step.fact.previous, step.fact.severity, step.fact.rationale) == ("high", severity, "one shard only")


def test_a_line_of_the_history_names_who_and_why_and_is_bounded() -> None:
    step = reclassified(opened(), "low", rationale="x" * 2000, sla=SLA, now=LATER)
    assert step is not None
    assert isinstance(step.fact, SeverityChanged)

    line = history_of(step.fact, actor="pat", now=LATER).to_json()

    assert line == {
        "severity": "low",
        "previous": "high",
        "at": "2026-03-01T10:05:00.000000Z",
        "by": "pat",
        "rationale": "x" * MAX_REASON,
    }
    assert step.fact.rationale == "x" * 2000


def test_an_owner_is_named_and_let_go() -> None:
    taken = reassigned(opened(), "pat", now=LATER)
    assert taken is not None
    freed = reassigned(taken.incident, "", now=LATER)
    assert freed is not None

    assert isinstance(taken.fact, OwnerChanged)
    assert isinstance(freed.fact, OwnerChanged)
    assert [(s.fact.previous, s.fact.owner) for s in (taken, freed) if isinstance(s.fact, OwnerChanged)] == [
        ("", "pat"),
        ("pat", ""),
    ]
    assert (taken.incident.owner, freed.incident.owner) == ("pat", "")


def test_a_runbook_is_linked_once_and_only_so_many_are() -> None:
    step = linked(opened(), "restart-storage", {"other"}, now=LATER)

    assert step is not None
    assert isinstance(step.fact, RunbookLinked)
    assert step.fact.runbook_id == "restart-storage"
    assert linked(step.incident, "restart-storage", {"other", "restart-storage"}, now=LATER) is None
    with pytest.raises(TooManyRunbooks):
        linked(opened(), "one-more", {f"r{number}" for number in range(MAX_RUNBOOKS)}, now=LATER)


def test_saying_what_is_so_already_changes_nothing() -> None:
    incident = replace(opened(), owner="pat")

    assert reclassified(incident, "high", rationale="still", sla=SLA, now=LATER) is None
    assert reassigned(incident, "pat", now=LATER) is None


def test_a_closed_incident_is_not_judged_any_more() -> None:
    with pytest.raises(IncidentClosed):
        reclassified(closed(), "low", rationale="too late", sla=SLA, now=LATER)
    with pytest.raises(IncidentClosed):
        reassigned(closed(), "pat", now=LATER)
    with pytest.raises(IncidentClosed):
        linked(closed(), "r", set(), now=LATER)


def test_reopening_gives_as_much_time_as_there_was() -> None:
    low = reclassified(opened(), "low", rationale="one shard only", sla=SLA, now=NOW)
    assert low is not None
    resolved = moved(low.incident, "resolve", rationale="looked fine", now=NOW).incident

    reopened = moved(resolved, "reopen", rationale="it is not", now=LATER).incident

    assert reopened.sla_deadline == LATER + timedelta(minutes=MINUTES["low"])
