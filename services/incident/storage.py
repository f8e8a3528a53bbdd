"""The incident store in Postgres: a fixed number of round trips a batch, locks in the order of keys."""

import uuid
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from libs.common import together
from libs.common.database import Tx, Uuid
from libs.common.outbox import Outbox, OutboxEvent
from libs.common.together import Write
from services.incident import pages, rows, statements, views
from services.incident.judgements import SeverityEntry
from services.incident.model import AlertState, Execution, Incident, Opening
from services.incident.openings import execution_fingerprint, execution_incident_id
from services.incident.pages import Page, Wanted
from services.incident.ports import AlertKey, IncidentKey, ProblemKey
from services.incident.problems import Problem
from services.incident.remediation import Remediation


class Storage:
    """The store inside one open transaction; implements `ports.Incidents`."""

    def __init__(self, tx: Tx, outbox: Outbox) -> None:
        self._tx = tx
        self._outbox = outbox

    async def problems(self, alerts: Sequence[AlertKey], now: datetime) -> Mapping[ProblemKey, Problem]:
        """Three round trips. The reads are statements of their own: these see what a lock was waited for."""
        keys = sorted({(tenant, fingerprint) for tenant, fingerprint, _ in alerts})
        tenants, fingerprints = rows.columns(keys)
        await self._tx.execute(statements.LOCK_PROBLEMS, tenants, fingerprints, now)
        known: dict[ProblemKey, list[AlertState]] = defaultdict(list)
        linked: set[tuple[str, uuid.UUID]] = set()
        for row in await self._tx.fetch(statements.ALERTS, *rows.columns(sorted(set(alerts)))):
            known[row["tenant_id"], row["fingerprint"]].append(rows.alert(row))
            if row["incident_id"] is not None:
                linked.add((row["tenant_id"], row["incident_id"]))
        of_alerts = [tenant for tenant, _ in linked], [incident_id for _, incident_id in linked]
        incidents: dict[ProblemKey, list[Incident]] = defaultdict(list)
        for row in await self._tx.fetch(statements.PROBLEM_INCIDENTS, tenants, fingerprints, *of_alerts):
            incidents[row["tenant_id"], row["fingerprint"]].append(rows.incident(row))
        return {key: Problem(*key, incidents[key], known[key]) for key in keys}

    async def save_problems(self, problems: Sequence[Problem], events: Sequence[OutboxEvent]) -> None:
        """One round trip: new incidents, changed ones (never the same), alerts, facts."""
        changed = [(problem, incident) for problem in problems for incident in problem.changed_incidents]
        opened = [(i, p.openings[i.incident_id]) for p, i in changed if i.incident_id in p.openings]
        moved = [i for p, i in changed if i.incident_id not in p.openings]
        alerts = [problem.alerts[start] for problem in problems for start in sorted(problem.changed_alerts)]
        kept = _rows(statements.SAVE_ALERTS, map(rows.alert_row, alerts))
        await together.write(self._tx, [*_opening(opened), *_saving(moved), *kept, *self._outbox.writes(events)])

    async def remediations(
        self, incidents: Sequence[IncidentKey], executions: Sequence[str], now: datetime
    ) -> Mapping[IncidentKey, Remediation]:
        """Two round trips, and one more where an execution may open its incident."""
        pairs = sorted({(tenant, name) for (tenant, _), name in zip(incidents, executions, strict=True)})
        own = {(tenant, execution_incident_id(name)): execution_fingerprint(name) for tenant, name in pairs}
        own = {key: own[key] for key in own.keys() & set(incidents)}
        if own:
            problems = sorted((tenant, fingerprint) for (tenant, _), fingerprint in own.items())
            await self._tx.execute(statements.LOCK_PROBLEMS, *rows.columns(problems), now)
        wanted = sorted({(tenant, Uuid(incident_id)) for tenant, incident_id in incidents})
        locked = await self._tx.fetch(statements.LOCK_INCIDENTS, *rows.columns(wanted))
        known: dict[IncidentKey, list[Execution]] = defaultdict(list)
        for row in await self._tx.fetch(statements.EXECUTIONS, *rows.columns(pairs)):
            known[row["tenant_id"], str(row["incident_id"])].append(rows.execution(row))
        found: dict[IncidentKey, Incident | None] = dict.fromkeys(own)
        found |= {(i.tenant, i.incident_id): i for i in map(rows.incident, locked)}
        return {key: Remediation(*key, incident, known[key]) for key, incident in found.items()}

    async def save_remediations(self, remediations: Sequence[Remediation], events: Sequence[OutboxEvent]) -> None:
        """One round trip, or none."""
        changed = [(r, r.incident) for r in remediations if r.changed]
        opened = [(incident, r.opening) for r, incident in changed if incident and r.opening]
        moved = [incident for r, incident in changed if incident and not r.opening]
        executions = [r.executions[execution_id] for r, _ in changed for execution_id in sorted(r.changed)]
        kept = _rows(statements.SAVE_EXECUTIONS, map(rows.execution_row, executions))
        await together.write(self._tx, [*_opening(opened), *_saving(moved), *kept, *self._outbox.writes(events)])

    async def incident(self, tenant: str, incident_id: str) -> Incident | None:
        """Locked by this tenant's key."""
        row = await self._tx.fetchrow(statements.LOCK_INCIDENTS, [tenant], [Uuid(incident_id)])
        return None if row is None else rows.incident(row)

    async def save(self, incidents: Sequence[Incident]) -> None:
        """One round trip, or none."""
        await together.write(self._tx, _saving(incidents))

    async def tell(self, events: Sequence[OutboxEvent]) -> None:
        """One round trip, or none."""
        await self._outbox.add(self._tx, events)

    async def open(self, incident: Incident, opening: Opening) -> None:
        """One round trip."""
        await together.write(self._tx, _opening([(incident, opening)]))

    async def remember_severity(self, incident: Incident, entry: SeverityEntry) -> None:
        """One round trip."""
        await self._tx.execute(
            statements.ADD_SEVERITY, incident.tenant, Uuid(incident.incident_id), rows.json([entry.to_json()])
        )

    async def runbooks(self, tenant: str, incident_id: str) -> Collection[str]:
        """One round trip."""
        found = await self._tx.fetch(statements.RUNBOOKS, tenant, Uuid(incident_id))
        return {row["runbook_id"] for row in found}

    async def link(self, incident: Incident, runbook_id: str, *, actor: str, now: datetime) -> None:
        """One round trip."""
        key = incident.tenant, Uuid(incident.incident_id), runbook_id
        await self._tx.execute(statements.LINK_RUNBOOK, *key, actor, now)

    async def view(self, tenant: str, incident_id: str) -> Mapping[str, Any] | None:
        """See `views.whole`."""
        return await views.whole(self._tx, tenant, incident_id)

    async def page(self, tenant: str, wanted: Wanted) -> Page:
        """See `pages.page`."""
        return await pages.page(self._tx, tenant, wanted)


def _opening(opened: Sequence[tuple[Incident, Opening]]) -> list[Write]:
    return _rows(statements.OPEN, (rows.opening_row(*item) for item in opened))


def _saving(incidents: Sequence[Incident]) -> list[Write]:
    return _rows(statements.SAVE, map(rows.state_row, incidents))


def _rows(sql: str, found: Iterable[tuple[Any, ...]]) -> list[Write]:
    """A write of these rows; none of none."""
    columns = rows.columns(found)
    return [Write(sql, columns)] if columns else []
