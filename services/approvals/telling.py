"""Writes what became of approvals and tells it, in one transaction; and counts it."""

from collections.abc import Sequence
from datetime import datetime

from libs.common import together
from libs.common.database import Tx
from libs.common.outbox import Cause, Outbox
from services.approvals import metrics, storage, votes
from services.approvals.lifecycle import INITIAL
from services.approvals.model import Approval, Told


async def tell(tx: Tx, outbox: Outbox, story: Sequence[tuple[Told, Cause]], *, now: datetime) -> None:
    """Store each approval as its last fact left it, and the facts, in order."""
    if not story:
        return
    approvals, steps = [told.approval for told, _ in story], [told for told, _ in story]
    events = [
        outbox.event(
            told.fact,
            aggregate_id=told.approval.approval_id,
            aggregate_version=told.approval.version,
            cause=cause,
            now=now,
        )
        for told, cause in story
    ]
    new, moved = storage.adding(approvals), storage.moving(approvals)
    if new and moved:  # what is new may have moved as well, and a statement does not see its own rows
        await together.write(tx, new)
        new = []
    await together.write(tx, [*new, *moved, *votes.casting(steps), *outbox.writes(events)])
    await votes.take_back(tx, steps, now=now)
    for told, _ in story:
        _count(told.approval)


def _count(approval: Approval) -> None:
    if approval.state == INITIAL:
        return
    metrics.DECISIONS.labels(approval.state).inc()
    if approval.decided_at is not None and approval.revoked_at is None:
        waited = (approval.decided_at - approval.requested_at).total_seconds()
        metrics.LATENCY.labels(approval.state).observe(waited)
