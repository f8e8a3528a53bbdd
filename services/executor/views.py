"""Executions as people read them: state and phase, what it is blocked on and waits for, steps, attempts, locks held."""

import uuid
from collections.abc import Sequence
from typing import Any

import asyncpg
import orjson

from libs.common.database import Tx
from libs.common.policy import Resource, require
from libs.common.rpc import Answer, Caller
from services.executor import approvals, locks
from services.executor.commands import GetExecution, ListExecutions
from services.executor.errors import ExecutionNotFound
from services.executor.guards import views as guards

_COLUMNS = (
    "execution_id, tenant_id, incident_id, runbook_id, runbook_version, spec_hash, plan_hash, initiator, version,"
    " state, phase, coalesce(blocked_reason, CASE WHEN state = 'pending' AND EXISTS (SELECT 1 FROM admission q"
    " WHERE q.execution_id = e.execution_id AND q.state = 'queued') THEN 'queued' END) AS blocked_reason,"
    " reason, created_at, started_at, ended_at"
)
_ATTEMPT = (
    "path, visit, attempt, action_id, action, effect, state, held_reason, worker_id, fence, started_at, finished_at,"
    " error_code, message, evidence, late, resource_id, idem_key, action_hash"
)


async def get_execution(tx: Tx, caller: Caller, question: GetExecution) -> Answer:
    """One execution, whole; missing and invisible are the same answer."""
    execution_id = uuid.UUID(question.execution_id)
    row = await tx.fetchrow(
        f"SELECT {_COLUMNS}, inputs, frame FROM execution e WHERE execution_id = $1 AND tenant_id = $2",
        execution_id,
        caller.tenant,
    )
    if row is None:
        raise ExecutionNotFound(question.execution_id)
    require(caller.principal, "execution.view", Resource("execution", question.execution_id, row["tenant_id"]))
    asked = await tx.fetch("SELECT path, visit, asked FROM step_run WHERE execution_id = $1", execution_id)
    attempts = await tx.fetch(
        f"SELECT {_ATTEMPT} FROM action_log WHERE execution_id = $1 ORDER BY ready_at, attempt", execution_id
    )
    steps = _steps(orjson.loads(row["frame"]), [_plain(item) for item in attempts], asked)
    return {
        **_summary(row),
        "inputs": orjson.loads(row["inputs"]),
        "current_step": steps[-1]["step"] if steps else None,
        "steps": steps,
        "approvals": [_plain(item) for item in await approvals.of_execution(tx, execution_id)],
        "locks": await locks.of_execution(tx, execution_id),
        "waits_for": await guards.waits_for(tx, caller.tenant, execution_id),
    }


async def list_executions(tx: Tx, caller: Caller, question: ListExecutions) -> Answer:
    """A page of the tenant's executions, newest first; `next` is the `after` of the page behind it."""
    require(caller.principal, "execution.view", Resource("execution", "*", caller.tenant))
    rows = await tx.fetch(
        f"SELECT {_COLUMNS} FROM execution e WHERE tenant_id = $1"
        " AND ($2::text IS NULL OR incident_id = $2) AND ($3::text IS NULL OR state = $3)"
        " AND ($4::uuid IS NULL OR (created_at, execution_id) <"
        "   (SELECT created_at, execution_id FROM execution WHERE execution_id = $4 AND tenant_id = $1))"
        " ORDER BY created_at DESC, execution_id DESC LIMIT $5",
        caller.tenant,
        question.incident_id,
        question.state,
        uuid.UUID(question.after) if question.after else None,
        question.limit,
    )
    items = [_summary(row) for row in rows]
    return {"items": items, "next": items[-1]["execution_id"] if len(items) == question.limit else None}


def _steps(
    frame: dict[str, Any], attempts: list[dict[str, Any]], asked: Sequence[asyncpg.Record]
) -> list[dict[str, Any]]:
    """Step runs in the order in which they were reached. A claim does not write the frame: a running attempt shows.

    `asked` is what a person is asked: exactly what would run, by hash, or what to do and which fields to fill in.
    """
    questions = {(row["path"], row["visit"]): orjson.loads(row["asked"]) for row in asked if row["asked"]}
    steps = []
    for run in frame["step_runs"]:
        own = [item for item in attempts if (item["path"], item["visit"]) == (run["path"], run["visit"])]
        running = run["state"] == "ready" and any(item["state"] == "running" for item in own)
        steps.append(
            {
                "step": run["path"],
                "visit": run["visit"],
                "state": "running" if running else run["state"],
                "waiting_for": run["waiting_for"],
                "asked": questions.get((run["path"], run["visit"])),
                "outputs": run["outputs"],
                "error_code": run["error_code"],
                "message": run["message"],
                "attempts": own,
            }
        )
    return steps


def _summary(row: asyncpg.Record) -> dict[str, Any]:
    return {key: value for key, value in _plain(row).items() if key not in {"inputs", "frame"}}


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    plain = dict(row)
    for key, value in plain.items():
        if isinstance(value, uuid.UUID):
            plain[key] = str(value)
        elif hasattr(value, "isoformat"):
            plain[key] = value.isoformat()
        elif key in {"evidence", "late"} and value is not None:
            plain[key] = orjson.loads(value)
    return plain
