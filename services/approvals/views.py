"""What the service shows of approvals: JSON-ready, and small enough for one reply."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg

from libs.common.clock import rfc3339
from libs.common.database import Tx, Uuid

BRIEF: Final = 300
"""Characters that a list shows of a text; `get` shows it whole."""

_SHORT: Final = (
    "tenant_id, approval_id, execution_id, incident_id, runbook_id, step_run_id, step, approval_of, plan_hash,"
    " action_hash, action, resource_id, risk, requester, approvers, requested_at, expires_at, state, version, approver,"
    " channel, decided_at, valid_until, revoked_by, revoked_at"
)
_TEXTS: Final = ("prompt", "rationale", "revoke_rationale")
_WHOLE: Final = f"SELECT {_SHORT}, {', '.join(_TEXTS)} FROM approval WHERE tenant_id = $1 AND approval_id = $2"
_PAGE: Final = f"""
SELECT {_SHORT}, {", ".join(f"left({name}, {BRIEF}) AS {name}" for name in _TEXTS)} FROM approval
WHERE tenant_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR incident_id = $3)
  AND ($4::text IS NULL OR execution_id = $4)
  AND ($5::uuid IS NULL OR (requested_at, approval_id) < (
    SELECT l.requested_at, l.approval_id FROM approval l WHERE l.tenant_id = $1 AND l.approval_id = $5))
ORDER BY requested_at DESC, approval_id DESC LIMIT $6
"""


async def whole(tx: Tx, tenant: str, approval_id: str) -> dict[str, Any] | None:
    """One approval; None when the tenant has none of this id."""
    row = await tx.fetchrow(_WHOLE, tenant, Uuid(approval_id))
    return None if row is None else _plain(row)


async def page(
    tx: Tx,
    tenant: str,
    *,
    state: str | None,
    incident_id: str | None,
    execution_id: str | None,
    after: str | None,
    limit: int,
) -> Sequence[dict[str, Any]]:
    """At most `limit` approvals, those asked last first, with the beginnings of their texts."""
    last = Uuid(after) if after else None
    return [_plain(row) for row in await tx.fetch(_PAGE, tenant, state, incident_id, execution_id, last, limit)]


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case uuid.UUID():
            return str(value)
        case _:
            return value
