"""What may be asked of the incident service: the bodies of its verbs."""

from typing import Annotated

from pydantic import Field, StringConstraints

from libs.common.contracts.incident import IncidentStatus
from libs.common.rpc import Question
from services.incident.lifecycle import PersonTrigger

IncidentId = Annotated[
    str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
]
Rationale = Annotated[
    str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True, pattern=r"^[^\x00]*$")
]


class GetIncident(Question):
    """One incident, whole."""

    incident_id: IncidentId


class ListIncidents(Question):
    """A page of the tenant's incidents, newest first; `after` is the last id of the page before."""

    limit: Annotated[int, Field(ge=1, le=100)] = 50
    after: IncidentId | None = None
    status: IncidentStatus | None = None


class TransitionIncident(Question):
    """Pull a trigger of the lifecycle, saying why where it is asked for."""

    incident_id: IncidentId
    trigger: PersonTrigger
    rationale: Rationale | None = None
