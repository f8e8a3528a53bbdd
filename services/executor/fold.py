"""Facts into an execution: lock its row, fold, and write frame, actions, timers, locks and outbox in one transaction.

Whoever learns a fact (a worker with a result, a timer, an alert, a person) comes through here. Executions are locked
first and in the order of their ids, then whatever hangs on them; so two that meet cannot wait for each other.
"""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

import orjson

from libs.common.clock import rfc3339
from libs.common.contracts.envelope import Ref
from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.database import Tx
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox, OutboxEvent
from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import (
    AskPerson,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import Fact, StepFailed
from libs.runbook.frame import StepRun
from libs.runbook.known import Known
from libs.runbook.rendering import RenderedAction, RenderRefused, render_action, scope_of
from services.executor import storage
from services.executor.evaluator import evaluator_for
from services.executor.facts import to_fact
from services.executor.guards import endings
from services.executor.model import ACTOR, Attempt, Execution, Hint, idem_key
from services.executor.storage import Writes

STREAM: Final = "rr:steps:default"


@dataclass(frozen=True, slots=True)
class Because:
    """What makes facts happen: who acts, in whose trace, and the fact before it."""

    actor: str = ACTOR
    causation: str = ""
    traceparent: str = ""


@dataclass(slots=True)
class Change:
    """Facts for one execution that the caller has locked, with the attempt that they come from, if any."""

    execution: Execution
    facts: Sequence[Fact]
    because: Because = field(default_factory=Because)
    attempt: Attempt | None = None
    refs: tuple[Ref, ...] = ()


async def fold(tx: Tx, outbox: Outbox, changes: Iterable[Change], *, now: datetime) -> list[Hint]:
    """Fold and write; returns the actions that are ready, to be hinted after the commit."""
    writes = Writes()
    for change in changes:
        _Folding(change, writes, outbox, now).run()
    hints = await storage.write(tx, writes)
    await outbox.add(tx, writes.events)
    await endings.note(tx, outbox, writes.ended, now=now)
    return hints


class _Folding:
    """One execution's turn. Effects are carried out in their order, so facts are published in theirs."""

    def __init__(self, change: Change, writes: Writes, outbox: Outbox, now: datetime) -> None:
        self._change = change
        self._execution = change.execution
        self._writes = writes
        self._outbox = outbox
        self._now = now
        self._todo: deque[Fact] = deque(change.facts)
        self._asked: dict[str, dict[str, Any]] = {}
        self._unasked: set[str] = set()
        evaluate = evaluator_for(self._execution.spec)
        self._known = Known(self._execution.inputs, self._execution.facts, evaluate)

    def run(self) -> None:
        """Fold every fact, and those that carrying out an effect brings (a step that cannot be rendered has failed)."""
        before = {(run.path, run.visit): run for run in self._execution.frame.step_runs}
        if self._execution.frame.terminal:
            self._writes.ended.append(self._execution)  # what still ran may have ended now, and lets go of its lock
        while self._todo:
            facts = [self._todo.popleft()]
            frame, effects = advance(self._execution.spec, self._execution.frame, facts, self._known)
            self._execution = self._execution.with_frame(frame, facts=0)
            for effect in effects:
                self._carry_out(effect)
        self._writes.executions.append((self._change.execution, self._execution))
        for run in self._execution.frame.step_runs:
            if before.get((run.path, run.visit)) != run:
                self._writes.step_runs.append((self._execution, run))

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case PublishFact():
                self._publish(effect)
            case RunAction():
                self._ready(effect)
            case RequestApproval():
                self._ask_approval(effect)
            case AskPerson():
                asked = {"instructions": effect.instructions, "form": effect.form}
                self._writes.asked.append((self._execution.step_run_id(effect.path, effect.visit), asked))
            case CancelAction():
                self._writes.withdrawn.append((self._execution, effect.path, effect.visit, effect.attempt))
            case SetTimer():
                self._writes.timers.append(
                    (effect.kind, self._execution.execution_id, effect.ref, effect.after_seconds)
                )
            case CancelTimer():
                self._writes.timers_gone.append((effect.kind, self._execution.execution_id, effect.ref))
            case Finish():
                self._writes.ended.append(self._execution)

    def _publish(self, effect: PublishFact) -> None:
        if self._asks_nothing(effect):
            return
        attempt = self._change.attempt
        if attempt is not None and effect.data.get("path") != attempt.path:
            attempt = None
        told = PublishFact(effect.type, {**effect.data, **self._asked.get(str(effect.data.get("path")), {})})
        fact = to_fact(self._execution, told, attempt, rfc3339(self._now))
        self._execution = self._execution.with_frame(self._execution.frame, facts=1)
        self._writes.events.append(self._event(fact, self._change.refs if effect.type == "step_completed" else ()))
        if effect.type == "step_unknown":
            self._writes.suspects.append(self._execution.execution_id)

    def _asks_nothing(self, effect: PublishFact) -> bool:
        """Whether it tells of a block on an approval that could not be asked for: the step has failed instead."""
        path = str(effect.data.get("path"))
        return effect.data.get("reason") == "approval" and path in self._unasked

    def _event(self, fact: PublishedFact, refs: tuple[Ref, ...]) -> OutboxEvent:
        because = self._change.because
        return self._outbox.event(
            fact,
            aggregate_id=self._execution.execution_id,
            aggregate_version=self._execution.version,
            cause=cause_of(self._execution, because),
            now=self._now,
            refs=refs,
        )

    def _ask_approval(self, effect: RequestApproval) -> None:
        """What exactly a person is asked about: the plan, or the action as it would be carried out now, by hash."""
        execution = self._execution
        asked: dict[str, Any] = {
            "step_run_id": execution.step_run_id(effect.path, effect.visit),
            "plan_hash": execution.plan_hash,
            "approval_of": effect.of,
            "risk": effect.risk,
            "requester": execution.initiator,
            "expires_seconds": effect.expires_seconds,
            "prompt": effect.prompt,
            "approvers": list(effect.approvers) or None,
        }
        if effect.of == "action":
            rendered = self._rendered(effect.path, effect.visit)
            if rendered is None:
                self._unasked.add(effect.path)
                return
            asked |= {
                "action_hash": rendered.action_hash,
                "action": rendered.action,
                "resource_id": rendered.resource,
                "arguments": orjson.loads(rendered.rendered)["with"],
            }
        self._asked[effect.path] = asked
        self._writes.asked.append((asked["step_run_id"], asked))

    def _rendered(self, path: str, visit: int) -> RenderedAction | None:
        """The step's action; one that cannot be rendered has failed, and that is folded next."""
        execution = self._execution
        scope = scope_of(execution.inputs, execution.facts, execution.frame)
        try:
            return render_action(execution.spec, path, scope, evaluate=self._known.evaluate)
        except RenderRefused as error:
            self._todo.append(StepFailed(path, visit, "render_refused", str(error)))
            return None

    def _ready(self, effect: RunAction) -> None:
        execution = self._execution
        rendered = self._rendered(effect.path, effect.visit)
        if rendered is None:
            return
        step_run_id = execution.step_run_id(effect.path, effect.visit)
        self._writes.actions.append(
            (
                Attempt(
                    action_id=new_id(),
                    tenant_id=execution.tenant_id,
                    step_run_id=step_run_id,
                    execution_id=execution.execution_id,
                    incident_id=execution.incident_id,
                    path=effect.path,
                    visit=effect.visit,
                    attempt=effect.attempt,
                    idem_key=idem_key(step_run_id),
                    action=rendered.action,
                    effect=rendered.effect,
                    action_hash=rendered.action_hash,
                    rendered=rendered.rendered,
                    resource_id=rendered.resource,
                    tags_url=rendered.tags_url,
                    timeout_seconds=rendered.timeout_seconds,
                    requires_firing=execution.facts.alert is not None
                    and needs_firing(execution.spec, execution.frame, effect.path),
                    traceparent=self._change.because.traceparent or execution.traceparent,
                    needs_approval=effect.needs_approval,
                ),
                stream_of(execution),
            )
        )


def stream_of(execution: Execution) -> str:
    """The hint stream: problems that are critical go ahead of all others."""
    alert = execution.facts.alert
    return f"{STREAM}:{'high' if alert is not None and alert.severity == 'critical' else 'normal'}"


def cause_of(execution: Execution, because: Because) -> Cause:
    """The cause of an execution's facts."""
    return Cause(
        tenant=execution.tenant_id,
        actor=because.actor,
        correlation=execution.correlation,
        causation=because.causation,
        incident_id=execution.incident_id,
        execution_id=execution.execution_id,
        runbook_id=execution.runbook_id,
        traceparent=because.traceparent or execution.traceparent,
    )


def changes_of(
    executions: Mapping[str, Execution], facts: Mapping[str, Sequence[Fact]], because: Because
) -> list[Change]:
    """The same cause for several executions; those that no longer exist are left out."""
    return [Change(executions[key], list(items), because) for key, items in facts.items() if key in executions]


def is_blocked(run: StepRun) -> bool:
    """Whether a step run waits for something other than its worker, or a time."""
    return run.held or run.state == "unknown" or run.waits_for("approval") or run.waits_for("person")


def merged(changes: Sequence[Change]) -> list[Change]:
    """One change an execution: facts of the same execution are folded one after the other, not side by side."""
    found: dict[str, Change] = {}
    for change in changes:
        first = found.setdefault(change.execution.execution_id, Change(change.execution, [], change.because))
        first.facts = [*first.facts, *change.facts]
        first.attempt = change.attempt or first.attempt
        first.refs = (*first.refs, *change.refs)
    return list(found.values())
