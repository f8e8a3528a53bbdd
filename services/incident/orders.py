"""What people order: open an incident, move it, judge it, give it to someone, link a runbook to it.

Each order works inside the transaction that stores its answer; a refusal changes nothing. What says what is so already
changes nothing either, and its answer says `changed: false`.
"""

from dataclasses import dataclass, replace

from libs.common.clock import Clock, rfc3339
from libs.common.contracts.incident import SeverityChanged
from libs.common.contracts.marking import CLEARANCES, Marking
from libs.common.outbox import Outbox
from libs.common.policy import Context, Resource, decide, require
from libs.common.rpc import Answer, Caller
from services.incident.commands import ChangeOwner, ChangeSeverity, CreateIncident, LinkRunbook, TransitionIncident
from services.incident.errors import NoSuchIncident
from services.incident.judgements import history_of, linked, reassigned, reclassified, worse
from services.incident.lifecycle import TARGET
from services.incident.model import Incident, Told, moved, rotations
from services.incident.openings import opened_by_person
from services.incident.ports import Incidents
from services.incident.problems import NewId
from services.incident.sla import Sla
from services.incident.telling import SERVICE, event, of_command


@dataclass(frozen=True, slots=True)
class Orders:
    """The service's commands, with its outbox, clock, source of ids and deadlines."""

    outbox: Outbox
    clock: Clock
    new_id: NewId
    sla: Sla

    async def create(self, store: Incidents, caller: Caller, command: CreateIncident) -> Answer:
        """Open an incident; as many as are asked for, alike or not.

        Raises:
            Denied: the caller may open none in this tenant.
        """
        marking = Marking(command.environment or "", CLEARANCES.index(command.clearance))
        rotation = command.rotation or ""
        new = Resource(
            SERVICE,
            "*",
            caller.tenant,
            environment=marking.environment,
            clearance=marking.clearance,
            severity=command.severity,
            rotations=rotations(rotation),
        )
        await require(caller.principal, "incident.create", new)
        step, opening = opened_by_person(
            self.new_id(),
            tenant=caller.tenant,
            actor=caller.principal.actor,
            title=command.title,
            severity=command.severity,
            description=command.description,
            tags=command.tags,
            marking=marking,
            rotation=rotation,
            sla=self.sla,
            now=self.clock(),
        )
        await store.open(step.incident, opening)
        await self._tell(store, caller, step)
        return {**_state(step.incident), "title": opening.title, "created_at": rfc3339(opening.created_at)}

    async def transition(self, store: Incidents, caller: Caller, command: TransitionIncident) -> tuple[Answer, Told]:
        """Move an incident on a person's word.

        Raises:
            NoSuchIncident, Denied, UndefinedMove, RationaleMissing: nothing changed.
        """
        incident = await _visible(store, caller, command.incident_id)
        action = "incident.close" if command.trigger == "close" else "incident.transition"
        mitigated = incident.mitigated_at is not None
        circumstances = Context(to=TARGET[command.trigger], mitigated=mitigated, rationale_present=True)
        await require(caller.principal, action, about(incident), circumstances)
        step = moved(incident, command.trigger, rationale=command.rationale or "", now=self.clock())
        if not command.rationale:
            await require(caller.principal, action, about(incident), replace(circumstances, rationale_present=False))
        await store.save([step.incident])
        await self._tell(store, caller, step)
        return {**_state(step.incident), "previous": incident.status}, step

    async def severity(self, store: Incidents, caller: Caller, command: ChangeSeverity) -> Answer:
        """Judge an incident anew.

        Raises:
            NoSuchIncident, Denied, IncidentClosed: nothing changed.
        """
        incident = await _visible(store, caller, command.incident_id)
        action = "incident.escalate" if worse(command.severity, incident.severity) else "incident.severity"
        circumstances = Context(to=command.severity, rationale_present=bool(command.rationale))
        await require(caller.principal, action, about(incident), circumstances)
        now = self.clock()
        step = reclassified(incident, command.severity, rationale=command.rationale, sla=self.sla, now=now)
        if step is not None and isinstance(step.fact, SeverityChanged):
            await store.remember_severity(step.incident, history_of(step.fact, actor=caller.principal.actor, now=now))
        return {**await self._judged(store, caller, incident, step), "previous": incident.severity}

    async def owner(self, store: Incidents, caller: Caller, command: ChangeOwner) -> Answer:
        """Make someone responsible, or nobody.

        Raises:
            NoSuchIncident, Denied, IncidentClosed: nothing changed.
        """
        incident = await _visible(store, caller, command.incident_id)
        await require(caller.principal, "incident.assign", about(incident))
        step = reassigned(incident, command.owner or "", now=self.clock())
        return {**await self._judged(store, caller, incident, step), "previous": incident.owner or None}

    async def link_runbook(self, store: Incidents, caller: Caller, command: LinkRunbook) -> Answer:
        """Note that a runbook belongs to an incident; whether the catalog has it is not asked.

        Raises:
            NoSuchIncident, Denied, IncidentClosed, TooManyRunbooks: nothing changed.
        """
        incident = await _visible(store, caller, command.incident_id)
        await require(caller.principal, "incident.link", about(incident))
        known = await store.runbooks(caller.tenant, command.incident_id)
        now = self.clock()
        step = linked(incident, command.runbook_id, known, now=now)
        if step is not None:
            await store.link(step.incident, command.runbook_id, actor=caller.principal.actor, now=now)
        return {**await self._judged(store, caller, incident, step), "runbook_id": command.runbook_id}

    async def _judged(self, store: Incidents, caller: Caller, incident: Incident, step: Told | None) -> Answer:
        if step is None:
            return {**_state(incident), "changed": False}
        await store.save([step.incident])
        await self._tell(store, caller, step)
        return {**_state(step.incident), "changed": True}

    async def _tell(self, store: Incidents, caller: Caller, step: Told) -> None:
        await store.tell([event(self.outbox, step, of_command(step, caller), step.incident.updated_at)])


def about(incident: Incident) -> Resource:
    """An incident as policy knows it."""
    return Resource(
        SERVICE,
        incident.incident_id,
        incident.tenant,
        environment=incident.marking.environment,
        clearance=incident.marking.clearance,
        severity=incident.severity,
        status=incident.status,
        rotations=rotations(incident.rotation),
        version=incident.version,
    )


async def _visible(store: Incidents, caller: Caller, incident_id: str) -> Incident:
    """The incident, locked.

    Raises:
        NoSuchIncident: there is none, or the caller may not see it, which is answered as if there were none.
    """
    incident = await store.incident(caller.tenant, incident_id)
    if incident is None or not (await decide(caller.principal, "incident.view", about(incident))).allow:
        raise NoSuchIncident(incident_id)
    return incident


def _state(incident: Incident) -> dict[str, object]:
    """What an answer says of an incident after an order."""
    return {
        "incident_id": incident.incident_id,
        "status": incident.status,
        "severity": incident.severity,
        "owner": incident.owner or None,
        "sla_deadline": None if incident.sla_deadline is None else rfc3339(incident.sla_deadline),
        "version": incident.version,
        "rationale_required": incident.rationale_required,
    }
