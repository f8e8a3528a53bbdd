"""Executions as people read them: state and phase, what it is blocked on and waits for, steps, attempts, locks held."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

import asyncpg
import orjson

from libs.common.database import Tx, Uuid
from libs.common.policy import decide, require_scope
from libs.common.rpc import Answer, Caller
from libs.common.sight import filters, seen
from libs.runbook.frame import STEP_TERMINAL, Frame
from services.executor import about, approvals, dry_runs, locks
from services.executor.commands import GetExecution, ListExecutions
from services.executor.errors import ExecutionNotFound
from services.executor.guards import views as guards
from services.executor.rows import plain
from services.executor.step_views import where_it_stands

_COLUMNS = (
    "execution_id, tenant_id, incident_id, runbook_id, runbook_version, spec_hash, plan_hash, initiator, version,"
    " state, phase, coalesce(blocked_reason, CASE WHEN state = 'pending' AND EXISTS (SELECT 1 FROM admission q"
    " WHERE q.execution_id = e.execution_id AND q.state = 'queued') THEN 'queued' END) AS blocked_reason,"
    " reason, created_at, started_at, ended_at, paused, dry_run, retry_of, retry_from,"
    " environment, clearance"
)


async def get_execution(tx: Tx, caller: Caller, question: GetExecution) -> Answer:
    """One execution, whole; missing and invisible are the same answer."""
    execution_id = Uuid(question.execution_id)
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS}, inputs, frame FROM execution e WHERE execution_id = $1 AND tenant_id = $2",
        execution_id,
        caller.tenant,
    )
    if row is None or not (await decide(caller.principal, "execution.view", about.shown(row))).allow:
        raise ExecutionNotFound(question.execution_id)
    root = Frame.from_json(orjson.loads(row["frame"]))
    steps: Sequence[Mapping[str, Any]] = await where_it_stands(tx, execution_id, root)
    if row["dry_run"]:
        steps = await dry_runs.marked(tx, caller.tenant, row["spec_hash"], steps)
    return {
        **_summary(row),
        "inputs": orjson.loads(row["inputs"]),
        "retries": await _retries(tx, execution_id),
        "current_step": _current(root, steps),
        "steps": steps,
        "approvals": [plain(item) for item in await approvals.of_execution(tx, execution_id)],
        "locks": await locks.of_execution(tx, execution_id),
        "waits_for": await guards.waits_for(tx, caller.tenant, execution_id),
    }


async def _retries(tx: Tx, execution_id: uuid.UUID) -> list[str]:
    """The executions that go on with this one."""
    rows = await tx.fetch(
        "SELECT execution_id FROM execution WHERE retry_of = $1 ORDER BY created_at, execution_id", execution_id
    )
    return [str(row["execution_id"]) for row in rows]


async def list_executions(tx: Tx, caller: Caller, question: ListExecutions) -> Answer:
    """A page of the tenant's executions, newest first; `next` is the `after` of the page behind it."""
    scope = await require_scope(caller.principal, "execution.view", about.EXECUTION, caller.tenant)
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM execution e WHERE tenant_id = $1 AND {seen('$6', '$7')}"
        " AND ($2::text IS NULL OR incident_id = $2) AND ($3::text IS NULL OR state = $3)"
        " AND ($4::uuid IS NULL OR (created_at, execution_id) <"
        "   (SELECT created_at, execution_id FROM execution WHERE execution_id = $4 AND tenant_id = $1))"
        " ORDER BY created_at DESC, execution_id DESC LIMIT $5",
        caller.tenant,
        question.incident_id,
        question.state,
        Uuid(question.after) if question.after else None,
        question.limit,
        *filters(scope),
    )
    items = [_summary(row) for row in rows]
    return {"items": items, "next": items[-1]["execution_id"] if len(items) == question.limit else None}


def _current(root: Frame, steps: Sequence[Mapping[str, Any]]) -> str | None:
    """Where it stands: of several steps that go on side by side the first."""
    live = [step["step"] for step in steps if step["state"] not in STEP_TERMINAL and step["state"] != "open"]
    if live:
        return str(live[0])
    return root.current.path if root.current else None


def _summary(row: asyncpg.Record) -> dict[str, Any]:
    return {key: value for key, value in plain(row).items() if key not in {"inputs", "frame"}}
