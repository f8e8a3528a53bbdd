"""What people decide about an incident beside its status: its severity, its owner, its runbooks.

Each becomes the incident's next value with its fact, or None when it says what is so already. A closed incident is
history and refuses all of them.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, get_args

from msgspec.structs import replace

from libs.common.clock import rfc3339
from libs.common.contracts.incident import OwnerChanged, RunbookLinked, Severity, SeverityChanged
from services.incident.errors import IncidentClosed, TooManyRunbooks
from services.incident.model import MAX_REASON, Incident, Told, told
from services.incident.sla import Sla

MAX_RUNBOOKS: Final = 50
SCALE: Final[tuple[Severity, ...]] = get_args(Severity)


@dataclass(frozen=True, slots=True)
class SeverityEntry:
    """A line of an incident's severity history; the rationale is cut here, and whole in the fact."""

    severity: Severity
    at: datetime
    by: str
    previous: Severity | None = None
    rationale: str = ""

    def to_json(self) -> dict[str, str]:
        """JSON-ready, without what is not known."""
        lines = {"severity": self.severity, "at": rfc3339(self.at), "by": self.by, "rationale": self.rationale}
        return {key: value for key, value in (lines | {"previous": self.previous or ""}).items() if value}


def reclassified(incident: Incident, severity: Severity, *, rationale: str, sla: Sla, now: datetime) -> Told | None:
    """The deadline is counted anew, from the same opening.

    Raises:
        IncidentClosed: nothing changes any more.
    """
    _still_open(incident)
    if severity == incident.severity:
        return None
    deadline = sla.deadline(severity, incident.opened_at)
    fact = SeverityChanged(
        incident_id=incident.incident_id,
        previous=incident.severity,
        severity=severity,
        rationale=rationale,
        sla_deadline=rfc3339(deadline),
    )
    return told(replace(incident, severity=severity, sla_deadline=deadline), fact, now=now)


def worse(severity: Severity, than: Severity) -> bool:
    """Whether it is higher up the scale."""
    return SCALE.index(severity) > SCALE.index(than)


def history_of(fact: SeverityChanged, *, actor: str, now: datetime) -> SeverityEntry:
    """The line that a change adds."""
    return SeverityEntry(fact.severity, now, actor, fact.previous, fact.rationale[:MAX_REASON])


def reassigned(incident: Incident, owner: str, *, now: datetime) -> Told | None:
    """`owner` is responsible; nobody, when it is empty.

    Raises:
        IncidentClosed: nothing changes any more.
    """
    _still_open(incident)
    if owner == incident.owner:
        return None
    fact = OwnerChanged(incident_id=incident.incident_id, previous=incident.owner, owner=owner)
    return told(replace(incident, owner=owner), fact, now=now)


def linked(incident: Incident, runbook_id: str, known: Collection[str], *, now: datetime) -> Told | None:
    """`runbook_id` belongs to the incident, beside those that are `known` to.

    Raises:
        IncidentClosed: nothing changes any more.
        TooManyRunbooks: more than `MAX_RUNBOOKS`.
    """
    _still_open(incident)
    if runbook_id in known:
        return None
    if len(known) >= MAX_RUNBOOKS:
        raise TooManyRunbooks(MAX_RUNBOOKS)
    return told(incident, RunbookLinked(incident_id=incident.incident_id, runbook_id=runbook_id), now=now)


def _still_open(incident: Incident) -> None:
    if not incident.open:
        raise IncidentClosed(incident.incident_id)
