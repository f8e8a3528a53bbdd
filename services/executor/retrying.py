"""A new execution goes on where another one failed or was aborted: same version, inputs and incident.

What the old one has been through is carried over and not done again; questions to people are asked again, since an
approval is for one time. What was taken back is done again. Where repeating could do harm, it is refused instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.common.database import Tx, Uuid
from libs.common.errors import InvalidInput
from libs.common.ids import new_id
from libs.common.policy import require
from libs.common.rpc import Answer, Caller
from libs.runbook.expressions import ExpressionError
from libs.runbook.frame import Frame, StepRun
from libs.runbook.problems import PlanRefused
from libs.runbook.spec import TELLING, UNDOING, Runbook
from libs.runbook.steps import ActionStep, ApprovalStep, DecisionStep
from services.executor import about
from services.executor.commands import RetryExecution
from services.executor.desk import Desk, because
from services.executor.errors import NotRetryable
from services.executor.model import Execution
from services.executor.planning import Occasion, Planner
from services.executor.starting import refusal

ADDED: Final = (UNDOING, TELLING)
"""Before the paths of steps that the engine adds when an execution fails: nothing of them is gone on with."""
RETRYABLE: Final = frozenset({"failed", "aborted"})
AGAIN: Final = "Begin the runbook again: `rangerctl runbook execute`."
_ATTEMPTS: Final = (
    "SELECT path, state, effect FROM action_log WHERE execution_id = $1 AND state IN ('running', 'unknown')"
)
_NESTED: Final = "SELECT path FROM step_run WHERE execution_id = $1 AND path LIKE '%/%' AND state = 'succeeded'"
_NEWER: Final = "SELECT execution_id FROM execution WHERE retry_of = $1 ORDER BY created_at DESC LIMIT 1"


@dataclass(frozen=True, slots=True)
class Retrying:
    """The use case; it runs inside the transaction that stores its answer."""

    desk: Desk
    planner: Planner

    async def retry(self, tx: Tx, caller: Caller, command: RetryExecution) -> Answer:
        """Begin the new execution; both are linked, `retry_of` in the new one and `retries` in the old.

        Raises:
            NotRetryable: it has not failed, it was retried, nothing is left to do, or too much is in doubt.
            InvalidInput: it cannot be planned any more.
        """
        old = await self.desk.locked(tx, caller, command.execution_id, "execution.retry")
        await require(caller.principal, "execution.start", about.beginning(old.spec, caller.tenant, old.marking))
        await _check_standing(tx, old)
        await _check_doubts(tx, old, repeat_unknown=command.repeat_unknown)
        carried = carried_from(old.spec, old.frame)
        await _check_nested(tx, old, carried)
        at = _place(old)
        execution_id = new_id()
        occasion = Occasion(
            execution_id=execution_id,
            tenant_id=old.tenant_id,
            runbook_version=old.runbook_version,
            spec_hash=old.spec_hash,
            facts=old.facts,
            initiator=caller.principal.actor,
            correlation=caller.request_key,
            because=because(caller),
            marking=old.marking,
            rights=caller.principal.to_wire(),
            inputs=old.inputs,
            retry_of=old.execution_id,
            retry_from=at,
            rationale=command.rationale,
            carried=carried,
        )
        await self._begin(tx, old.spec, occasion)
        return {
            "execution_id": execution_id,
            "incident_id": old.incident_id,
            "runbook_version": old.runbook_version,
            "retry_of": old.execution_id,
            "retry_from": at,
            "carried": sorted(carried),
        }

    async def _begin(self, tx: Tx, spec: Runbook, occasion: Occasion) -> None:
        try:
            self.desk.hints.later(await self.planner.begin(tx, spec, occasion))
        except (PlanRefused, ExpressionError) as error:
            found: InvalidInput = refusal(error)
            raise found from None


def carried_from(spec: Runbook, frame: Frame) -> dict[str, dict[str, Any]]:
    """What a new execution need not do again, by path: steps that succeeded, were left out, or failed and led on.

    Decisions are made again, of the same answers, and so again the same; questions are asked again. After a rollback
    nothing that was taken back is carried. Of one that never began, all is that would have been carried there.
    """
    if not frame.step_runs:
        return {path: dict(told) for path, told in frame.carried.items()}
    latest = {run.path: run for run in frame.step_runs}
    return {path: _then(run) for path, run in latest.items() if _stands(spec, frame, run)}


def _stands(spec: Runbook, frame: Frame, run: StepRun) -> bool:
    if run.path.startswith(ADDED):
        return False
    step = spec.step(run.path)
    if isinstance(step, ApprovalStep | DecisionStep):
        return False
    if frame.undone and isinstance(step, ActionStep) and step.rollback is not None:
        return False
    if run.state == "failed":
        return not spec.after_failure(run.path)[0] and step.on_failure != "ask"
    return run.state == "succeeded" or (run.state == "skipped" and bool(run.error_code))


def _then(run: StepRun) -> dict[str, Any]:
    told = {"outputs": dict(run.outputs), "error_code": run.error_code, "message": run.message}
    return {"state": run.state, **{name: value for name, value in told.items() if value}}


def _place(old: Execution) -> str:
    """The outermost step where the new execution begins.

    Raises:
        NotRetryable: everything was done.
    """
    runs = [run for run in old.frame.step_runs if "/" not in run.path and not run.path.startswith(ADDED)]
    if not runs:
        return old.retry_from or old.spec.graph.first("")
    last = runs[-1]
    if last.state not in {"succeeded", "skipped"}:
        return last.path
    following = old.spec.successor(last.path)
    if following is None:
        text = f"every step was done, and it {old.frame.state} afterwards ({old.frame.reason})."
        raise NotRetryable(old.execution_id, old.frame.state, text, AGAIN)
    return following


async def _check_standing(tx: Tx, old: Execution) -> None:
    state = old.frame.state
    if state not in RETRYABLE:
        fix = "Only what has failed or was aborted is retried; `rangerctl execution abort` ends it."
        raise NotRetryable(old.execution_id, state, "it has neither failed nor was it aborted.", fix)
    if old.dry_run:
        raise NotRetryable(old.execution_id, state, "it was a dry run, which changed nothing.", AGAIN)
    if not old.plan_hash:
        raise NotRetryable(old.execution_id, state, "it was never planned.", AGAIN)
    newer = await tx.fetchval(_NEWER, Uuid(old.execution_id))
    if newer is not None:
        text = f"it was retried already, by execution {newer}."
        raise NotRetryable(old.execution_id, state, text, f"Retry {newer} instead, if that has failed.", "retried")


async def _check_doubts(tx: Tx, old: Execution, *, repeat_unknown: bool) -> None:
    """Nothing of it may be under way; what nobody knows the effect of is repeated only if somebody says so."""
    state = old.frame.state
    rows = await tx.fetch(_ATTEMPTS, Uuid(old.execution_id))
    running = sorted({row["path"] for row in rows if row["state"] == "running"})
    if running:
        fix = "Wait until it has stopped; `rangerctl execution terminate` does not wait."
        text = f"{', '.join(running)} is still under way."
        raise NotRetryable(old.execution_id, state, text, fix, "retry_under_way")
    doubted = sorted({row["path"] for row in rows if row["effect"] not in {"read", "idempotent"}})
    if doubted and not repeat_unknown:
        text = f"nobody knows whether {', '.join(doubted)} took effect, and it would be done again."
        fix = "Look at the target first; `--repeat-unknown` (`repeat_unknown`) says that it may be done again."
        raise NotRetryable(old.execution_id, state, text, fix, "retry_in_doubt")
    if old.frame.undoing is not None and old.frame.kept:
        text = f"{old.frame.kept} of its changes were not taken back, and {old.frame.undone} were."
        raise NotRetryable(old.execution_id, state, text, AGAIN, "retry_in_doubt")


async def _check_nested(tx: Tx, old: Execution, carried: Mapping[str, Any]) -> None:
    """Inside loops, and branches that an abort cut off, what was done is not carried: changes are not repeated."""
    rows = await tx.fetch(_NESTED, Uuid(old.execution_id))
    again = [row["path"] for row in rows if row["path"] not in carried and not _inside(row["path"], carried)]
    harm = sorted(path for path in again if old.spec.step(path).effect_name != "read")
    if harm:
        text = f"{', '.join(harm[:5])} succeeded inside a step that would begin anew, and would be repeated."
        raise NotRetryable(old.execution_id, old.frame.state, text, AGAIN, "retry_would_repeat")


def _inside(path: str, carried: Mapping[str, Any]) -> bool:
    """Whether a composite step around it is carried, so that nothing in it begins."""
    return any(path.startswith(f"{around}/") for around in carried)
