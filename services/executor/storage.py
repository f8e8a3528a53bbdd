"""The executor's SQL: rows in, rows out, one statement for a batch of each kind.

Every change of an action is guarded by its state and, once it runs, by its fence: zero rows means that somebody else
knows better.
"""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import orjson

from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.database import Tx
from libs.common.outbox import OutboxEvent
from libs.runbook.frame import Frame, StepRun
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts
from services.executor.model import Attempt, Execution, Hint

__all__ = ["PublishedFact", "Writes", "write"]

_SPECS_KEPT: Final = 512
_specs: dict[tuple[str, str], Runbook] = {}


@dataclass(slots=True)
class Writes:
    """What folding a batch of facts brings; `write` stores it."""

    executions: list[tuple[Execution, Execution]] = field(default_factory=list)
    step_runs: list[tuple[Execution, StepRun]] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    actions: list[tuple[Attempt, str]] = field(default_factory=list)
    withdrawn: list[tuple[Execution, str, int, int]] = field(default_factory=list)
    timers: list[tuple[str, str, str, float]] = field(default_factory=list)
    timers_gone: list[tuple[str, str, str]] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    ended: list[Execution] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)


class LostUpdate(RuntimeError):
    """An execution changed although its row was locked: a bug, and nothing is written."""


# ── executions ───────────────────────────────────────────────────────────────────────────────────────────────────────

_LOCK: Final = """
SELECT e.*, s.body AS spec FROM execution e JOIN spec s ON s.tenant_id = e.tenant_id AND s.spec_hash = e.spec_hash
WHERE e.execution_id = ANY($1::uuid[]) ORDER BY e.execution_id FOR UPDATE OF e
"""


async def lock(tx: Tx, execution_ids: Iterable[str]) -> dict[str, Execution]:
    """The executions under their rows' locks, which are taken in the order of ids."""
    rows = await tx.fetch(_LOCK, [uuid.UUID(i) for i in sorted(set(execution_ids))])
    return {str(row["execution_id"]): to_execution(row) for row in rows}


async def live_of_incidents(tx: Tx, tenant_incidents: Sequence[tuple[str, str]]) -> list[str]:
    """Ids of executions that have not ended, of (tenant, incident) pairs."""
    tenants, incidents = map(list, zip(*tenant_incidents, strict=True))
    rows = await tx.fetch(
        "SELECT execution_id FROM execution e JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, incident_id)"
        " USING (tenant_id, incident_id) WHERE e.ended_at IS NULL",
        tenants,
        incidents,
    )
    return [str(row["execution_id"]) for row in rows]


def to_execution(row: asyncpg.Record) -> Execution:
    """A row of `execution` joined with its spec."""
    alert = orjson.loads(row["alert"]) if row["alert"] else None
    return Execution(
        execution_id=str(row["execution_id"]),
        tenant_id=row["tenant_id"],
        incident_id=row["incident_id"],
        runbook_id=row["runbook_id"],
        runbook_version=row["runbook_version"],
        spec_hash=row["spec_hash"],
        plan_hash=row["plan_hash"],
        initiator=row["initiator"],
        correlation=row["correlation"],
        traceparent=row["traceparent"],
        inputs=orjson.loads(row["inputs"]),
        facts=PlanFacts(alert=AlertFacts(**alert) if alert else None, incident_id=row["incident_id"]),
        version=row["version"],
        frame=Frame.from_json(orjson.loads(row["frame"])),
        spec=_spec_of(row["tenant_id"], row["spec_hash"], row["spec"]),
    )


def _spec_of(tenant_id: str, spec_hash: str, body: str) -> Runbook:
    """The parsed spec; a hash names its content, so a parsed one is kept."""
    key = (tenant_id, spec_hash)
    if key not in _specs:
        if len(_specs) >= _SPECS_KEPT:
            _specs.clear()
        _specs[key] = Runbook.from_json(orjson.loads(body))
    return _specs[key]


async def known_spec(tx: Tx, tenant_id: str, spec_hash: str) -> Runbook | None:
    """A spec that is stored. A parsed one that is kept proves nothing: the transaction that stored it may be undone."""
    parsed = _specs.get((tenant_id, spec_hash))
    row = await tx.fetchrow(
        "SELECT CASE WHEN $3 THEN NULL ELSE body END AS body FROM spec WHERE tenant_id = $1 AND spec_hash = $2",
        tenant_id,
        spec_hash,
        parsed is not None,
    )
    if row is None:
        return None
    return parsed or _spec_of(tenant_id, spec_hash, row["body"])


async def keep_spec(tx: Tx, tenant_id: str, spec_hash: str, spec: Runbook, version: int) -> None:
    """Store a spec under its hash."""
    await tx.execute(
        "INSERT INTO spec (tenant_id, spec_hash, runbook_id, runbook_version, body) VALUES ($1, $2, $3, $4, $5::jsonb)"
        " ON CONFLICT DO NOTHING",
        tenant_id,
        spec_hash,
        spec.id,
        version,
        _json(spec.to_json()),
    )


_INSERT_EXECUTION: Final = """
INSERT INTO execution (execution_id, tenant_id, match_id, incident_id, runbook_id, runbook_version, spec_hash,
  plan_hash, initiator, correlation, traceparent, inputs, alert, version, state, phase, frame, reason, ended_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12::jsonb, $13::jsonb, $14, $15, $16, $17::jsonb, $18,
  CASE WHEN $19 THEN clock_timestamp() END)
ON CONFLICT (match_id) DO NOTHING RETURNING 1
"""


async def insert_execution(tx: Tx, execution: Execution, match_id: str) -> bool:
    """Store a new execution; False when this match has one already (`match_id` is empty when a person asks)."""
    alert = execution.facts.alert
    done = await tx.fetchval(
        _INSERT_EXECUTION,
        uuid.UUID(execution.execution_id),
        execution.tenant_id,
        uuid.UUID(match_id) if match_id else None,
        execution.incident_id,
        execution.runbook_id,
        execution.runbook_version,
        execution.spec_hash,
        execution.plan_hash,
        execution.initiator,
        execution.correlation,
        execution.traceparent,
        _json(dict(execution.inputs)),
        _json(alert.to_json()) if alert else None,
        execution.version,
        execution.frame.state,
        execution.frame.phase,
        _json(execution.frame.to_json()),
        execution.frame.reason,
        execution.frame.terminal,
    )
    return done is not None


_UPDATE_EXECUTIONS: Final = """
UPDATE execution SET version = t.version, state = t.state, phase = t.phase, blocked_reason = t.blocked_reason,
  reason = t.reason, frame = t.frame::jsonb,
  started_at = coalesce(started_at, CASE WHEN t.state <> 'pending' THEN clock_timestamp() END),
  ended_at = coalesce(ended_at, CASE WHEN t.ended THEN clock_timestamp() END)
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::boolean[]) AS t(id, old, version, state, phase, blocked_reason, reason, frame, ended)
WHERE execution_id = t.id AND execution.version = t.old
"""

_UPSERT_STEP_RUNS: Final = """
INSERT INTO step_run (step_run_id, tenant_id, execution_id, path, visit, state)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[], $5::int[], $6::text[])
ON CONFLICT (step_run_id) DO UPDATE SET state = EXCLUDED.state
"""

_ASK: Final = """
UPDATE step_run SET asked = t.asked::jsonb FROM unnest($1::uuid[], $2::text[]) AS t(id, asked) WHERE step_run_id = t.id
"""

_INSERT_ACTIONS: Final = """
INSERT INTO action_log (action_id, tenant_id, step_run_id, execution_id, incident_id, path, visit, attempt, idem_key,
  action, effect, action_hash, rendered, resource_id, tags_url, timeout_seconds, requires_firing, traceparent,
  needs_approval, stream, state)
SELECT *, 'ready' FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[],
  $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::text[], $15::text[], $16::float8[],
  $17::boolean[], $18::text[], $19::boolean[], $20::text[])
ON CONFLICT (step_run_id, attempt) DO UPDATE SET hinted_at = clock_timestamp(), held_reason = NULL
  WHERE action_log.state = 'ready'
RETURNING action_id, stream, traceparent
"""

_WITHDRAW: Final = """
UPDATE action_log SET state = CASE WHEN state = 'ready' THEN 'cancelled' ELSE state END,
  cancel_requested = true, finished_at = CASE WHEN state = 'ready' THEN clock_timestamp() END
FROM unnest($1::uuid[], $2::int[]) AS t(step_run, attempt_no)
WHERE step_run_id = t.step_run AND attempt = t.attempt_no AND state IN ('ready', 'running')
"""

_SET_TIMERS: Final = """
INSERT INTO timer (kind, ref_id, ref_version, due_at, state)
SELECT kind, ref_id, ref, clock_timestamp() + make_interval(secs => after), 'set'
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::float8[]) AS t(kind, ref_id, ref, after)
ON CONFLICT (kind, ref_id, ref_version) DO UPDATE SET due_at = EXCLUDED.due_at, state = 'set', fired_at = NULL
"""

_CANCEL_TIMERS: Final = """
UPDATE timer SET state = 'cancelled' FROM unnest($1::text[], $2::uuid[], $3::text[]) AS t(k, r, v)
WHERE kind = t.k AND ref_id = t.r AND ref_version = t.v AND state = 'set'
"""

_RELEASE: Final = """
WITH busy AS (
  SELECT tenant_id, resource_id, execution_id, bool_or(state = 'unknown') AS doubted FROM action_log
  WHERE execution_id = ANY($1::uuid[]) AND state IN ('running', 'unknown') AND resource_id IS NOT NULL
  GROUP BY tenant_id, resource_id, execution_id),
doubted AS (
  UPDATE resource_lock l SET state = 'suspect' FROM busy b WHERE b.doubted
    AND (l.tenant_id, l.resource_id, l.execution_id) = (b.tenant_id, b.resource_id, b.execution_id)),
released AS (
  DELETE FROM resource_lock l WHERE execution_id = ANY($1::uuid[]) AND NOT EXISTS (
    SELECT 1 FROM busy b WHERE (l.tenant_id, l.resource_id, l.execution_id)
      = (b.tenant_id, b.resource_id, b.execution_id))
  RETURNING tenant_id, resource_id)
SELECT action_id, stream, traceparent FROM action_log JOIN released USING (tenant_id, resource_id)
WHERE state = 'ready' LIMIT 200
"""


async def write(tx: Tx, writes: Writes) -> list[Hint]:
    """Store a batch: at most one statement a table. Returns the actions that are ready now.

    Raises:
        LostUpdate: an execution was not as the caller had locked it.
    """
    await _update_executions(tx, writes.executions)
    if writes.step_runs:
        await tx.execute(_UPSERT_STEP_RUNS, *_columns(_step_run_row(e, run) for e, run in writes.step_runs))
    if writes.asked:
        await tx.execute(_ASK, *_columns((uuid.UUID(step_run_id), _json(asked)) for step_run_id, asked in writes.asked))
    ready = await tx.fetch(_INSERT_ACTIONS, *_columns(map(_action_row, writes.actions))) if writes.actions else []
    if writes.withdrawn:
        rows = [(uuid.UUID(e.step_run_id(path, visit)), attempt) for e, path, visit, attempt in writes.withdrawn]
        await tx.execute(_WITHDRAW, *_columns(rows))
        await tx.execute("SELECT pg_notify('executor_cancel', '')")
    await _write_timers(tx, writes)
    ready += await _write_locks(tx, writes)
    return [to_hint(row) for row in ready]


async def _update_executions(tx: Tx, pairs: Sequence[tuple[Execution, Execution]]) -> None:
    rows = [
        (
            uuid.UUID(new.execution_id),
            old.version,
            new.version,
            new.frame.state,
            new.frame.phase,
            new.frame.blocked_reason,
            new.frame.reason,
            _json(new.frame.to_json()),
            new.frame.terminal,
        )
        for old, new in pairs
    ]
    if not rows:
        return
    result = await tx.execute(_UPDATE_EXECUTIONS, *_columns(rows))
    if result != f"UPDATE {len(rows)}":
        raise LostUpdate(f"{result} instead of {len(rows)} executions")


async def _write_timers(tx: Tx, writes: Writes) -> None:
    if writes.timers:
        rows = [(kind, uuid.UUID(ref_id), ref, after) for kind, ref_id, ref, after in writes.timers]
        await tx.execute(_SET_TIMERS, *_columns(rows))
    if writes.timers_gone:
        gone = [(kind, uuid.UUID(ref_id), ref) for kind, ref_id, ref in writes.timers_gone]
        await tx.execute(_CANCEL_TIMERS, *_columns(gone))


async def _write_locks(tx: Tx, writes: Writes) -> list[asyncpg.Record]:
    """Locks of ended executions go, and who waited for them is hinted.

    One stays while an action of its execution still runs there (an abort asks it to stop, and cannot wait for it), and
    stays suspect when nobody knows how such an action ended.
    """
    if writes.suspects:
        await tx.execute(
            "UPDATE resource_lock SET state = 'suspect' WHERE execution_id = ANY($1::uuid[])", _uuids(writes.suspects)
        )
    ended = _uuids(e.execution_id for e in writes.ended)
    return await tx.fetch(_RELEASE, ended) if ended else []


def _step_run_row(execution: Execution, run: StepRun) -> tuple[Any, ...]:
    return (
        uuid.UUID(execution.step_run_id(run.path, run.visit)),
        execution.tenant_id,
        uuid.UUID(execution.execution_id),
        run.path,
        run.visit,
        run.state,
    )


def _action_row(item: tuple[Attempt, str]) -> tuple[Any, ...]:
    attempt, stream = item
    return (
        uuid.UUID(attempt.action_id),
        attempt.tenant_id,
        uuid.UUID(attempt.step_run_id),
        uuid.UUID(attempt.execution_id),
        attempt.incident_id,
        attempt.path,
        attempt.visit,
        attempt.attempt,
        attempt.idem_key,
        attempt.action,
        attempt.effect,
        attempt.action_hash,
        attempt.rendered,
        attempt.resource_id,
        attempt.tags_url,
        attempt.timeout_seconds,
        attempt.requires_firing,
        attempt.traceparent,
        attempt.needs_approval,
        stream,
    )


# ── attempts ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def ready_attempts(connection: "asyncpg.Pool[asyncpg.Record] | Tx", action_ids: Iterable[str]) -> list[Attempt]:
    """Those of the actions that are ready, without a lock."""
    rows = await connection.fetch(
        "SELECT * FROM action_log WHERE action_id = ANY($1::uuid[]) AND state = 'ready'", _uuids(action_ids)
    )
    return [to_attempt(row) for row in rows]


async def last_attempt(tx: Tx, step_run_id: str, state: str) -> Attempt | None:
    """The latest attempt of a step run that is in `state`."""
    row = await tx.fetchrow(
        "SELECT * FROM action_log WHERE step_run_id = $1 AND state = $2 ORDER BY attempt DESC LIMIT 1",
        uuid.UUID(step_run_id),
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
        plan_hash=row.get("plan_hash") or "",
        held_reason=row["held_reason"],
        worker_id=row["worker_id"] or "",
        fence=row["fence"] or 0,
        started_at=row["started_at"],
    )


def to_hint(row: asyncpg.Record) -> Hint:
    """The hint for a row of `action_log`."""
    return Hint(str(row["action_id"]), row["stream"], row["traceparent"])


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────────

_SET_ALERTS: Final = """
INSERT INTO alert_state (tenant_id, incident_id, firing, version)
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::bigint[]) AS t(tenant_id, incident_id, firing, version)
ORDER BY tenant_id, incident_id
ON CONFLICT (tenant_id, incident_id) DO UPDATE SET firing = EXCLUDED.firing, version = EXCLUDED.version
  WHERE alert_state.version < EXCLUDED.version
"""


async def set_alerts(tx: Tx, states: Mapping[tuple[str, str], tuple[bool, int]]) -> None:
    """Remember whether the alerts of (tenant, incident) fire; an older version changes nothing."""
    rows = [(tenant, incident, firing, version) for (tenant, incident), (firing, version) in sorted(states.items())]
    if rows:
        await tx.execute(_SET_ALERTS, *_columns(rows))


async def alert_fires(tx: Tx, tenant_id: str, incident_id: str) -> bool | None:
    """Whether the incident's alert fires, None when nothing is known. Holds the row, so that a change comes after."""
    found: bool | None = await tx.fetchval(
        "SELECT firing FROM alert_state WHERE tenant_id = $1 AND incident_id = $2 FOR SHARE", tenant_id, incident_id
    )
    return found


def _columns(rows: Iterable[Sequence[Any]]) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)]


def _uuids(ids: Iterable[str]) -> list[uuid.UUID]:
    return [uuid.UUID(i) for i in ids]


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()
