"""What folding a batch of facts brings, stored with at most one statement a table."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg

from libs.common import together
from libs.common.database import Tx, Uuid
from libs.common.outbox import OutboxEvent
from libs.common.together import Write
from libs.runbook.effects import SetTimer
from libs.runbook.frame import Frame, StepRun
from services.executor.model import Attempt, Execution, Hint, KeptRollback
from services.executor.storage.attempts import to_hint
from services.executor.storage.columns import columns, json, uuids
from services.executor.storage.frames import write_frames


@dataclass(slots=True)
class Writes:
    """What folding a batch of facts brings; `write` stores it."""

    executions: list[tuple[Execution, Execution]] = field(default_factory=list)
    step_runs: list[tuple[Execution, StepRun]] = field(default_factory=list)
    asked: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    actions: list[tuple[Attempt, str]] = field(default_factory=list)
    doubts_ended: list[tuple[str, str]] = field(default_factory=list)
    withdrawn: list[tuple[Execution, str, int, int]] = field(default_factory=list)
    frames: list[tuple[str, Frame]] = field(default_factory=list)
    frames_ended: list[tuple[str, str]] = field(default_factory=list)
    items: list[tuple[str, str, Sequence[Any]]] = field(default_factory=list)
    rollbacks: list[tuple[str, KeptRollback]] = field(default_factory=list)
    timers: list[tuple[str, SetTimer]] = field(default_factory=list)
    timers_gone: list[tuple[str, str, str]] = field(default_factory=list)
    suspects: list[str] = field(default_factory=list)
    ended: list[Execution] = field(default_factory=list)
    events: list[OutboxEvent] = field(default_factory=list)


class LostUpdate(RuntimeError):
    """An execution changed although its row was locked: a bug, and nothing is written."""


_UPDATE_EXECUTIONS: Final = """
UPDATE execution SET version = t.version, state = t.state, phase = t.phase, blocked_reason = t.blocked_reason,
  reason = t.reason, frame = t.frame::jsonb, paused = t.paused,
  started_at = coalesce(started_at, CASE WHEN t.state <> 'pending' THEN clock_timestamp() END),
  ended_at = coalesce(ended_at, CASE WHEN t.ended THEN clock_timestamp() END)
FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[],
  $9::boolean[], $10::boolean[])
  AS t(id, old, version, state, phase, blocked_reason, reason, frame, ended, paused)
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
  needs_approval, risk, stream, state)
SELECT *, 'ready' FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[], $7::int[],
  $8::int[], $9::text[], $10::text[], $11::text[], $12::text[], $13::bytea[], $14::text[], $15::text[], $16::float8[],
  $17::boolean[], $18::text[], $19::boolean[], $20::text[], $21::text[])
ON CONFLICT (step_run_id, attempt) DO UPDATE SET hinted_at = clock_timestamp(), held_reason = NULL
  WHERE action_log.state = 'ready'
"""
_HINTED: Final = ("action_id", "stream", "traceparent")

_WITHDRAW: Final = """
UPDATE action_log SET state = CASE WHEN state = 'ready' THEN 'cancelled' ELSE state END,
  cancel_requested = true, finished_at = CASE WHEN state = 'ready' THEN clock_timestamp() END
FROM unnest($1::uuid[], $2::int[]) AS t(step_run, attempt_no)
WHERE step_run_id = t.step_run AND attempt = t.attempt_no AND state IN ('ready', 'running')
"""

_END_DOUBTS: Final = """
UPDATE action_log SET state = t.state, finished_at = clock_timestamp(), message = 'decided by its probe'
FROM unnest($1::uuid[], $2::text[]) AS t(step_run, state)
WHERE step_run_id = t.step_run AND action_log.state = 'unknown'
"""

_SET_TIMERS: Final = """
INSERT INTO timer (kind, ref_id, ref_version, due_at, state)
SELECT kind, ref_id, ref,
  coalesce(nullif(at, '')::timestamptz, clock_timestamp() + make_interval(secs => after + random() * jitter)), 'set'
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::float8[], $5::float8[], $6::text[])
  AS t(kind, ref_id, ref, after, jitter, at)
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


async def write(tx: Tx, writes: Writes, told: Sequence[Write] = ()) -> list[Hint]:
    """Store a batch, and with it what is `told` of it. Returns the actions that are ready now.

    What cannot meet in a row goes together: executions, step runs, actions, timers and facts. The rest follows,
    at most one statement a table.

    Raises:
        LostUpdate: an execution was not as the caller had locked it.
    """
    actions = [Write(_INSERT_ACTIONS, columns(map(_action_row, writes.actions)), _HINTED)] if writes.actions else []
    others = [*_executions(writes), *_step_runs(writes), *_timers(writes), *told]
    done = await together.write(tx, [*actions, *others])
    _check(writes, done[len(actions)].count if writes.executions else 0)
    if writes.asked:
        await tx.execute(_ASK, *columns((Uuid(step_run_id), json(asked)) for step_run_id, asked in writes.asked))
    await write_frames(tx, writes.frames, writes.frames_ended, writes.items, writes.rollbacks)
    if writes.withdrawn:
        rows = [(Uuid(e.step_run_id(path, visit)), attempt) for e, path, visit, attempt in writes.withdrawn]
        await tx.execute(_WITHDRAW, *columns(rows))
        await tx.execute("SELECT pg_notify('executor_cancel', '')")
    if writes.doubts_ended:
        await tx.execute(_END_DOUBTS, *columns((Uuid(key), state) for key, state in writes.doubts_ended))
    if writes.timers and writes.timers_gone:  # one that was set and has gone meanwhile is in both
        await tx.execute(_CANCEL_TIMERS, *_gone(writes))
    freed = await _write_locks(tx, writes)
    ready = [row for written in done[: len(actions)] for row in written.rows]
    return [Hint(str(key), stream, traceparent) for key, stream, traceparent in ready] + [to_hint(r) for r in freed]


def _executions(writes: Writes) -> list[Write]:
    if not writes.executions:
        return []
    rows = (
        (
            Uuid(new.execution_id),
            old.version,
            new.version,
            new.frame.state,
            new.frame.phase,
            new.frame.blocked_reason,
            new.frame.reason,
            json(new.frame.to_json()),
            new.frame.terminal,
            new.frame.paused,
        )
        for old, new in writes.executions
    )
    return [Write(_UPDATE_EXECUTIONS, columns(rows))]


def _check(writes: Writes, count: int) -> None:
    if count != len(writes.executions):
        raise LostUpdate(f"{count} instead of {len(writes.executions)} executions")


def _step_runs(writes: Writes) -> list[Write]:
    if not writes.step_runs:
        return []
    return [Write(_UPSERT_STEP_RUNS, columns(_step_run_row(e, run) for e, run in writes.step_runs))]


def _timers(writes: Writes) -> list[Write]:
    if writes.timers:
        return [Write(_SET_TIMERS, columns(_timer_row(key, timer) for key, timer in _last(writes.timers)))]
    return [Write(_CANCEL_TIMERS, _gone(writes))] if writes.timers_gone else []


def _gone(writes: Writes) -> list[list[Any]]:
    return columns((kind, Uuid(ref_id), ref) for kind, ref_id, ref in writes.timers_gone)


def _last(timers: Sequence[tuple[str, SetTimer]]) -> Iterable[tuple[str, SetTimer]]:
    """Of timers of one name the last: one statement writes each row once."""
    return {(key, timer.kind, timer.ref): (key, timer) for key, timer in timers}.values()


def _timer_row(execution_id: str, timer: SetTimer) -> tuple[Any, ...]:
    return timer.kind, Uuid(execution_id), timer.ref, timer.after_seconds, timer.jitter_seconds, timer.at


async def _write_locks(tx: Tx, writes: Writes) -> list[asyncpg.Record]:
    """Locks of ended executions go, and who waited for them is hinted.

    One stays while an action of its execution still runs there (an abort asks it to stop, and cannot wait for it), and
    stays suspect when nobody knows how such an action ended.
    """
    if writes.suspects:
        await tx.execute(
            "UPDATE resource_lock SET state = 'suspect' WHERE execution_id = ANY($1::uuid[])", uuids(writes.suspects)
        )
    ended = uuids(e.execution_id for e in writes.ended)
    return await tx.fetch(_RELEASE, ended) if ended else []


def _step_run_row(execution: Execution, run: StepRun) -> tuple[Any, ...]:
    return (
        Uuid(execution.step_run_id(run.path, run.visit)),
        execution.tenant_id,
        Uuid(execution.execution_id),
        run.path,
        run.visit,
        run.state,
    )


def _action_row(item: tuple[Attempt, str]) -> tuple[Any, ...]:
    attempt, stream = item
    return (
        Uuid(attempt.action_id),
        attempt.tenant_id,
        Uuid(attempt.step_run_id),
        Uuid(attempt.execution_id),
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
        attempt.risk,
        stream,
    )
