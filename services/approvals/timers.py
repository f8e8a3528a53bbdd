"""Durable times: reminders, levels and the end of a question.

Due by the database's clock, fired once, in one transaction with the fact that tells it. A question that is over when
several of its times are noticed at once, after an outage say, has expired and nothing else.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from libs.common import rounds
from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from libs.common.pulse import Pulse
from services.approvals import storage, telling
from services.approvals.lifecycle import OPEN
from services.approvals.model import SERVICE, Approval, Told, escalated, expired, reminded
from services.approvals.storage import EXPIRY, REMINDER, Fired

GROUP: Final = 100
ACTOR: Final = Principal.system(SERVICE).actor


class Timers:
    """Fires what is due. Several processes may; an approval's lock lets one of them, or the person who was faster."""

    def __init__(self, database: Database, outbox: Outbox, pulse: Pulse) -> None:
        self._database = database
        self._pulse = pulse
        self._outbox = outbox

    async def run(self) -> None:
        """Fire until cancelled; sleeps to the next due time, at most a second."""
        await rounds.whenever_due(self._database, self._pulse, self.fire_due)

    async def fire_due(self) -> int:
        """Fire one group; returns how many timers fired."""
        async with self._database.transaction("timers") as tx:
            due = await storage.lock_due(tx, GROUP)
            fired = await storage.fire(tx, due) if due else []
            now = await storage.moment(tx)
            story = [told for approval in due for told in _story(approval, fired, now)]
            await telling.tell(tx, self._outbox, [(told, _cause(told.approval)) for told in story], now=now)
            if fired:
                crash_point("approvals_timer_fired")
        return len(fired)


def _story(approval: Approval, fired: Sequence[Fired], now: datetime) -> list[Told]:
    """What the timers of one approval that have fired make of it, in the order in which they were due."""
    own = [timer for timer in fired if timer.approval_id == approval.approval_id]
    if approval.state not in OPEN or not own:
        return []
    if now >= approval.expires_at or any(timer.kind == EXPIRY for timer in own):
        return [expired(approval, now=now)]
    story: list[Told] = []
    for timer in own:
        told = reminded(approval, timer.number) if timer.kind == REMINDER else escalated(approval, timer.number)
        approval = told.approval
        story.append(told)
    return story


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
