"""What the incident service does by itself and shows: fold in alerts, follow executions, answer questions.

Each use case works inside the transaction of the store it is given: what it changes and what it tells are committed
together, or not at all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from libs.common.clock import Clock
from libs.common.ids import is_id
from libs.common.outbox import Outbox
from libs.common.policy import Resource, decide, require, require_scope
from libs.common.rpc import Answer, Caller
from services.incident.commands import GetIncident, ListIncidents
from services.incident.errors import NoSuchIncident
from services.incident.model import Told, rotations
from services.incident.pages import Wanted
from services.incident.ports import Incidents
from services.incident.problems import NewId, Outcome, Problem
from services.incident.remediation import FOLLOWED, Remediation
from services.incident.sla import Sla
from services.incident.telling import SERVICE, SYSTEM, Learned, Post, event, of_fact, of_post


@dataclass(frozen=True, slots=True)
class UseCases:
    """What is done on messages and questions, with the service's outbox, clock, source of ids and deadlines."""

    outbox: Outbox
    clock: Clock
    new_id: NewId
    sla: Sla

    async def ingest(self, store: Incidents, posts: Sequence[Post]) -> tuple[Counter[Outcome], Sequence[Told]]:
        """Fold posts in, in order; says what became of each alert, and what is told of incidents."""
        now = self.clock()
        keys = [(post.tenant, alert.fingerprint, alert.starts_at) for post in posts for alert in post.alerts]
        problems = await store.problems(keys, now)
        outcomes = Counter(
            problems[post.tenant, alert.fingerprint].report(
                alert, now=now, new_id=self.new_id, sla=self.sla, origin=origin
            )
            for origin, post in enumerate(posts)
            for alert in post.alerts
        )
        await _permit(problem.tenant for problem in problems.values() if problem.openings)
        story = _in_order(problems.values())
        events = [event(self.outbox, step, of_post(step, posts[step.origin]), now) for step in story]
        await store.save_problems(list(problems.values()), events)
        return outcomes, story

    async def follow(self, store: Incidents, learned: Sequence[Learned]) -> Sequence[Told]:
        """Fold facts of executions into their incidents, in order; of no known incident, they are left."""
        now = self.clock()
        ours = [item for item in learned if is_id(item.fact.incident_id) and type(item.fact) in FOLLOWED]
        if not ours:
            return []
        keys = [(item.envelope.tenant, item.fact.incident_id) for item in ours]
        found = await store.remediations(keys, [item.fact.execution_id for item in ours], now)
        for origin, (key, item) in enumerate(zip(keys, ours, strict=True)):
            if key in found:
                version = item.envelope.aggregate_version
                found[key].learn(
                    item.fact,
                    version=version,
                    now=now,
                    sla=self.sla,
                    marking=item.envelope.marking,
                    origin=origin,
                )
        await _permit(tenant for (tenant, _), remediation in found.items() if remediation.opening)
        story = _in_order(found.values())
        events = [event(self.outbox, step, of_fact(step, ours[step.origin]), now) for step in story]
        await store.save_remediations(list(found.values()), events)
        return story

    async def show(self, store: Incidents, caller: Caller, question: GetIncident) -> Mapping[str, Any]:
        """One incident, whole.

        Raises:
            NoSuchIncident: there is none, or the caller may not see it.
        """
        found = await store.view(caller.tenant, question.incident_id)
        if found is None or not (await decide(caller.principal, "incident.view", as_shown(found))).allow:
            raise NoSuchIncident(question.incident_id)
        return found

    async def page(self, store: Incidents, caller: Caller, question: ListIncidents) -> Answer:
        """A page of the tenant's incidents; `next` continues it, and is null on the last page.

        Raises:
            Denied: the caller may not look into this tenant.
        """
        seen = await require_scope(caller.principal, "incident.view", SERVICE, caller.tenant)
        wanted = Wanted(
            seen=seen,
            limit=question.limit,
            after=question.after,
            status=question.status,
            severity=question.severity,
            text=question.q,
        )
        found = await store.page(caller.tenant, wanted)
        return {"items": found.items, "next": found.next}


def _in_order(found: Iterable[Problem] | Iterable[Remediation]) -> list[Told]:
    """What is told, in the order of the messages that it comes from."""
    return sorted((step for item in found for step in item.story), key=attrgetter("origin"))


def as_shown(found: Mapping[str, Any]) -> Resource:
    """An incident that was read whole, as policy knows it."""
    return Resource(
        SERVICE,
        found["incident_id"],
        found["tenant_id"],
        environment=found["environment"],
        clearance=found["clearance"],
        severity=found["severity"],
        status=found["status"],
        rotations=rotations(found["rotation"]),
        version=found["version"],
    )


async def _permit(tenants: Iterable[str]) -> None:
    """Ask once a tenant: that a service opens what an alert reports does not depend on which incident it is."""
    for tenant in sorted(set(tenants)):
        await require(SYSTEM, "incident.open", Resource(SERVICE, "*", tenant))
