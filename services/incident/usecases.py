"""What the incident service does: fold in alerts, follow executions, move and show incidents.

Each use case works inside the transaction of the store it is given: what it changes and what it tells are committed
together, or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from libs.common.clock import Clock
from libs.common.contracts.alert import Alert
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionFact
from libs.common.ids import derived_id, is_id
from libs.common.outbox import Cause, Outbox, OutboxEvent
from libs.common.policy import Principal, Resource, decide, require
from libs.common.rpc import Answer, Caller
from services.incident.commands import GetIncident, ListIncidents, TransitionIncident
from services.incident.errors import NoSuchIncident
from services.incident.model import Told, moved
from services.incident.ports import Incidents
from services.incident.problems import NewId, Outcome, Problem
from services.incident.remediation import FOLLOWED

SERVICE: Final = "incident"
SYSTEM: Final = Principal.system(SERVICE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """Alerts that came in one message, in its trace."""

    tenant: str
    event_id: str
    traceparent: str
    alerts: Sequence[Alert]


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """A fact of an execution, in its trace."""

    envelope: Envelope
    fact: ExecutionFact
    traceparent: str


@dataclass(frozen=True, slots=True)
class UseCases:
    """The service's verbs, with its outbox, clock and source of ids."""

    outbox: Outbox
    clock: Clock
    new_id: NewId

    async def ingest(self, store: Incidents, posts: Sequence[Post]) -> tuple[Counter[Outcome], Sequence[Told]]:
        """Fold posts in, in order; says what became of each alert, and what is told of incidents."""
        now = self.clock()
        keys = [(post.tenant, alert.fingerprint, alert.starts_at) for post in posts for alert in post.alerts]
        problems = await store.problems(keys, now)
        outcomes = Counter(
            problems[post.tenant, alert.fingerprint].report(alert, now=now, new_id=self.new_id, origin=origin)
            for origin, post in enumerate(posts)
            for alert in post.alerts
        )
        _permit_openings(problems.values())
        await store.save_problems(list(problems.values()))
        story = sorted((step for p in problems.values() for step in p.story), key=attrgetter("origin"))
        await store.tell([self._event(step, _cause(step, posts[step.origin]), now) for step in story])
        return outcomes, story

    async def follow(self, store: Incidents, learned: Sequence[Learned]) -> Sequence[Told]:
        """Fold facts of executions into their incidents, in order; of no known incident, they are left."""
        now = self.clock()
        ours = [item for item in learned if is_id(item.fact.incident_id) and type(item.fact) in FOLLOWED]
        if not ours:
            return []
        keys = [(item.envelope.tenant, item.fact.incident_id) for item in ours]
        found = await store.remediations(keys, [item.fact.execution_id for item in ours])
        for origin, (key, item) in enumerate(zip(keys, ours, strict=True)):
            if key in found:
                found[key].learn(item.fact, version=item.envelope.aggregate_version, now=now, origin=origin)
        await store.save_remediations(list(found.values()))
        story = sorted((step for item in found.values() for step in item.story), key=attrgetter("origin"))
        await store.tell([self._event(step, _following(step, ours[step.origin]), now) for step in story])
        return story

    async def transition(self, store: Incidents, caller: Caller, command: TransitionIncident) -> tuple[Answer, Told]:
        """Move an incident on a person's word.

        Raises:
            NoSuchIncident, Denied, UndefinedMove, RationaleMissing: nothing changed.
        """
        resource = _visible(caller, command.incident_id)
        incident = await store.incident(caller.tenant, command.incident_id)
        if incident is None:
            raise NoSuchIncident(command.incident_id)
        require(caller.principal, "incident.transition", resource)
        now = self.clock()
        step = moved(incident, command.trigger, rationale=command.rationale or "", now=now)
        await store.save([step.incident])
        await store.tell([self._event(step, _commanded(step, caller), now)])
        answer = {
            "incident_id": incident.incident_id,
            "previous": incident.status,
            "status": step.incident.status,
            "version": step.incident.version,
        }
        return answer, step

    async def show(self, store: Incidents, caller: Caller, question: GetIncident) -> Mapping[str, Any]:
        """One incident, whole.

        Raises:
            NoSuchIncident: there is none, or the caller may not see it.
        """
        _visible(caller, question.incident_id)
        found = await store.view(caller.tenant, question.incident_id)
        if found is None:
            raise NoSuchIncident(question.incident_id)
        return found

    async def page(self, store: Incidents, caller: Caller, question: ListIncidents) -> Answer:
        """A page of the tenant's incidents; `next` continues it, and is null on the last page.

        Raises:
            Denied: the caller may not look into this tenant.
        """
        require(caller.principal, "incident.view", Resource(SERVICE, "*", caller.tenant))
        limit = question.limit
        items = await store.page(caller.tenant, limit=limit + 1, after=question.after, status=question.status)
        more = len(items) > limit
        return {"items": items[:limit], "next": items[limit - 1]["incident_id"] if more else None}

    def _event(self, step: Told, cause: Cause, now: datetime) -> OutboxEvent:
        return self.outbox.event(
            step.fact,
            aggregate_id=step.incident.incident_id,
            aggregate_version=step.incident.version,
            cause=cause,
            now=now,
        )


def _permit_openings(problems: Iterable[Problem]) -> None:
    for problem in problems:
        for incident_id in problem.openings:
            require(SYSTEM, "incident.open", Resource(SERVICE, incident_id, problem.tenant))


def _visible(caller: Caller, incident_id: str) -> Resource:
    """What the caller asks about; invisible is answered as missing."""
    resource = Resource(SERVICE, incident_id, caller.tenant)
    if not decide(caller.principal, "incident.view", resource).allow:
        raise NoSuchIncident(incident_id)
    return resource


def _cause(step: Told, post: Post) -> Cause:
    return Cause(
        tenant=step.incident.tenant,
        actor=SYSTEM.actor,
        correlation=step.incident.incident_id,
        causation=post.event_id,
        incident_id=step.incident.incident_id,
        traceparent=post.traceparent,
    )


def _following(step: Told, item: Learned) -> Cause:
    cause = Cause.of(item.envelope, actor=SYSTEM.actor).about(incident_id=step.incident.incident_id)
    return replace(cause, traceparent=item.traceparent)


def _commanded(step: Told, caller: Caller) -> Cause:
    """A command has no event id; the id derived from its request key names it, and nothing of the key's text."""
    return Cause(
        tenant=caller.tenant,
        actor=caller.principal.actor,
        correlation=step.incident.incident_id,
        causation=derived_id("command", caller.tenant, caller.request_key),
        incident_id=step.incident.incident_id,
        traceparent=caller.traceparent,
    )
