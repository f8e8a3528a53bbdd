"""What people command while an execution goes on: hold it, let it go on, choose, take back, signal, end it by force."""

from dataclasses import dataclass
from typing import Any, Final

from msgspec.structs import replace

from libs.common.contracts.execution import ExecutionSignalled, ExecutionTerminated
from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.database import Tx, Uuid
from libs.common.rpc import Answer, Caller
from libs.runbook.facts import (
    AbortRequested,
    Fact,
    PauseRequested,
    PersonChose,
    ResumeRequested,
    RollbackRequested,
    SignalReceived,
    StepHeld,
    StepUnknown,
)
from libs.runbook.frame import CHOICE, EVENT, PAUSED
from libs.runbook.people import may_skip
from libs.runbook.steps import ALERT_RESOLVED, WaitStep
from services.executor import stopping
from services.executor.commands import (
    ChooseForStep,
    PauseExecution,
    ResumeExecution,
    RollBackExecution,
    SignalExecution,
    SkipStep,
    TerminateExecution,
)
from services.executor.desk import Desk, because, standing, step_of, under_way
from services.executor.errors import (
    AlreadyPaused,
    AlreadyRollingBack,
    ExecutionEnded,
    NotPaused,
    SignalUnheard,
    StepNotAsking,
    StepNotSkippable,
)
from services.executor.fold import cause_of
from services.executor.model import Execution
from services.executor.storage import to_hint

_HOLD: Final = """
UPDATE action_log SET held_reason = 'paused' WHERE execution_id = $1 AND state = 'ready' RETURNING path, visit
"""
_LET_PROBES_GO: Final = """
UPDATE action_log SET held_reason = NULL, hinted_at = clock_timestamp()
WHERE execution_id = $1 AND state = 'ready' AND held_reason = 'paused' AND right(path, 1) = '?'
RETURNING action_id, stream, traceparent
"""
_NEXT_VERSION: Final = "UPDATE execution SET version = version + 1 WHERE execution_id = $1 RETURNING version"


@dataclass(frozen=True, slots=True)
class Steering:
    """The use cases; each runs inside the transaction that stores its answer."""

    desk: Desk

    async def pause(self, tx: Tx, caller: Caller, command: PauseExecution) -> Answer:
        """Nothing more begins once this is answered. What runs is let finish (`running`), and times go on.

        Claims that are committing are waited for: they run, and are in `running`.
        """
        execution = await self._living(tx, caller, command.execution_id, "pause", PAUSED)
        if execution.frame.paused:
            raise AlreadyPaused(command.execution_id)
        held = await tx.fetch(_HOLD, Uuid(execution.execution_id))
        running = await stopping.under_way(tx, execution.execution_id)
        facts: list[Fact] = [PauseRequested(caller.principal.actor, command.rationale)]
        facts += [StepHeld(row["path"], row["visit"], "paused") for row in held]
        return {**await self.desk.fold(tx, caller, execution, facts), "running": running}

    async def resume(self, tx: Tx, caller: Caller, command: ResumeExecution) -> Answer:
        """What was held back begins."""
        execution = await self._living(tx, caller, command.execution_id, "resume", "running")
        if not execution.frame.paused:
            raise NotPaused(command.execution_id, execution.frame.state)
        probes = await tx.fetch(_LET_PROBES_GO, Uuid(execution.execution_id))  # no step waits for these
        self.desk.hints.later([to_hint(row) for row in probes])
        return await self.desk.fold(tx, caller, execution, [ResumeRequested(caller.principal.actor, command.rationale)])

    async def skip(self, tx: Tx, caller: Caller, command: SkipStep) -> Answer:
        """Leave out a step that waits or has not begun; not one under way, nor a question to a person of authority."""
        execution, found = await self._step(tx, caller, command.execution_id, command.step, "skip", "skipped")
        run = found.run
        running = {(fact.path, fact.visit) for fact in await under_way(tx, execution)}
        begun = run is not None and (run.path, run.visit) in running
        asks = run is not None and run.waits_for(CHOICE)
        if run is None or begun or not (asks or may_skip(execution.spec, run)):
            raise StepNotSkippable(command.step, "running" if begun else found.state, found.waiting_for)
        chosen = PersonChose(run.path, run.visit, "skip", caller.principal.actor, command.rationale)
        return await self.desk.fold(tx, caller, execution, [chosen])

    async def choose(self, tx: Tx, caller: Caller, command: ChooseForStep) -> Answer:
        """Say how it goes on with a step that failed and asks."""
        execution, found = await self._step(tx, caller, command.execution_id, command.step, "choose", command.choice)
        run = found.run
        if run is None or not run.waits_for(CHOICE):
            raise StepNotAsking(command.step, found.state, found.waiting_for, command.choice)
        chosen = PersonChose(run.path, run.visit, command.choice, caller.principal.actor, command.rationale)
        return await self.desk.fold(tx, caller, execution, [chosen])

    async def signal(self, tx: Tx, caller: Caller, command: SignalExecution) -> Answer:
        """Tell the steps that wait for it that an event has come; `heard` by whom."""
        execution = await self.desk.living(tx, caller, command.execution_id, "execution.signal", "signal", command.name)
        heard = _waiting_for(execution, command.name)
        if not heard:
            raise SignalUnheard(command.execution_id, execution.frame.state, command.name)
        told = ExecutionSignalled(**_about(execution), name=command.name, steps=heard, rationale=command.rationale)
        execution = await self._tell(tx, caller, execution, told)
        fact = SignalReceived(command.name, dict(command.data), caller.principal.actor)
        return {**await self.desk.fold(tx, caller, execution, [fact]), "heard": heard}

    async def roll_back(self, tx: Tx, caller: Caller, command: RollBackExecution) -> Answer:
        """Take back what was changed, the last change first; the execution has failed then."""
        execution = await self.desk.living(tx, caller, command.execution_id, "execution.rollback", "rollback", "failed")
        if execution.frame.undoing is not None:
            raise AlreadyRollingBack(command.execution_id, execution.frame.state)
        facts: list[Fact] = [
            *await under_way(tx, execution),
            RollbackRequested(caller.principal.actor, command.rationale),
        ]
        return {**await self.desk.fold(tx, caller, execution, facts), "changes": execution.frame.kept}

    async def terminate(self, tx: Tx, caller: Caller, command: TerminateExecution) -> Answer:
        """End it whatever state it is in; what runs is unknown from now on, and its locks are free.

        An execution that has ended and left something under way is freed of it, and keeps its state.
        """
        execution = await self.desk.locked(tx, caller, command.execution_id, "execution.terminate")
        running = await stopping.under_way(tx, execution.execution_id)
        freed, hints = await stopping.free(tx, execution.execution_id)
        if execution.frame.terminal and not (running or freed):
            raise ExecutionEnded(command.execution_id, execution.frame.state, "terminate", "aborted")
        await stopping.disown(tx, execution.execution_id)
        facts: list[Fact] = []
        if not execution.frame.terminal:
            facts += [StepUnknown(each["step"], each["visit"], stopping.TERMINATED) for each in running]
            facts.append(AbortRequested(caller.principal.actor, command.rationale))
        await self.desk.fold(tx, caller, execution, facts)  # also of one that has ended: it lets go of its place
        unstopped = stopping.told(running)
        told = ExecutionTerminated(**_about(execution), rationale=command.rationale, unstopped=unstopped, freed=freed)
        await self._tell(tx, caller, execution, told)
        self.desk.hints.later(hints)
        answer = await standing(tx, execution.execution_id)
        return {**answer, "unstopped": running, "freed": freed}

    async def _tell(self, tx: Tx, caller: Caller, execution: Execution, fact: PublishedFact) -> Execution:
        """Publish what a person did, as the execution's next fact; the execution, one version on."""
        version = await tx.fetchval(_NEXT_VERSION, Uuid(execution.execution_id))
        event = self.desk.outbox.event(
            fact,
            aggregate_id=execution.execution_id,
            aggregate_version=version,
            cause=cause_of(execution, because(caller)),
            now=self.desk.clock(),
        )
        await self.desk.outbox.add(tx, [event])
        return replace(execution, version=version)

    async def _living(self, tx: Tx, caller: Caller, execution_id: str, trigger: str, target: str) -> Execution:
        return await self.desk.living(tx, caller, execution_id, f"execution.{trigger}", trigger, target)

    async def _step(
        self, tx: Tx, caller: Caller, execution_id: str, step: str, trigger: str, target: str
    ) -> tuple[Execution, Any]:
        """The execution and how its step stands; what has ended has no step that could be left out or chosen for."""
        execution = await self.desk.locked(tx, caller, execution_id, f"step.{trigger}")
        found = await step_of(tx, execution, step)
        if execution.frame.terminal:
            raise ExecutionEnded(execution_id, execution.frame.state, trigger, target)
        return execution, found


def _about(execution: Execution) -> dict[str, Any]:
    return {
        "execution_id": execution.execution_id,
        "incident_id": execution.incident_id,
        "runbook_id": execution.runbook_id,
        "dry_run": execution.dry_run or None,
    }


def _waiting_for(execution: Execution, name: str) -> list[str]:
    """The steps that wait for an event; the alert's end is not for people to say."""
    if name == ALERT_RESOLVED:
        return []
    runs = [(run, execution.spec.step(run.path)) for run in execution.frame.live if run.waits_for(EVENT)]
    return [run.path for run, step in runs if isinstance(step, WaitStep) and step.event == name]
