"""Who holds and who waits, as people see it: locks, places, held changes and breakers."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from libs.common.database import Tx
from libs.common.policy import Resource, require
from libs.common.rpc import Answer, Caller
from services.executor.guards.questions import GetBreakers, GetLocks

WAITERS: Final = 20
"""Waiters of one lock or place that are shown; `waiting` counts all of them."""

_LOCKS: Final = """
SELECT l.resource_id, l.state, l.execution_id, e.runbook_id, e.incident_id, l.acquired_at AS since, l.lease_until,
  (SELECT count(*) FROM action_log a WHERE a.state = 'ready' AND a.tenant_id = l.tenant_id
    AND a.resource_id = l.resource_id AND a.held_reason = 'lock') AS waiting,
  (SELECT coalesce(jsonb_agg(w), '[]') FROM (
    SELECT a.execution_id, a.path AS step, a.ready_at AS since FROM action_log a
    WHERE a.state = 'ready' AND a.tenant_id = l.tenant_id AND a.resource_id = l.resource_id AND a.held_reason = 'lock'
    ORDER BY a.ready_at, a.action_id LIMIT $4) w) AS waiters
FROM resource_lock l LEFT JOIN execution e ON e.execution_id = l.execution_id
WHERE l.tenant_id = $1 AND ($2::text IS NULL OR l.resource_id = $2) ORDER BY l.acquired_at, l.resource_id LIMIT $3
"""
_LIVE: Final = """
(SELECT a.tenant_id, a.slot_key, a.slot_limit, a.policy, a.state, a.arrival, a.execution_id, e.runbook_id,
    coalesce(a.admitted_at, a.asked_at) AS since
  FROM admission a JOIN execution e ON e.execution_id = a.execution_id
  WHERE a.tenant_id = $1 AND a.state IN ('queued', 'admitted') AND a.slot_key IS NOT NULL
    AND (e.ended_at IS NULL OR (a.state = 'admitted' AND EXISTS (
      SELECT 1 FROM action_log r WHERE r.execution_id = a.execution_id AND r.state = 'running'))))
"""
_PLACES: Final = f"""
WITH live AS {_LIVE},
keys AS (
  SELECT slot_key, count(*) FILTER (WHERE state = 'queued') AS waiting, max(slot_limit) AS most
  FROM live WHERE $2::text IS NULL OR slot_key = $2 GROUP BY slot_key ORDER BY 2 DESC, slot_key LIMIT $3)
SELECT k.slot_key AS key, k.most AS "limit", k.waiting,
  (SELECT coalesce(jsonb_agg(h), '[]') FROM (SELECT execution_id, runbook_id, since FROM live
    WHERE slot_key = k.slot_key AND state = 'admitted' ORDER BY arrival LIMIT $4) h) AS holders,
  (SELECT coalesce(jsonb_agg(q), '[]') FROM (SELECT row_number() OVER (ORDER BY arrival) AS position, execution_id,
      runbook_id, policy, since FROM live
    WHERE slot_key = k.slot_key AND state = 'queued' ORDER BY arrival LIMIT $4) q) AS queue
FROM keys k ORDER BY k.waiting DESC, k.slot_key
"""
_HELD: Final = """
SELECT a.held_reason AS reason, a.execution_id, e.runbook_id, a.path AS step, a.resource_id, a.ready_at AS since,
  CASE WHEN a.held_reason <> 'breaker' THEN a.held_until END AS until, a.held_detail AS detail
FROM action_log a JOIN execution e ON e.execution_id = a.execution_id
WHERE a.tenant_id = $1 AND a.state = 'ready' AND a.held_reason IN ('budget', 'cooldown', 'breaker')
  AND ($2::text IS NULL OR a.resource_id = $2) ORDER BY a.ready_at, a.action_id LIMIT $3
"""
_BREAKERS: Final = """
SELECT runbook_id, resource_id, state, failures, execution_id, opened_at, reset_at, reset_by, rationale
FROM breaker WHERE tenant_id = $1 ORDER BY state DESC, opened_at DESC LIMIT $2
"""
_QUEUED: Final = f"""
WITH own AS (SELECT tenant_id, slot_key, slot_limit, arrival, asked_at FROM admission
  WHERE execution_id = $2 AND state = 'queued'),
live AS {_LIVE}
SELECT o.slot_key, o.slot_limit, o.asked_at,
  (SELECT count(*) FROM live l
    WHERE l.slot_key = o.slot_key AND l.state = 'queued' AND l.arrival <= o.arrival) AS place,
  (SELECT array_agg(l.execution_id ORDER BY l.arrival) FROM live l
    WHERE l.slot_key = o.slot_key AND l.state = 'admitted') AS holders
FROM own o
"""
_WAITING: Final = """
SELECT a.held_reason, a.path, a.resource_id, a.ready_at, a.held_until, a.held_detail, l.execution_id AS holder,
  l.state AS lock_state
FROM action_log a LEFT JOIN resource_lock l
  ON a.held_reason = 'lock' AND l.tenant_id = a.tenant_id AND l.resource_id = a.resource_id
WHERE a.execution_id = $1 AND a.state = 'ready' AND a.held_reason IN ('lock', 'budget', 'cooldown', 'breaker')
ORDER BY a.ready_at, a.action_id LIMIT 200
"""


async def get_locks(tx: Tx, caller: Caller, question: GetLocks) -> Answer:
    """Locks with holders and waiters, places with holders and queues, and changes that a guard holds."""
    await require(caller.principal, "execution.view", Resource("lock", "*", caller.tenant))
    resource, key, limit = question.resource_id, question.key, question.limit
    locks: Sequence[asyncpg.Record] = ()
    places: Sequence[asyncpg.Record] = ()
    held: Sequence[asyncpg.Record] = ()
    if key is None:
        locks = await tx.fetch(_LOCKS, caller.tenant, resource, limit, WAITERS)
        held = await tx.fetch(_HELD, caller.tenant, resource, limit)
    if resource is None:
        places = await tx.fetch(_PLACES, caller.tenant, key, limit, WAITERS)
    return {"locks": _rows(locks), "places": _rows(places), "held": _rows(held)}


async def get_breakers(tx: Tx, caller: Caller, question: GetBreakers) -> Answer:
    """The breakers that are open, then those that were, the latest first."""
    await require(caller.principal, "execution.view", Resource("breaker", "*", caller.tenant))
    return {"items": _rows(await tx.fetch(_BREAKERS, caller.tenant, question.limit))}


async def waits_for(tx: Tx, tenant_id: str, execution_id: uuid.UUID) -> list[dict[str, Any]]:
    """What an execution waits for that somebody holds, or a guard: one row each, with what a person reads about it."""
    queued = await tx.fetchrow(_QUEUED, tenant_id, execution_id)
    found = [] if queued is None else [_queued(queued)]
    return [*found, *(_waiting(row) for row in await tx.fetch(_WAITING, execution_id))]


def _queued(row: asyncpg.Record) -> dict[str, Any]:
    holders = [str(holder) for holder in row["holders"] or ()]
    detail = f"number {row['place']} in the queue of '{row['slot_key']}', limit {row['slot_limit']}"
    return {
        "kind": "place",
        "step": None,
        "name": row["slot_key"],
        "position": row["place"],
        "since": row["asked_at"].isoformat(),
        "until": None,
        "detail": f"{detail}; held by {', '.join(holders[:3])}" if holders else detail,
        "held_by": holders,
    }


def _waiting(row: asyncpg.Record) -> dict[str, Any]:
    holders = [str(row["holder"])] if row["holder"] is not None else []
    detail = row["held_detail"]
    if row["held_reason"] == "lock":
        detail = f"held by execution {holders[0]} ({row['lock_state']})" if holders else "was held; it is tried again"
    timed = row["held_reason"] in {"budget", "cooldown"} and row["held_until"] is not None
    return {
        "kind": row["held_reason"],
        "step": row["path"],
        "name": row["resource_id"],
        "position": None,
        "since": row["ready_at"].isoformat(),
        "until": row["held_until"].isoformat() if timed else None,
        "detail": detail,
        "held_by": holders,
    }


def _rows(rows: Sequence[asyncpg.Record]) -> list[dict[str, Any]]:
    return [{name: _plain(name, value) for name, value in row.items()} for row in rows]


def _plain(name: str, value: Any) -> Any:
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return orjson.loads(value) if name in {"waiters", "holders", "queue"} else value
