"""What policy decided about commands, written down where it was decided: append-only, and denials told as facts.

What a command was allowed stands in the transaction that carries it out: both are there, or neither. What it was
denied is written by itself, since the command left nothing behind.
"""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from libs.common import together
from libs.common.clock import utc_now
from libs.common.contracts.denial import DENIALS, DenialFact
from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.outbox import Cause, Outbox
from libs.common.policy.ledger import Entry
from libs.common.together import Write

ANY: Final = "*"
QUIET_SECONDS: Final = 60.0
"""A denial is told once in so long for an actor, an action and a thing; written down it is each time."""

_WRITE: Final = """
INSERT INTO decision (decision_id, tenant_id, actor, action, resource_kind, resource_id, allow, reasons, engine,
  revision, request_key)
SELECT id, $1, actor, action, kind, resource, allow, reasons::jsonb, engine, revision, $2
FROM unnest($3::uuid[], $4::text[], $5::text[], $6::text[], $7::text[], $8::boolean[], $9::text[], $10::text[],
  $11::text[]) AS t(id, actor, action, kind, resource, allow, reasons, engine, revision)
ON CONFLICT (decision_id) DO NOTHING
"""
_TOLD: Final = """
SELECT EXISTS (SELECT 1 FROM decision WHERE tenant_id = $1 AND actor = $2 AND action = $3 AND resource_kind = $4
  AND resource_id = $5 AND NOT allow AND decided_at > clock_timestamp() - make_interval(secs => $6))
"""


def writes(tenant: str, request_key: str, entries: Sequence[Entry]) -> list[Write]:
    """What adds decisions to the log, for the transaction of what they were about; none where none were made."""
    columns = [list(column) for column in zip(*map(_row, entries), strict=True)]
    return [Write(_WRITE, (tenant, request_key, *columns))] if entries else []


async def deny(
    database: Database, service: str, tenant: str, request_key: str, entries: Sequence[Entry], *, traceparent: str
) -> None:
    """Write down what a refused command was told, and tell its denial unless that was told a moment ago."""
    denied = next((entry for entry in reversed(entries) if not entry.decision.allow), None)
    kind = DENIALS.get(service)
    if denied is None or kind is None:
        return
    async with database.transaction("denied") as tx:
        resource = denied.resource
        about = (tenant, denied.actor.actor, denied.action, resource.kind, resource.id)
        named = resource.id if resource.id != ANY else ""
        told = await tx.fetchval(_TOLD, *about, QUIET_SECONDS)
        await together.write(tx, writes(tenant, request_key, entries))
        if not told:
            outbox = Outbox(service, database.schema)
            cause = Cause(
                tenant=tenant,
                actor=denied.actor.actor,
                correlation=request_key,
                incident_id=named if resource.kind == "incident" else "",
                execution_id=named if resource.kind == "execution" else "",
                runbook_id=named if resource.kind == "runbook" else "",
                traceparent=traceparent,
                marking=Marking(resource.environment, resource.clearance),
            )
            fact = _fact(kind, denied)
            event = outbox.event(fact, aggregate_id=fact.decision_id, aggregate_version=1, cause=cause, now=utc_now())
            await outbox.add(tx, [event])


def _fact(kind: type[DenialFact], entry: Entry) -> DenialFact:
    return kind(
        decision_id=entry.decision.decision_id,
        actor=entry.actor.actor,
        action=entry.action,
        resource_kind=entry.resource.kind,
        resource_id=entry.resource.id,
        reasons=[reason.code for reason in entry.decision.reasons],
        revision=entry.decision.revision,
    )


def _row(entry: Entry) -> tuple[Any, ...]:
    decision, resource = entry.decision, entry.resource
    reasons = orjson.dumps([reason.to_wire() for reason in decision.reasons]).decode()
    return (
        decision.decision_id,
        entry.actor.actor,
        entry.action,
        resource.kind,
        resource.id,
        decision.allow,
        reasons,
        decision.engine,
        decision.revision,
    )
