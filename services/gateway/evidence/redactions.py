"""Redactions: the timeline judges and carries out, and the log is told who wanted it, and why."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from libs.common.clock import utc_now
from libs.common.contracts.access import EventRedacted
from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from services.gateway.evidence.desk import SERVICE
from services.gateway.identity import Identity


class RedactionDesk:
    """Tells the log."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def tell(self, identity: Identity, done: Mapping[str, Any], rationale: str) -> None:
        """Told with each request that asked for it first; a repeated one tells it again, so that no crash loses it."""
        redaction, actor = new_id(), identity.principal.actor
        fact = EventRedacted(
            redaction_id=redaction,
            index=done["index"],
            event_id=done["event_id"],
            actor=actor,
            rationale=rationale,
            method=identity.principal.method,
            decision_id=done["decision_id"],
            policy_revision=done["policy_revision"],
        )
        cause = Cause(
            tenant=identity.tenant,
            actor=actor,
            correlation=identity.request_key,
            incident_id=done["incident_id"] or "",
            execution_id=done["execution_id"] or "",
            marking=Marking(done["environment"], done["clearance"]),
        )
        event = self._outbox.event(fact, aggregate_id=redaction, aggregate_version=1, cause=cause, now=self._clock())
        async with self._database.transaction("redact_event") as tx:
            await self._outbox.add(tx, [event])
