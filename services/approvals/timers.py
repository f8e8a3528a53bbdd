"""Durable expiry: due by the database's clock, fired once, in one transaction with the fact that tells it."""

from typing import Final

from libs.common import rounds
from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from services.approvals import storage, telling
from services.approvals.lifecycle import OPEN
from services.approvals.model import SERVICE, Approval, expired

GROUP: Final = 100
ACTOR: Final = Principal.system(SERVICE).actor


class Timers:
    """Fires what is due. Several processes may; an approval's lock lets one of them, or the person who was faster."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    async def run(self) -> None:
        """Fire until cancelled; sleeps to the next due time, at most a second."""
        await rounds.whenever_due(self._database, self.fire_due)

    async def fire_due(self) -> int:
        """Fire one group; returns how many timers fired."""
        async with self._database.transaction("timers") as tx:
            due = await storage.lock_due(tx, GROUP)
            fired = await storage.fire(tx, due) if due else set()
            now = await storage.moment(tx)
            silent = [a for a in due if a.approval_id in fired and a.state in OPEN]
            await telling.tell(tx, self._outbox, [(expired(a, now=now), _cause(a)) for a in silent], now=now)
            if fired:
                crash_point("approvals_timer_fired")
        return len(fired)


def _cause(approval: Approval) -> Cause:
    return Cause(
        tenant=approval.tenant,
        actor=ACTOR,
        correlation=approval.correlation,
        incident_id=approval.incident_id,
        execution_id=approval.execution_id,
        runbook_id=approval.runbook_id,
        traceparent=approval.traceparent,
        marking=approval.marking,
    )
