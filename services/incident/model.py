"""An incident, its alerts and the executions that try to help: values, and how each becomes the next.

Nothing here reads a clock or makes an id: both arrive as arguments.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

from libs.common.contracts.incident import IncidentFact, IncidentStatus, IncidentStatusChanged, Severity
from libs.common.contracts.marking import UNMARKED, Marking
from services.incident.lifecycle import (
    INITIAL,
    OPEN,
    Circumstances,
    FactTrigger,
    PersonTrigger,
    Trigger,
    follow,
    move,
    rationale_required,
)

MAX_REASON: Final = 500


class Flag(Struct, frozen=True):
    """An execution ended without helping: which one, and why."""

    execution_id: str
    reason: str


class Incident(Struct, frozen=True, kw_only=True):
    """What moves in an incident. `version` counts its facts from 1; `firing` its alerts that have not ended.

    `opened_at` is when it was created or last reopened; the other moments belong to that opening, the deadline too.
    `fingerprint` is that of its problem, `execution/…` where an execution opened it, and empty where a person did.
    `owner` is empty when nobody is responsible. `marking` and `rotation` (whose on-call engineers may act on it) are
    said by the alert or the person that opened it, and stay.
    """

    tenant: str
    incident_id: str
    fingerprint: str
    severity: Severity
    status: IncidentStatus
    version: int
    firing: int
    opened_at: datetime
    updated_at: datetime
    acknowledged_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    rationale: str = ""
    flag: Flag | None = None
    owner: str = ""
    sla_deadline: datetime | None = None
    marking: Marking = UNMARKED
    rotation: str = ""

    @property
    def open(self) -> bool:
        """Whether new alerts of its problem belong to it."""
        return self.status in OPEN

    @property
    def rationale_required(self) -> list[str]:
        """What would need a rationale now."""
        return rationale_required(self.status, mitigated=self.mitigated_at is not None)


def rotations(name: str) -> frozenset[str]:
    """Whose on-call engineers may act: those of one rotation, or of none."""
    return frozenset({name} if name else ())


class Told(Struct, frozen=True):
    """A fact, the incident as the fact left it, and where in the batch the fact comes from."""

    incident: Incident
    fact: IncidentFact
    origin: int = 0


class Opening(Struct, frozen=True, kw_only=True):
    """What an incident is made of and never changes afterwards; `by` is the alert, execution or person it came from."""

    title: str
    created_at: datetime
    by: str
    alert_name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    tags: Sequence[str] = ()


class AlertState(Struct, frozen=True, kw_only=True):
    """One alert of a problem. `incident_id` is empty where its end came first, so that it never fired here."""

    alert_id: str
    tenant: str
    fingerprint: str
    starts_at: datetime
    name: str
    severity: Severity
    firing: bool
    incident_id: str
    occurrences: int
    last_seen: datetime
    ends_at: datetime | None = None


class Execution(Struct, frozen=True, kw_only=True):
    """What is known of an execution; `version` is that of the newest fact seen."""

    tenant: str
    execution_id: str
    incident_id: str
    runbook_id: str
    state: str
    version: int
    updated_at: datetime
    reason: str = ""


def told(incident: Incident, fact: IncidentFact, *, now: datetime, origin: int = 0) -> Told:
    """`incident` with one more fact told about it."""
    return Told(replace(incident, version=incident.version + 1, updated_at=now), fact, origin)


def moved(incident: Incident, trigger: PersonTrigger, *, rationale: str, now: datetime) -> Told:
    """A person moves the incident.

    Raises:
        UndefinedMove, RationaleMissing: as the lifecycle says.
    """
    target = move(incident.status, trigger, _circumstances(incident, rationale))
    return _arrived(incident, trigger, target, rationale=rationale, now=now)


def followed(
    incident: Incident, trigger: FactTrigger, *, now: datetime, rationale: str = "", own: bool = False, origin: int = 0
) -> Told | None:
    """A fact moves the incident; None when it does not. `own` is a fact of the execution that opened it."""
    target = follow(incident.status, trigger, replace(_circumstances(incident, rationale), own=own))
    if target is None:
        return None
    return _arrived(incident, trigger, target, rationale=rationale, now=now, origin=origin)


def _circumstances(incident: Incident, rationale: str) -> Circumstances:
    return Circumstances(mitigated=incident.mitigated_at is not None, firing=incident.firing, rationale=rationale)


def _arrived(
    incident: Incident, trigger: Trigger, target: IncidentStatus, *, rationale: str, now: datetime, origin: int = 0
) -> Told:
    fact = IncidentStatusChanged(
        incident_id=incident.incident_id,
        previous=incident.status,
        status=target,
        trigger=trigger,
        rationale=rationale or None,
    )
    arrived = replace(_stamped(incident, target, now), status=target, rationale=rationale or incident.rationale)
    return told(arrived, fact, now=now, origin=origin)


def _stamped(incident: Incident, target: IncidentStatus, now: datetime) -> Incident:
    """When what happened. Reopening counts anew, so that times to acknowledge and to repair are of one opening."""
    match target:
        case "closed":
            return replace(incident, closed_at=now)
        case "resolved":
            return replace(incident, resolved_at=now)
        case _ if incident.status == "resolved":
            return _reopened(incident, None if target == INITIAL else now, now)
        case "monitoring":
            acknowledged = incident.acknowledged_at or now
            return replace(incident, acknowledged_at=acknowledged, mitigated_at=incident.mitigated_at or now)
        case _:
            return replace(incident, acknowledged_at=incident.acknowledged_at or now)


def _reopened(incident: Incident, acknowledged_at: datetime | None, now: datetime) -> Incident:
    """As much time as it had before is left until the deadline."""
    deadline = None if incident.sla_deadline is None else now + (incident.sla_deadline - incident.opened_at)
    return replace(
        incident,
        opened_at=now,
        acknowledged_at=acknowledged_at,
        mitigated_at=None,
        resolved_at=None,
        sla_deadline=deadline,
    )
