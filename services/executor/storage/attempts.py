"""Attempts of actions: rows of the action log."""

from collections.abc import Iterable

import asyncpg

from libs.common.database import Tx, Uuid
from services.executor.model import Attempt, Hint
from services.executor.storage.columns import uuids


async def ready_attempts(connection: "asyncpg.Pool[asyncpg.Record] | Tx", action_ids: Iterable[str]) -> list[Attempt]:
    """Those of the actions that are ready, without a lock."""
    rows = await connection.fetch(
        "SELECT * FROM action_log WHERE action_id = ANY($1::uuid[]) AND state = 'ready'", uuids(action_ids)
    )
    return [to_attempt(row) for row in rows]


async def last_attempt(tx: Tx, step_run_id: str, state: str) -> Attempt | None:
    """The latest attempt of a step run that is in `state`."""
    row = await tx.fetchrow(
        "SELECT * FROM action_log WHERE step_run_id = $1 AND state = $2 ORDER BY attempt DESC LIMIT 1",
        Uuid(step_run_id),
        state,
    )
    return to_attempt(row) if row is not None else None


def to_attempt(row: asyncpg.Record) -> Attempt:
    """A row of `action_log`."""
    return Attempt(
        action_id=str(row["action_id"]),
        tenant_id=row["tenant_id"],
        step_run_id=str(row["step_run_id"]),
        execution_id=str(row["execution_id"]),
        incident_id=row["incident_id"],
        path=row["path"],
        visit=row["visit"],
        attempt=row["attempt"],
        idem_key=row["idem_key"],
        action=row["action"],
        effect=row["effect"],
        action_hash=row["action_hash"],
        rendered=row["rendered"],
        resource_id=row["resource_id"],
        tags_url=row["tags_url"],
        timeout_seconds=row["timeout_seconds"],
        requires_firing=row["requires_firing"],
        traceparent=row["traceparent"],
        needs_approval=row["needs_approval"],
        risk=row["risk"],
        plan_hash=row.get("plan_hash") or "",
        requester=row.get("initiator") or "",
        held_reason=row["held_reason"],
        worker_id=row["worker_id"] or "",
        fence=row["fence"] or 0,
        started_at=row["started_at"],
    )


def to_hint(row: asyncpg.Record) -> Hint:
    """The hint for a row of `action_log`."""
    return Hint(str(row["action_id"]), row["stream"], row["traceparent"])
