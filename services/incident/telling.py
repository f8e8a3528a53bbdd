"""How what happened to incidents becomes facts: who acted, in which conversation, because of what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from libs.common.contracts.alert import Alert
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionFact
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox, OutboxEvent
from libs.common.policy import Principal
from libs.common.rpc import Caller
from services.incident.model import Told

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


def event(outbox: Outbox, step: Told, cause: Cause, now: datetime) -> OutboxEvent:
    """What is told, about its incident, ready for the outbox."""
    incident = step.incident
    return outbox.event(
        step.fact, aggregate_id=incident.incident_id, aggregate_version=incident.version, cause=cause, now=now
    )


def of_post(step: Told, post: Post) -> Cause:
    """Because of an alert."""
    return Cause(
        tenant=step.incident.tenant,
        actor=SYSTEM.actor,
        correlation=step.incident.incident_id,
        causation=post.event_id,
        incident_id=step.incident.incident_id,
        traceparent=post.traceparent,
        marking=step.incident.marking,
    )


def of_fact(step: Told, item: Learned) -> Cause:
    """Because of an execution, in its conversation."""
    cause = Cause.of(item.envelope, actor=SYSTEM.actor).about(incident_id=step.incident.incident_id)
    return replace(cause, traceparent=item.traceparent, marking=step.incident.marking)


def of_command(step: Told, caller: Caller) -> Cause:
    """A command has no event id; the id derived from its request key names it, and nothing of the key's text."""
    return Cause(
        tenant=caller.tenant,
        actor=caller.principal.actor,
        correlation=step.incident.incident_id,
        causation=derived_id("command", caller.tenant, caller.request_key),
        incident_id=step.incident.incident_id,
        traceparent=caller.traceparent,
        marking=step.incident.marking,
    )
