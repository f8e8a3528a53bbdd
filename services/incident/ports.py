"""What the use cases need of a store: one open transaction, and a fixed number of round trips a call."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from libs.common.contracts.incident import IncidentStatus
from libs.common.outbox import OutboxEvent
from services.incident.model import Incident
from services.incident.problems import Problem
from services.incident.remediation import Remediation

ProblemKey = tuple[str, str]
"""(tenant, fingerprint)."""
AlertKey = tuple[str, str, datetime]
"""(tenant, fingerprint, startsAt)."""
IncidentKey = tuple[str, str]
"""(tenant, incident id)."""


class Incidents(Protocol):
    """Incidents, alerts and executions in one open transaction."""

    async def problems(self, alerts: Sequence[AlertKey], now: datetime) -> Mapping[ProblemKey, Problem]:
        """The problems of these alerts, locked until the transaction ends; with these alerts and their incidents.

        Locks are taken in the order of their keys, so that two callers wait for each other and never for ever.
        """

    async def save_problems(self, problems: Sequence[Problem]) -> None:
        """Store what changed in locked problems."""

    async def remediations(
        self, incidents: Sequence[IncidentKey], executions: Sequence[str]
    ) -> Mapping[IncidentKey, Remediation]:
        """These incidents, locked in the order of their keys, with those executions; unknown ones are left out."""

    async def save_remediations(self, remediations: Sequence[Remediation]) -> None:
        """Store locked incidents and the executions that changed."""

    async def incident(self, tenant: str, incident_id: str) -> Incident | None:
        """One incident, locked; None when the tenant has none of this id."""

    async def save(self, incidents: Sequence[Incident]) -> None:
        """Store locked incidents."""

    async def tell(self, events: Sequence[OutboxEvent]) -> None:
        """Write facts, in order, beside what they say."""

    async def view(self, tenant: str, incident_id: str) -> Mapping[str, Any] | None:
        """One incident whole, JSON-ready, within the limit of a reply; None when the tenant has none of this id."""

    async def page(
        self, tenant: str, *, limit: int, after: str | None, status: IncidentStatus | None
    ) -> Sequence[Mapping[str, Any]]:
        """At most `limit` incidents of the tenant, JSON-ready, newest first, older than `after`."""
