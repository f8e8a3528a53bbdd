"""What people command: decide an unknown step, abort, break a lock, set the kill switch. Each names who and why."""

from collections.abc import Mapping
from typing import Final

from libs.common.clock import Clock
from libs.common.database import Tx, Uuid
from libs.common.errors import InvalidInput
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Context, Resource, require
from libs.common.rpc import Answer, Caller
from libs.runbook import forms
from libs.runbook.facts import AbortRequested, FailRequested, StepCompletedByPerson, StepDecided
from libs.runbook.frame import StepRun
from libs.runbook.steps import ManualStep
from services.executor import about, answers, approvals, kill_switch, locks, stopping, storage
from services.executor.approvals import Approvals
from services.executor.commands import (
    AbortExecution,
    BreakLock,
    CompleteStep,
    DecideStep,
    FailExecution,
    GetKillSwitch,
    RevokeApproval,
    SetKillSwitch,
)
from services.executor.desk import Desk, step_of
from services.executor.errors import (
    EvidenceMissing,
    ExecutionEnded,
    GrantRefused,
    StepNotManual,
    StepNotUnknown,
)
from services.executor.hints import Hints
from services.executor.lifecycle import after
from services.executor.model import GLOBAL_SCOPE, Attempt, Execution

_DECIDED: Final[Mapping[str, str]] = {"succeeded": after("unknown", "succeed"), "failed": after("unknown", "fail")}


class Commands:
    """The use cases; each runs inside the transaction that stores its answer."""

    def __init__(self, outbox: Outbox, hints: Hints, held: Approvals, *, clock: Clock) -> None:
        self._approvals = held
        self._desk = Desk(outbox, hints, clock)
        self._outbox = outbox
        self._hints = hints
        self._clock = clock

    async def decide_step(self, tx: Tx, caller: Caller, command: DecideStep) -> Answer:
        """Say what became of an unknown step; the execution goes on, fails, or is aborted."""
        execution = await self._desk.locked(tx, caller, command.execution_id, "step.decide")
        found = await step_of(tx, execution, command.step)
        run = found.run
        if run is None or run.state != "unknown":
            raise StepNotUnknown(command.step, found.state, found.waiting_for, command.decision)
        if execution.frame.terminal:
            raise ExecutionEnded(command.execution_id, execution.frame.state, "decide", command.decision)
        actor = caller.principal.actor
        fact = StepDecided(run.path, run.visit, command.decision, actor, command.rationale)
        attempt = await storage.last_attempt(tx, execution.step_run_id(run.path, run.visit), "unknown")
        if attempt is not None and command.decision in _DECIDED:
            await _settle_by_person(tx, attempt, _DECIDED[command.decision], actor)
        return await self._desk.fold(tx, caller, execution, [fact], attempt)

    async def abort(self, tx: Tx, caller: Caller, command: AbortExecution) -> Answer:
        """End an execution. What runs is told to stop (`stopping`); its own record says how far it came."""
        execution = await self._desk.living(tx, caller, command.execution_id, "execution.abort", "abort", "aborted")
        running = await stopping.under_way(tx, execution.execution_id)
        done = await self._desk.fold(tx, caller, execution, [AbortRequested(caller.principal.actor, command.rationale)])
        return {**done, "stopping": running}

    async def fail(self, tx: Tx, caller: Caller, command: FailExecution) -> Answer:
        """End an execution as failed, by a person's word."""
        execution = await self._desk.living(tx, caller, command.execution_id, "execution.abort", "fail", "failed")
        running = await stopping.under_way(tx, execution.execution_id)
        done = await self._desk.fold(tx, caller, execution, [FailRequested(caller.principal.actor, command.rationale)])
        return {**done, "stopping": running}

    async def complete_step(self, tx: Tx, caller: Caller, command: CompleteStep) -> Answer:
        """A person did what a manual step says, or could not; of high risk only under a grant and with evidence."""
        execution = await self._desk.locked(tx, caller, command.execution_id, "execution.view")
        await require(caller.principal, "step.complete", about.by_hand(execution))
        standing = await step_of(tx, execution, command.step)
        run = standing.run
        step = execution.spec.step(run.path) if run is not None else None
        if run is None or not run.waits_for("person") or not isinstance(step, ManualStep):
            raise StepNotManual(command.step, standing.state, standing.waiting_for, command.outcome)
        found = forms.faults(step, command.outcome, command.evidence_ref, command.values)
        if found:
            raise InvalidInput("; ".join(f"{fault.path} {fault.message}" for fault in found), code="form_faults")
        context = Context()
        done = command.outcome == "succeeded"
        if done and execution.spec.needs_approval(run.path):
            context = await self._require_evidence(tx, execution, run, command)
        if done:
            resource = about.by_hand(execution, execution.spec.risk_of(run.path))
            await require(caller.principal, "step.complete", resource, context)
        actor = caller.principal.actor
        fact = StepCompletedByPerson(
            run.path, run.visit, command.outcome, actor, command.evidence_ref, dict(command.values)
        )
        return await self._desk.fold(tx, caller, execution, [fact])

    async def revoke_approval(self, tx: Tx, caller: Caller, command: RevokeApproval) -> Answer:
        """Take a grant back; `revoked` is false when it was used already."""
        await require(caller.principal, "approval.revoke", Resource("approval", command.approval_id, caller.tenant))
        revoked, hints = await self._approvals.revoke(
            tx,
            tenant_id=caller.tenant,
            approval_id=command.approval_id,
            actor=caller.principal.actor,
            rationale=command.rationale,
            traceparent=caller.traceparent,
        )
        self._hints.later(hints)
        return {"revoked": revoked} if revoked else {"revoked": False, "reason": "used"}

    async def break_lock(self, tx: Tx, caller: Caller, command: BreakLock) -> Answer:
        """Free a resource; who waits for it is hinted."""
        await require(caller.principal, "lock.break", Resource("lock", command.resource_id, caller.tenant))
        cause = _cause(caller)
        holder, hints = await locks.break_lock(
            tx,
            self._outbox,
            tenant_id=caller.tenant,
            resource_id=command.resource_id,
            rationale=command.rationale,
            cause=cause,
            now=self._clock(),
        )
        self._hints.later(hints)
        return {"resource_id": command.resource_id, "was_held_by": holder}

    async def set_kill_switch(self, tx: Tx, caller: Caller, command: SetKillSwitch) -> Answer:
        """Hold back mutations, or let them go. When this is answered, none starts any more."""
        action = "kill_switch.set_global" if command.scope == GLOBAL_SCOPE else "kill_switch.set"
        await require(caller.principal, action, Resource("kill_switch", command.scope, caller.tenant))
        scope = GLOBAL_SCOPE if command.scope == GLOBAL_SCOPE else f"tenant:{caller.tenant}"
        changed, hints = await kill_switch.toggle(
            tx,
            self._outbox,
            scope=scope,
            engaged=command.engaged,
            reason=command.reason,
            cause=_cause(caller),
            now=self._clock(),
        )
        self._hints.later(hints)
        return {"changed": changed, "items": await kill_switch.listing(tx, caller.tenant)}

    async def get_kill_switch(self, tx: Tx, caller: Caller, _question: GetKillSwitch) -> Answer:
        """The switches that concern the caller's tenant."""
        await require(caller.principal, "kill_switch.view", Resource("kill_switch", "*", caller.tenant))
        return {"items": await kill_switch.listing(tx, caller.tenant)}

    async def _require_evidence(self, tx: Tx, execution: Execution, run: StepRun, command: CompleteStep) -> Context:
        """The grants named must hold one for this very plan and step, unexpired; it is used up by this.

        Raises:
            EvidenceMissing: no grant is named, or nothing proves the work.
            GrantRefused: none of those named may be used for it, and why.
        """
        if not command.evidence_ref:
            raise EvidenceMissing(command.step, "evidence_ref is missing")
        if not command.approval_ids:
            raise EvidenceMissing(command.step, "no grant for this plan and step is named in approval_ids")
        wanted = answers.wanted_at(execution, run)
        named = await approvals.named(tx, execution.tenant_id, command.approval_ids)
        context = about.evidence(execution.incident_id, wanted, named)
        fault = await approvals.use_by_person(tx, execution.tenant_id, command.approval_ids, wanted)
        if fault is not None:
            raise GrantRefused(command.step, fault, wanted)
        return context


def _cause(caller: Caller) -> Cause:
    return Cause(
        tenant=caller.tenant,
        actor=caller.principal.actor,
        correlation=caller.request_key,
        traceparent=caller.traceparent,
    )


async def _settle_by_person(tx: Tx, attempt: Attempt, state: str, actor: str) -> None:
    await tx.execute(
        "UPDATE action_log SET state = $2, finished_at = clock_timestamp(), message = $3"
        " WHERE action_id = $1 AND state = 'unknown'",
        Uuid(attempt.action_id),
        state,
        f"decided by {actor}",
    )
