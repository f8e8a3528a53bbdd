"""Incidents without an alert: a person's, and an execution's own, whichever of its facts comes first."""

from itertools import permutations

import pytest

from libs.common.contracts.execution import (
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
    ExecutionPlanned,
    ExecutionStarted,
)
from libs.common.contracts.incident import IncidentCreated, IncidentStatusChanged
from services.incident.model import Flag, Incident
from services.incident.openings import execution_incident_id, opened_by_person
from services.incident.remediation import Remediation
from services.incident.sla import Sla
from tests.unit.incident.samples import LATER, NOW, Story

OWN = execution_incident_id("e1")
NAMES = {"execution_id": "e1", "incident_id": OWN, "runbook_id": "restart-storage"}


def planned(*, opens: bool = True, **more: str) -> ExecutionPlanned:
    hashes = {"runbook_version": 1, "spec_hash": "00", "plan_hash": "00", "steps": ["a"]}
    return ExecutionPlanned.model_validate({**NAMES, **hashes, "opens_incident": opens, **more})


STARTED = ExecutionStarted(**NAMES, plan_hash="00")
COMPLETED = ExecutionCompleted(**NAMES, verified="probe")
FAILED = ExecutionFailed(**NAMES, reason="verify said no")


def learned(*facts: tuple[int, ExecutionFact]) -> Remediation:
    remediation = Remediation("default", OWN)
    for version, fact in facts:
        remediation.learn(fact, version=version, now=LATER, sla=Sla())
    return remediation


def incident_of(remediation: Remediation) -> Incident:
    assert remediation.incident is not None
    return remediation.incident


def test_an_execution_opens_its_own_incident() -> None:
    remediation = learned((1, planned(title="Storage restart", severity="critical")))

    incident = incident_of(remediation)
    [step] = remediation.story
    assert isinstance(step.fact, IncidentCreated)
    assert (incident.incident_id, incident.status, incident.severity, incident.version) == (OWN, "new", "critical", 1)
    assert (step.fact.title, step.fact.fingerprint) == ("Storage restart", "execution/e1")
    assert (step.fact.alert_id, step.fact.alert_name, step.fact.firing) == ("", "", False)
    assert remediation.executions["e1"].state == "pending"


def test_without_words_of_its_own_it_is_named_after_the_runbook_and_medium() -> None:
    [step] = learned((1, planned())).story

    assert isinstance(step.fact, IncidentCreated)
    assert (step.fact.title, step.fact.severity) == ("Runbook restart-storage executing", "medium")


def test_its_completion_resolves_it_with_the_reason() -> None:
    remediation = learned((1, planned()), (2, STARTED), (9, COMPLETED))

    moves = [step.fact for step in remediation.story if isinstance(step.fact, IncidentStatusChanged)]
    assert [(m.status, m.trigger) for m in moves] == [
        ("mitigating", "execution_started"),
        ("resolved", "execution_completed"),
    ]
    assert moves[-1].rationale == "opened by execution e1, which completed"
    assert incident_of(remediation).rationale_required == ["severity"]


def test_its_failure_leaves_it_open_with_the_flag() -> None:
    remediation = learned((1, planned()), (2, STARTED), (9, FAILED))

    incident = incident_of(remediation)
    assert incident.status == "mitigating"
    assert incident.flag == Flag("e1", "verify said no")


def test_another_execution_s_completion_does_not_resolve_it() -> None:
    other = COMPLETED.model_copy(update={"execution_id": "e2"})

    assert incident_of(learned((1, planned()), (2, STARTED), (9, FAILED), (4, other))).status == "monitoring"


FACTS = [(1, planned()), (2, STARTED), (9, COMPLETED)]


@pytest.mark.parametrize(
    "order", list(permutations(FACTS)), ids=lambda order: "-".join(str(version) for version, _ in order)
)
def test_whichever_fact_comes_first_its_completion_resolves_it(order: tuple[tuple[int, ExecutionFact], ...]) -> None:
    remediation = learned(*order)

    incident = incident_of(remediation)
    assert (incident.status, incident.flag) == ("resolved", None)
    assert [step.incident.version for step in remediation.story] == list(range(1, len(remediation.story) + 1))
    assert remediation.executions["e1"].version == 9


@pytest.mark.parametrize(
    "order",
    list(permutations([(1, planned()), (9, FAILED)])),
    ids=lambda order: "-".join(str(version) for version, _ in order),
)
def test_whichever_fact_comes_first_its_failure_is_the_flag(order: tuple[tuple[int, ExecutionFact], ...]) -> None:
    incident = incident_of(learned(*order))

    assert (incident.status, incident.flag) == ("new", Flag("e1", "verify said no"))


def test_facts_without_a_plan_open_nothing_and_are_kept() -> None:
    remediation = learned((2, STARTED), (9, COMPLETED))

    assert remediation.incident is None
    assert remediation.story == []
    assert remediation.executions["e1"].state == "completed"
    assert remediation.changed == {"e1"}


def test_a_plan_that_comes_again_opens_nothing_more() -> None:
    remediation = learned((1, planned()), (9, COMPLETED), (1, planned()))

    assert [step.fact.subject for step in remediation.story] == ["incident.created", "incident.status_changed"]


def test_an_execution_for_an_incident_is_listed_once_it_is_planned() -> None:
    story = Story()
    story.report()
    incident = story.incident()
    remediation = Remediation("default", incident.incident_id, incident)

    assert remediation.learn(planned(opens=False), version=1, now=LATER, sla=Sla())

    assert remediation.story == []
    assert remediation.executions["e1"].state == "pending"


def test_a_title_can_be_stored_and_is_bounded() -> None:
    [step] = learned((1, planned(title="a\x00b" * 1000))).story

    assert isinstance(step.fact, IncidentCreated)
    assert "\x00" not in step.fact.title
    assert len(step.fact.title) == 500


def test_a_person_s_incident_is_nobody_s_alert() -> None:
    step, opening = opened_by_person(
        "i1",
        tenant="default",
        actor="pat",
        title="Disk is loud",
        severity="low",
        description="It hums.",
        tags=("disk",),
        sla=Sla(),
        now=NOW,
    )

    assert isinstance(step.fact, IncidentCreated)
    assert (step.fact.fingerprint, step.fact.alert_id, step.fact.alert_name, step.fact.firing) == ("", "", "", False)
    assert (step.fact.description, step.fact.tags) == ("It hums.", ["disk"])
    assert step.fact.sla_deadline == "2026-03-04T10:00:00.000000Z"
    assert opening.by == "pat"
