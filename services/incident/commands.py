"""What may be asked of the incident service: the bodies of its verbs."""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from libs.common.contracts import marking
from libs.common.contracts.alert import MAX_TITLE
from libs.common.contracts.incident import IncidentStatus, Severity
from libs.common.rpc import Question
from services.incident.lifecycle import PersonTrigger

MAX_DESCRIPTION: Final = 4000

IncidentId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
Rationale = Annotated[
    str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True, pattern=r"^[^\x00]*$")
]
Title = Annotated[
    str, StringConstraints(min_length=1, max_length=MAX_TITLE, strip_whitespace=True, pattern=r"^[^\x00-\x1f]*$")
]
Tag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:/=-]{0,63}$")]
Name = Annotated[str, StringConstraints(pattern=rf"^{marking.NAME.pattern}$")]
Owner = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.@:+-]{0,127}$")]
Clearance = Literal["public", "internal", "confidential", "restricted"]
RunbookId = Annotated[str, StringConstraints(pattern=r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")]


class GetIncident(Question):
    """One incident, whole."""

    incident_id: IncidentId


class ListIncidents(Question):
    """A page of the tenant's incidents, newest first; `after` is the `next` of the page before.

    `q` is part of a title or of an alert's name, in letters of either case.
    """

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    after: IncidentId | None = None
    status: IncidentStatus | None = None
    severity: Severity | None = None
    q: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] | None = None


class CreateIncident(Question):
    """Open an incident that no alert reported.

    `environment` and `clearance` say who may see it, and `rotation` whose on-call engineers may act on it.
    """

    title: Title
    severity: Severity
    description: Annotated[str, StringConstraints(max_length=MAX_DESCRIPTION, pattern=r"^[^\x00]*$")] = ""
    tags: Annotated[tuple[Tag, ...], Field(max_length=32)] = ()
    environment: Name | None = None
    clearance: Clearance = "public"
    rotation: Name | None = None

    @field_validator("tags")
    @classmethod
    def _once_each(cls, tags: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(tags))


class TransitionIncident(Question):
    """Pull a trigger of the lifecycle, saying why where it is asked for."""

    incident_id: IncidentId
    trigger: PersonTrigger
    rationale: Rationale | None = None


class ChangeSeverity(Question):
    """Judge an incident anew, and say why."""

    incident_id: IncidentId
    severity: Severity
    rationale: Rationale


class ChangeOwner(Question):
    """Make someone responsible, or nobody (null)."""

    incident_id: IncidentId
    owner: Owner | None


class LinkRunbook(Question):
    """Say that a runbook belongs to an incident; nothing runs because of it."""

    incident_id: IncidentId
    runbook_id: RunbookId
