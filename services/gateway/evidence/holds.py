"""Holds: a word in the log that keeps an incident's evidence from its retention, until it is taken back there."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.access import EvidenceHeld, EvidenceReleased
from libs.common.contracts.marking import Marking
from libs.common.database import Database
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from services.gateway.evidence.desk import SERVICE, Opener

_KINDS: Final = {True: EvidenceHeld, False: EvidenceReleased}


@dataclass(frozen=True, slots=True)
class Hold:
    """Of which incident, bearing what, why, and whether it begins or ends."""

    incident_id: str
    marking: Marking
    rationale: str
    held: bool


class HoldDesk:
    """Tells the log; it holds from when it stands there, and the timeline, which deletes, looks there first."""

    def __init__(self, database: Database, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def tell(self, opener: Opener, hold: Hold) -> dict[str, Any]:
        """{hold_id, incident_id, held, told_at}. Said again it stands twice in the log, and means the same."""
        now, hold_id = self._clock(), new_id()
        fact = _KINDS[hold.held](
            hold_id=hold_id,
            incident_id=hold.incident_id,
            actor=opener.principal.actor,
            rationale=hold.rationale,
            decision_id=opener.decision.decision_id,
            policy_revision=opener.decision.revision,
        )
        cause = Cause(
            tenant=opener.tenant,
            actor=opener.principal.actor,
            correlation=opener.request_key,
            incident_id=hold.incident_id,
            marking=hold.marking,
        )
        event = self._outbox.event(fact, aggregate_id=hold_id, aggregate_version=1, cause=cause, now=now)
        async with self._database.transaction("hold_evidence") as tx:
            await self._outbox.add(tx, [event])
        return {"hold_id": hold_id, "incident_id": hold.incident_id, "held": hold.held, "told_at": rfc3339(now)}
