"""An incident follows the executions that concern it, by their facts and never by an old one."""

from datetime import datetime, timedelta

import pytest

from libs.common.contracts.execution import (
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
    ExecutionStarted,
)
from libs.common.contracts.incident import RemediationFailed
from services.incident.model import MAX_REASON, Flag, Incident, moved
from services.incident.remediation import Remediation
from services.incident.sla import Sla
from tests.unit.incident.samples import LATER, NOW, Story

END = LATER + timedelta(minutes=5)


def remedy(incident: Incident) -> Remediation:
    return Remediation(incident.tenant, incident.incident_id, incident)


def learn(remediation: Remediation, fact: ExecutionFact, *, version: int, now: datetime) -> bool:
    return remediation.learn(fact, version=version, now=now, sla=Sla())


def current(remediation: Remediation) -> Incident:
    assert remediation.incident is not None
    return remediation.incident


def opened() -> Incident:
    story = Story()
    story.report()
    return story.incident()


def started(execution: str = "e1") -> ExecutionFact:
    return ExecutionStarted(execution_id=execution, incident_id="i", runbook_id="r", plan_hash="00")


def completed(execution: str = "e1") -> ExecutionFact:
    return ExecutionCompleted(execution_id=execution, incident_id="i", runbook_id="r", verified="alert")


def failed(reason: str = "verify said no") -> ExecutionFact:
    return ExecutionFailed(execution_id="e1", incident_id="i", runbook_id="r", reason=reason)


def aborted() -> ExecutionFact:
    return ExecutionAborted(execution_id="e1", incident_id="i", runbook_id="r", rationale="wrong host")


def test_it_is_mitigating_when_one_starts_and_monitored_when_it_completes() -> None:
    remediation = remedy(opened())

    learn(remediation, started(), version=2, now=LATER)
    begun = current(remediation)
    learn(remediation, completed(), version=9, now=END)
    done = current(remediation)

    assert (begun.status, begun.acknowledged_at) == ("mitigating", LATER)
    assert (done.status, done.mitigated_at) == ("monitoring", END)
    assert [step.fact.subject for step in remediation.story] == ["incident.status_changed"] * 2
    assert [step.incident.version for step in remediation.story] == [2, 3]


@pytest.mark.parametrize(("fact", "reason"), [(failed(), "verify said no"), (aborted(), "wrong host")])
def test_one_that_did_not_help_is_a_flag_with_its_reason_and_not_a_status(fact: ExecutionFact, reason: str) -> None:
    remediation = remedy(opened())
    learn(remediation, started(), version=2, now=NOW)

    learn(remediation, fact, version=5, now=LATER)

    assert current(remediation).status == "mitigating"
    assert current(remediation).flag == Flag("e1", reason)
    told = remediation.story[-1].fact
    assert isinstance(told, RemediationFailed)
    assert told.reason == reason
    assert remediation.executions["e1"].reason == reason


def test_an_older_fact_changes_nothing() -> None:
    remediation = remedy(opened())
    learn(remediation, completed(), version=9, now=NOW)
    before = (current(remediation), dict(remediation.executions), list(remediation.story))

    assert not learn(remediation, started(), version=2, now=LATER)
    assert not learn(remediation, completed(), version=9, now=LATER)

    assert (current(remediation), remediation.executions, remediation.story) == before


def test_each_execution_has_a_version_of_its_own() -> None:
    remediation = remedy(opened())
    learn(remediation, completed("e1"), version=9, now=NOW)

    assert learn(remediation, started("e2"), version=2, now=LATER)

    assert current(remediation).status == "mitigating"


def test_a_later_success_takes_the_flag_away() -> None:
    remediation = remedy(opened())
    learn(remediation, failed(), version=5, now=NOW)

    learn(remediation, completed("e2"), version=4, now=LATER)

    assert current(remediation).flag is None


def test_completing_after_the_alert_ended_leaves_it_resolved_and_counts_as_mitigation() -> None:
    story = Story()
    story.report()
    story.report("resolved")
    remediation = remedy(story.incident())

    learn(remediation, completed(), version=9, now=LATER)

    assert current(remediation).status == "resolved"
    assert remediation.story == []
    assert moved(current(remediation), "close", rationale="", now=END).incident.status == "closed"


def test_a_closed_incident_is_flagged_and_stays_closed() -> None:
    resolved = moved(opened(), "resolve", rationale="false alarm", now=NOW).incident
    closed = moved(resolved, "close", rationale="false alarm", now=NOW).incident
    remediation = remedy(closed)

    learn(remediation, started(), version=2, now=LATER)
    learn(remediation, failed(), version=3, now=LATER)

    assert current(remediation).status == "closed"
    assert [step.fact.subject for step in remediation.story] == ["incident.remediation_failed"]


def test_a_reason_is_bounded_and_can_be_stored() -> None:
    remediation = remedy(opened())

    learn(remediation, failed("a\x00b" * 1000), version=2, now=NOW)

    assert current(remediation).flag is not None
    assert len(current(remediation).flag.reason) == MAX_REASON
    assert "\x00" not in current(remediation).flag.reason


def test_reopening_counts_anew() -> None:
    resolved = moved(opened(), "resolve", rationale="looked fine", now=NOW).incident

    reopened = moved(resolved, "reopen", rationale="it is not", now=LATER).incident

    assert (reopened.status, reopened.opened_at, reopened.acknowledged_at) == ("acknowledged", LATER, LATER)
    assert (reopened.resolved_at, reopened.mitigated_at) == (None, None)
