"""Steps as people read them: where an execution stands, and page by page what is inside its branches and loops."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

import asyncpg
import orjson

from libs.common.database import Tx, Uuid
from libs.common.policy import decide
from libs.common.rpc import Answer, Caller
from libs.runbook.frame import Frame, StepRun
from services.executor import about
from services.executor.commands import ListSteps
from services.executor.errors import ExecutionNotFound
from services.executor.rows import plain

_ATTEMPT: Final = (
    "path, visit, attempt, action_id, action, effect, state, held_reason, worker_id, fence, started_at, finished_at,"
    " error_code, message, evidence, late, resource_id, idem_key, action_hash,"
    " cancel_requested"
)
_PAGE: Final = """
SELECT path, visit, state FROM step_run
WHERE execution_id = $1 AND ($2 = '' OR starts_with(path, $2 || '/')) AND ($3::text IS NULL OR state = $3)
  AND ($4::text IS NULL OR (length(path), path) > (length($4), $4))
ORDER BY length(path), path, visit LIMIT $5
"""


async def where_it_stands(tx: Tx, execution_id: uuid.UUID, root: Frame) -> list[dict[str, Any]]:
    """The steps of the outermost sequence and of what is under way inside it, in the order in which they were reached.

    A claim does not write the frame: a running attempt shows. `asked` is what a person is asked: exactly what would
    run, by hash, or what to do and which fields to fill in. `parts` counts the branches or iterations of a step.
    `carried`: the execution before this one has been through it.
    """
    rows = await tx.fetch("SELECT frame FROM frame WHERE execution_id = $1 ORDER BY length(path), path", execution_id)
    frames = [root, *(Frame.from_json(orjson.loads(row["frame"])) for row in rows)]
    runs = [run for frame in frames for run in frame.step_runs]
    shown = await _described(tx, execution_id, runs)
    return [{**step, "carried": step["step"] in root.carried} for step in shown]


async def list_steps(tx: Tx, caller: Caller, question: ListSteps) -> Answer:
    """A page of all steps of an execution, those that have ended included; `next` is the `after` of the next page."""
    execution_id = Uuid(question.execution_id)
    known = await tx.fetchrow(
        "SELECT execution_id, tenant_id, state, environment, clearance, initiator, version FROM execution"
        " WHERE execution_id = $1 AND tenant_id = $2",
        execution_id,
        caller.tenant,
    )
    if known is None or not (await decide(caller.principal, "execution.view", about.shown(known))).allow:
        raise ExecutionNotFound(question.execution_id)
    rows = await tx.fetch(_PAGE, execution_id, question.within, question.state, question.after, question.limit)
    attempts = await _attempts(tx, execution_id, [row["path"] for row in rows])
    items = [
        {"step": row["path"], "visit": row["visit"], "state": row["state"], "attempts": _own(attempts, row)}
        for row in rows
    ]
    return {"items": items, "next": items[-1]["step"] if len(items) == question.limit else None}


async def _described(tx: Tx, execution_id: uuid.UUID, runs: Sequence[StepRun]) -> list[dict[str, Any]]:
    paths = [run.path for run in runs]
    attempts = await _attempts(tx, execution_id, paths)
    rows = await tx.fetch(
        "SELECT path, visit, asked FROM step_run WHERE execution_id = $1 AND path = ANY($2::text[])"
        " AND asked IS NOT NULL",
        execution_id,
        paths,
    )
    questions = {(row["path"], row["visit"]): orjson.loads(row["asked"]) for row in rows}
    return [_step(run, attempts.get((run.path, run.visit), []), questions) for run in runs]


def _step(run: StepRun, own: Sequence[Mapping[str, Any]], questions: Mapping[tuple[str, int], Any]) -> dict[str, Any]:
    running = run.state == "ready" and any(item["state"] == "running" for item in own)
    shown = {
        "step": run.path,
        "visit": run.visit,
        "state": "running" if running else run.state,
        "waiting_for": run.waiting_for,
        "asked": questions.get((run.path, run.visit)),
        "outputs": run.outputs,
        "error_code": run.error_code,
        "message": run.message,
        "attempts": own,
    }
    if run.fan is None:
        return shown
    counts = ("total", "begun", "succeeded", "failed", "stopped", "failures")
    return {**shown, "parts": {name: getattr(run.fan, name) for name in counts}}


async def _attempts(tx: Tx, execution_id: uuid.UUID, paths: Sequence[str]) -> dict[tuple[str, int], list[Any]]:
    rows: Sequence[asyncpg.Record] = await tx.fetch(
        f"SELECT {_ATTEMPT} FROM action_log WHERE execution_id = $1 AND path = ANY($2::text[])"
        " ORDER BY ready_at, attempt",
        execution_id,
        paths,
    )
    found: dict[tuple[str, int], list[Any]] = {}
    for row in rows:
        found.setdefault((row["path"], row["visit"]), []).append(plain(row))
    return found


def _own(attempts: Mapping[tuple[str, int], list[Any]], row: asyncpg.Record) -> list[Any]:
    return attempts.get((row["path"], row["visit"]), [])
