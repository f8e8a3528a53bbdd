"""Facts of incidents, published by the incident service."""

from typing import ClassVar, Literal

from libs.common.contracts.fact import Fact

Severity = Literal["low", "medium", "high", "critical"]
IncidentStatus = Literal["new", "acknowledged", "mitigating", "monitoring", "resolved", "closed"]


class IncidentFact(Fact):
    """About one incident."""

    aggregate: ClassVar[str] = "incident"
    incident_id: str


class IncidentCreated(IncidentFact):
    """A problem was reported for the first time since its last incident was closed, or a person or an execution
    opened an incident that no alert stands behind: then `fingerprint` is no alert's, `alert_id` and `alert_name` are
    empty and `firing` is false.
    """

    subject: ClassVar[str] = "incident.created"
    title: str
    severity: Severity
    status: IncidentStatus
    fingerprint: str
    alert_id: str
    alert_name: str
    labels: dict[str, str]
    annotations: dict[str, str]
    firing: bool
    description: str | None = None
    tags: list[str] | None = None
    sla_deadline: str | None = None


class AlertLinked(IncidentFact):
    """Another firing of the same problem was added to the open incident."""

    subject: ClassVar[str] = "incident.alert_linked"
    alert_id: str
    starts_at: str


class AlertResolved(IncidentFact):
    """An alert of the incident ended; `still_firing` counts the incident's alerts that have not."""

    subject: ClassVar[str] = "incident.alert_resolved"
    alert_id: str
    ends_at: str
    still_firing: int


class IncidentStatusChanged(IncidentFact):
    """The incident moved along its lifecycle; `trigger` is the row of the lifecycle table that moved it."""

    subject: ClassVar[str] = "incident.status_changed"
    previous: IncidentStatus
    status: IncidentStatus
    trigger: str
    rationale: str | None = None


class SeverityChanged(IncidentFact):
    """A person judged the incident anew, and said why; the deadline follows the severity."""

    subject: ClassVar[str] = "incident.severity_changed"
    previous: Severity
    severity: Severity
    rationale: str
    sla_deadline: str


class OwnerChanged(IncidentFact):
    """Someone is responsible for the incident from now on; an empty name is nobody."""

    subject: ClassVar[str] = "incident.owner_changed"
    previous: str
    owner: str


class RunbookLinked(IncidentFact):
    """A person said that a runbook belongs to the incident; nothing runs because of it."""

    subject: ClassVar[str] = "incident.runbook_linked"
    runbook_id: str


class RemediationFailed(IncidentFact):
    """An execution for this incident ended without helping: a flag for people, not a status."""

    subject: ClassVar[str] = "incident.remediation_failed"
    execution_id: str
    reason: str
