"""What the use cases need of a store: one open transaction, and a fixed number of round trips a call."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from libs.common.outbox import OutboxEvent
from services.incident.judgements import SeverityEntry
from services.incident.model import Incident, Opening
from services.incident.pages import Page, Wanted
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

    async def save_problems(self, problems: Sequence[Problem], events: Sequence[OutboxEvent]) -> None:
        """Store what changed in locked problems, and what is told of it."""

    async def remediations(
        self, incidents: Sequence[IncidentKey], executions: Sequence[str], now: datetime
    ) -> Mapping[IncidentKey, Remediation]:
        """These incidents, locked in the order of their keys, with those executions.

        Unknown incidents are left out, but those that one of these executions opens: they come without an incident,
        and locked as their problem is.
        """

    async def save_remediations(self, remediations: Sequence[Remediation], events: Sequence[OutboxEvent]) -> None:
        """Store locked incidents, the executions that changed, and what is told of them."""

    async def incident(self, tenant: str, incident_id: str) -> Incident | None:
        """One incident, locked; None when the tenant has none of this id."""

    async def save(self, incidents: Sequence[Incident]) -> None:
        """Store locked incidents."""

    async def tell(self, events: Sequence[OutboxEvent]) -> None:
        """Write facts, in order, beside what they say."""

    async def open(self, incident: Incident, opening: Opening) -> None:
        """Store a new incident."""

    async def remember_severity(self, incident: Incident, entry: SeverityEntry) -> None:
        """Add a line to a locked incident's severity history."""

    async def runbooks(self, tenant: str, incident_id: str) -> Collection[str]:
        """The runbooks linked to a locked incident."""

    async def link(self, incident: Incident, runbook_id: str, *, actor: str, now: datetime) -> None:
        """Link one more."""

    async def view(self, tenant: str, incident_id: str) -> Mapping[str, Any] | None:
        """One incident whole, JSON-ready, within the limit of a reply; None when the tenant has none of this id."""

    async def page(self, tenant: str, wanted: Wanted) -> Page:
        """A page of the tenant's incidents, newest first."""
