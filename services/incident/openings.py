"""How an incident begins without an alert: a person opens it, or an execution does for itself."""

from collections.abc import Sequence
from datetime import datetime

from msgspec.structs import replace

from libs.common.clock import rfc3339
from libs.common.contracts.alert import MAX_TITLE
from libs.common.contracts.execution import ExecutionPlanned
from libs.common.contracts.incident import IncidentCreated, Severity
from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.ids import derived_id
from services.incident.lifecycle import INITIAL
from services.incident.model import Incident, Opening, Told, told
from services.incident.sla import Sla


def execution_fingerprint(execution_id: str) -> str:
    """The problem of an incident that this execution opens; no alert's fingerprint has a slash."""
    return f"execution/{execution_id}"


def execution_incident_id(execution_id: str) -> str:
    """The id of the incident that this execution opens, known to the executor before there is one."""
    return derived_id("incident", execution_id)


def opened_by_person(
    incident_id: str,
    *,
    tenant: str,
    actor: str,
    title: str,
    severity: Severity,
    description: str,
    tags: Sequence[str],
    sla: Sla,
    now: datetime,
    marking: Marking = UNMARKED,
    rotation: str = "",
) -> tuple[Told, Opening]:
    """A person saw what no alert reported."""
    opening = Opening(title=title, created_at=now, by=actor, description=description, tags=tags)
    incident = replace(_fresh(incident_id, tenant, "", severity, sla, now), marking=marking, rotation=rotation)
    return _opened(incident, opening), opening


def opened_by_execution(
    fact: ExecutionPlanned, *, tenant: str, marking: Marking, sla: Sla, now: datetime, origin: int = 0
) -> tuple[Told, Opening]:
    """An execution that was started without an incident opens one, so that people see it and it can end badly."""
    title = _storable(fact.title or f"Runbook {fact.runbook_id} executing")
    opening = Opening(title=title, created_at=now, by="execution")
    fingerprint = execution_fingerprint(fact.execution_id)
    incident = _fresh(fact.incident_id, tenant, fingerprint, fact.severity or "medium", sla, now)
    incident = replace(incident, marking=marking)
    return _opened(incident, opening, origin), opening


def created(incident: Incident, opening: Opening, *, alert_id: str = "") -> IncidentCreated:
    """What is told of an incident that begins; it fires when an alert opened it."""
    return IncidentCreated(
        incident_id=incident.incident_id,
        title=opening.title,
        severity=incident.severity,
        status=incident.status,
        fingerprint=incident.fingerprint,
        alert_id=alert_id,
        alert_name=opening.alert_name,
        labels=dict(opening.labels),
        annotations=dict(opening.annotations),
        firing=incident.firing > 0,
        description=opening.description or None,
        tags=list(opening.tags) or None,
        sla_deadline=None if incident.sla_deadline is None else rfc3339(incident.sla_deadline),
    )


def _fresh(incident_id: str, tenant: str, fingerprint: str, severity: Severity, sla: Sla, now: datetime) -> Incident:
    return Incident(
        tenant=tenant,
        incident_id=incident_id,
        fingerprint=fingerprint,
        severity=severity,
        status=INITIAL,
        version=0,
        firing=0,
        opened_at=now,
        updated_at=now,
        sla_deadline=sla.deadline(severity, now),
    )


def _opened(incident: Incident, opening: Opening, origin: int = 0) -> Told:
    return told(incident, created(incident, opening), now=opening.created_at, origin=origin)


def _storable(title: str) -> str:
    return title.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_TITLE]
