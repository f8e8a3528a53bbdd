"""What an execution leaves under way when it ends: what is told to stop, and what became of it.

An abort does not wait for what runs. Its worker is told, ends the action (of a command the whole process group) and
settles how far it came; that is told as `runbook.step_outlived`. Force leaves nothing to be waited for: attempts are
unknown from then on, a new fence keeps what their workers still say out, and the locks are free.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import asyncpg

from libs.common.contracts.execution import StepOutlived
from libs.common.database import Tx, Uuid
from libs.runbook.facts import Fact, StepFailed, StepLost, StepSucceeded, StepUnknown
from libs.runbook.paths import probed
from services.executor.model import Attempt, Execution, Hint
from services.executor.storage import to_hint

TERMINATED: Final = "terminated"
_CANCEL: Final = "SELECT pg_notify('executor_cancel', '')"
_LOCK: Final = """
SELECT 1 FROM action_log WHERE execution_id = $1 AND state IN ('ready', 'running') ORDER BY action_id FOR NO KEY UPDATE
"""
_RUNNING: Final = """
SELECT path, visit, attempt, action_id, action, effect, resource_id, worker_id, started_at FROM action_log
WHERE execution_id = $1 AND state = 'running' ORDER BY action_id
"""
_DISOWN: Final = """
UPDATE action_log SET state = 'unknown', fence = nextval('fence'), cancel_requested = true, error_code = $2,
  message = 'ended by force while it was under way: nobody knows whether it took effect'
WHERE execution_id = $1 AND state = 'running'
"""
_FREE: Final = """
WITH freed AS (DELETE FROM resource_lock WHERE execution_id = $1 RETURNING tenant_id, resource_id)
SELECT f.resource_id, a.action_id, a.stream, a.traceparent FROM freed f
LEFT JOIN action_log a ON a.state = 'ready' AND (a.tenant_id, a.resource_id) = (f.tenant_id, f.resource_id)
ORDER BY f.resource_id, a.action_id LIMIT 1000
"""


async def under_way(tx: Tx, execution_id: str) -> list[dict[str, Any]]:
    """The attempts of an execution that run now, as people read them; claims that are committing are waited for."""
    await tx.execute(_LOCK, Uuid(execution_id))
    return [_attempt(row) for row in await tx.fetch(_RUNNING, Uuid(execution_id))]


async def disown(tx: Tx, execution_id: str) -> None:
    """Declare what runs unknown, under a new fence: what its workers still say is kept as evidence and changes nothing.

    They are told to stop.
    """
    await tx.execute(_DISOWN, Uuid(execution_id), TERMINATED)
    await tx.execute(_CANCEL)


async def free(tx: Tx, execution_id: str) -> tuple[list[str], list[Hint]]:
    """Take every lock away from an execution; their resources, and the actions that wait for them."""
    rows = await tx.fetch(_FREE, Uuid(execution_id))
    return sorted({row["resource_id"] for row in rows}), [to_hint(row) for row in rows if row["action_id"] is not None]


def outlived(execution: Execution, facts: Iterable[Fact], attempts: Mapping[str, Attempt]) -> list[StepOutlived]:
    """What is told of attempts that come to their end after their execution; reads leave nothing behind."""
    found = []
    for fact in facts:
        if not isinstance(fact, StepSucceeded | StepFailed | StepUnknown | StepLost):
            continue
        attempt = attempts.get(fact.path)
        if probed(fact.path) or not execution.spec.step(fact.path).mutating:
            continue
        outcome, code, message = _outcome(fact)
        found.append(
            StepOutlived(
                execution_id=execution.execution_id,
                incident_id=execution.incident_id,
                runbook_id=execution.runbook_id,
                dry_run=execution.dry_run or None,
                step_run_id=execution.step_run_id(fact.path, fact.visit),
                step=fact.path,
                visit=fact.visit,
                attempt=attempt.attempt if attempt else 0,
                outcome=outcome,
                error_code=code,
                message=message,
            )
        )
    return found


def _outcome(
    fact: StepSucceeded | StepFailed | StepUnknown | StepLost,
) -> tuple[Literal["stopped", "took_effect", "unknown"], str, str]:
    match fact:
        case StepSucceeded():
            return "took_effect", "", "it was done before it could be stopped"
        case StepFailed(error_code=code, message=message):
            return "stopped", code, message[:2000]
        case StepUnknown(reason=reason):
            return "unknown", reason, "nobody knows how far it came: look at the target"
        case StepLost():
            return "unknown", "lease_lost", "its worker is gone: look at the target"


def told(running: Sequence[dict[str, Any]]) -> list[str]:
    """The paths of steps under way, once each; a probe is one of the step that it is about."""
    return sorted({probed(path) or path for path in (str(attempt["step"]) for attempt in running)})


def _attempt(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "step": row["path"],
        "visit": row["visit"],
        "attempt": row["attempt"],
        "action_id": str(row["action_id"]),
        "action": row["action"],
        "effect": row["effect"],
        "resource_id": row["resource_id"],
        "worker_id": row["worker_id"],
        "started_at": row["started_at"].isoformat() if row["started_at"] else None,
    }
