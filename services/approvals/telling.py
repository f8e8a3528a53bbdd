"""Writes what became of approvals and tells it, in one transaction; and counts it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import orjson

from libs.common import together
from libs.common.artefacts import document, leave
from libs.common.contracts.approval import ApprovalExpired, ApprovalGranted, ApprovalRejected, ApprovalRevoked
from libs.common.contracts.envelope import Ref
from libs.common.database import Tx
from libs.common.outbox import Cause, Outbox
from services.approvals import metrics, storage, views, votes
from services.approvals.lifecycle import INITIAL
from services.approvals.model import Approval, Told

FORMAT: Final = "rr.approval/1"
DECISIONS: Final = (ApprovalGranted, ApprovalRejected, ApprovalExpired, ApprovalRevoked)


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
            refs=await _kept(tx, told),
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


async def _kept(tx: Tx, told: Told) -> list[Ref]:
    """Of a decision: the question as it was shown, and what became of it, as an artefact."""
    if not isinstance(told.fact, DECISIONS):
        return []
    said = {"type": told.fact.subject, "payload": orjson.loads(told.fact.encode())}
    shown = document(FORMAT, {"approval": views.whole(told.approval), "decision": said})
    return [await leave(tx, told.approval.tenant, "approval", shown)]


def _count(approval: Approval) -> None:
    if approval.state == INITIAL:
        return
    metrics.DECISIONS.labels(approval.state).inc()
    if approval.decided_at is not None and approval.revoked_at is None:
        waited = (approval.decided_at - approval.requested_at).total_seconds()
        metrics.LATENCY.labels(approval.state).observe(waited)
