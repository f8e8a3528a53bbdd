"""What every command of a person does: take the execution under its lock, ask policy, fold, and say how it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from libs.common.clock import Clock
from libs.common.database import Tx, Uuid
from libs.common.outbox import Outbox
from libs.common.policy import decide, require
from libs.common.rpc import Caller
from libs.runbook.facts import Fact, StepStarted
from libs.runbook.frame import StepRun
from libs.runbook.paths import name_of
from libs.runbook.spec import TELLING, UNDOING
from services.executor import about, storage
from services.executor.errors import NOT_REACHED, ExecutionEnded, ExecutionNotFound, StepNotFound
from services.executor.fold import Because, Change, fold
from services.executor.hints import Hints
from services.executor.model import Attempt, Execution

_LOCK_READY = (
    "SELECT 1 FROM action_log WHERE execution_id = $1 AND state = 'ready' ORDER BY action_id FOR NO KEY UPDATE"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How a step stands, as a refusal names it: its latest visit, if that is known, and what it waits for."""

    state: str
    waiting_for: str = ""
    run: StepRun | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Where commands arrive."""

    outbox: Outbox
    hints: Hints
    clock: Clock

    async def locked(self, tx: Tx, caller: Caller, execution_id: str, action: str) -> Execution:
        """The execution, under its row's lock.

        Raises:
            ExecutionNotFound: missing, or not the caller's to see.
            Denied: policy does not allow `action` to the caller.
        """
        execution = (await storage.lock(tx, [execution_id])).get(execution_id)
        if execution is None or execution.tenant_id != caller.tenant:
            raise ExecutionNotFound(execution_id)
        resource = about.execution(execution)
        if not (await decide(caller.principal, "execution.view", resource)).allow:
            raise ExecutionNotFound(execution_id)
        await require(caller.principal, action, resource)
        return execution

    async def living(
        self, tx: Tx, caller: Caller, execution_id: str, action: str, trigger: str, target: str
    ) -> Execution:
        """As `locked`, of an execution that has not ended.

        Raises:
            ExecutionEnded: it has; `trigger` would have led to `target`.
        """
        execution = await self.locked(tx, caller, execution_id, action)
        if execution.frame.terminal:
            raise ExecutionEnded(execution_id, execution.frame.state, trigger, target)
        return execution

    async def fold(
        self, tx: Tx, caller: Caller, execution: Execution, facts: Sequence[Fact], attempt: Attempt | None = None
    ) -> dict[str, Any]:
        """Fold facts in the caller's name; how the execution stands then. Hints go after the commit."""
        change = Change(execution, facts, because(caller), {attempt.path: attempt} if attempt else {})
        self.hints.later(await fold(tx, self.outbox, [change], now=self.clock()))
        return await standing(tx, execution.execution_id)


def because(caller: Caller) -> Because:
    """A person's word."""
    return Because(caller.principal.actor, traceparent=caller.traceparent)


async def standing(tx: Tx, execution_id: str) -> dict[str, Any]:
    """How an execution stands, in brief."""
    row = await tx.fetchrow(
        "SELECT state, phase, blocked_reason, reason, paused FROM execution WHERE execution_id = $1",
        Uuid(execution_id),
    )
    assert row is not None
    return {"execution_id": execution_id, **dict(row)}


async def under_way(tx: Tx, execution: Execution) -> list[StepStarted]:
    """`StepStarted` of whatever runs: a claim does not write the frame. Claims that are committing are waited for."""
    await tx.execute(_LOCK_READY, Uuid(execution.execution_id))
    rows = await tx.fetch(
        "SELECT path, visit FROM action_log WHERE execution_id = $1 AND state = 'running' ORDER BY action_id",
        Uuid(execution.execution_id),
    )
    return [StepStarted(row["path"], row["visit"]) for row in rows]


async def step_of(tx: Tx, execution: Execution, step: str) -> Standing:
    """How a step stands, by its path; the id alone will do where only one of its paths is known.

    Raises:
        StepNotFound: the runbook has no such step.
    """
    if not step.startswith((UNDOING, TELLING)) and name_of(step) not in execution.spec.graph.places:
        raise StepNotFound(execution.execution_id, step)
    known = [run for frame in execution.frame.frames for run in frame.step_runs]
    exact = [run for run in known if run.path == step]
    alike = exact or [run for run in known if name_of(run.path) == step]
    if alike and len({run.path for run in alike}) == 1:
        found = alike[-1]
        return Standing(found.state, found.waiting_for, found)
    row = await tx.fetchrow(
        "SELECT state FROM step_run WHERE execution_id = $1 AND path = $2 ORDER BY visit DESC LIMIT 1",
        Uuid(execution.execution_id),
        step,
    )
    return Standing(row["state"] if row is not None else NOT_REACHED)
