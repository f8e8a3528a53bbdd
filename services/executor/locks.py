"""Locks of resources, as people see and break them. An execution owns a lock until it ends and nothing of it runs."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from libs.common.contracts.execution import LockBroken
from libs.common.database import Tx
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from services.executor.errors import NoSuchLock
from services.executor.model import Hint
from services.executor.storage import to_hint


async def break_lock(
    tx: Tx, outbox: Outbox, *, tenant_id: str, resource_id: str, rationale: str, cause: Cause, now: datetime
) -> tuple[str, list[Hint]]:
    """Take the lock away; returns who held it, and the actions that wait for it.

    Raises:
        NoSuchLock: nobody holds it.
    """
    row = await tx.fetchrow(
        "DELETE FROM resource_lock WHERE tenant_id = $1 AND resource_id = $2 RETURNING execution_id, state",
        tenant_id,
        resource_id,
    )
    if row is None:
        raise NoSuchLock(resource_id)
    holder = str(row["execution_id"])
    fact = LockBroken(
        break_id=new_id(), resource_id=resource_id, execution_id=holder, state=row["state"], rationale=rationale
    )
    about = cause.about(execution_id=holder)
    event = outbox.event(fact, aggregate_id=fact.break_id, aggregate_version=1, cause=about, now=now)
    await outbox.add(tx, [event])
    waiting = await tx.fetch(
        "SELECT action_id, stream, traceparent FROM action_log"
        " WHERE state = 'ready' AND tenant_id = $1 AND resource_id = $2 LIMIT 200",
        tenant_id,
        resource_id,
    )
    return holder, [to_hint(item) for item in waiting]


async def holders(tx: Tx, tenant_id: str, resource_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Who holds these resources now; those that nobody holds are left out."""
    rows = await tx.fetch(
        "SELECT l.resource_id, l.execution_id, l.state, l.acquired_at, e.runbook_id, e.incident_id"
        " FROM resource_lock l LEFT JOIN execution e USING (execution_id)"
        " WHERE l.tenant_id = $1 AND l.resource_id = ANY($2::text[])",
        tenant_id,
        sorted(set(resource_ids)),
    )
    return {
        row["resource_id"]: {
            "execution_id": str(row["execution_id"]),
            "runbook_id": row["runbook_id"],
            "incident_id": row["incident_id"],
            "state": row["state"],
            "since": row["acquired_at"].isoformat(),
        }
        for row in rows
    }


async def of_execution(tx: Tx, execution_id: Any) -> list[dict[str, Any]]:
    """The locks that an execution holds."""
    rows = await tx.fetch(
        "SELECT resource_id, state, fence, acquired_at, lease_until FROM resource_lock WHERE execution_id = $1"
        " ORDER BY resource_id",
        execution_id,
    )
    return [
        {**dict(row), "acquired_at": row["acquired_at"].isoformat(), "lease_until": row["lease_until"].isoformat()}
        for row in rows
    ]
