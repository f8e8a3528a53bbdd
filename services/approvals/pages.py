"""Approvals as they are read: pages by keyset, those asked last first, and single ones; nothing is locked."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.database import Tx, Uuid
from libs.common.policy import Scope
from libs.common.sight import filters, seen
from services.approvals import storage
from services.approvals.commands import ListApprovals
from services.approvals.model import Approval

_ONE: Final = "SELECT * FROM approval WHERE tenant_id = $1 AND approval_id = $2"
_PAGE: Final = f"""
SELECT * FROM approval
WHERE tenant_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR incident_id = $3)
  AND ($4::text IS NULL OR execution_id = $4) AND {seen("$7", "$8")}
  AND ($5::uuid IS NULL OR (requested_at, approval_id) < (
    SELECT l.requested_at, l.approval_id FROM approval l WHERE l.tenant_id = $1 AND l.approval_id = $5))
ORDER BY requested_at DESC, approval_id DESC LIMIT $6
"""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which approvals, behind which one."""

    state: str | None
    incident_id: str | None
    execution_id: str | None
    after: str | None


def wanted(question: ListApprovals) -> Wanted:
    """What a list was asked for."""
    return Wanted(question.state, question.incident_id, question.execution_id, question.after)


def open_of(question: ListApprovals, after: str | None) -> Wanted:
    """The open ones of what a list was asked for, from somewhere on; none where it asks for others."""
    state = "requested" if question.state in {None, "requested"} else "none"
    return Wanted(state, question.incident_id, question.execution_id, after)


async def one(tx: Tx, tenant: str, approval_id: str) -> Approval | None:
    """One approval with its votes; None when the tenant has none of this id."""
    row = await tx.fetchrow(_ONE, tenant, Uuid(approval_id))
    return None if row is None else (await storage.with_votes(tx, [storage.to_approval(row)]))[0]


async def page(tx: Tx, tenant: str, scope: Scope, which: Wanted, *, limit: int) -> list[Approval]:
    """At most `limit` approvals that `scope` covers."""
    last = Uuid(which.after) if which.after else None
    asked: Sequence[object] = (tenant, which.state, which.incident_id, which.execution_id, last, limit)
    rows = await tx.fetch(_PAGE, *asked, *filters(scope))
    return await storage.with_votes(tx, [storage.to_approval(row) for row in rows])
