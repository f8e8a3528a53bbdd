"""One execution's turn: facts go through `advance`; what it asks for is collected, to be written with the others."""

from collections import deque
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson
from msgspec.structs import replace

from libs.common.clock import rfc3339
from libs.common.contracts.envelope import Ref
from libs.common.contracts.execution import Risk
from libs.common.contracts.fact import Fact as PublishedFact
from libs.common.ids import new_id
from libs.common.outbox import Outbox, OutboxEvent
from libs.runbook.advance import advance, needs_firing
from libs.runbook.effects import (
    AskPerson,
    AskProbe,
    CancelAction,
    CancelTimer,
    Effect,
    Finish,
    FrameEnded,
    KeepItems,
    KeepRollback,
    PublishFact,
    RequestApproval,
    RunAction,
    SetTimer,
)
from libs.runbook.facts import Fact, Probed, StepFailed
from libs.runbook.frame import Frame, StepRun
from libs.runbook.known import Known
from libs.runbook.paths import probed
from libs.runbook.rendering import RenderedAction, RenderRefused, render_action, render_probe, render_rollback, scope_of
from libs.runbook.spec import TELLING, UNDOING, Runbook
from services.executor import shown
from services.executor.changes import Change, cause_of, translated
from services.executor.evaluator import evaluator_for
from services.executor.facts import to_fact
from services.executor.lifecycle import after
from services.executor.model import Attempt, Execution, KeptRollback, idem_key
from services.executor.stopping import outlived
from services.executor.storage import Writes

STREAM: Final = "rr:steps:default"
_ENDS_ATTEMPT: Final = frozenset({"step_completed", "step_failed", "step_unknown"})
"""Facts that name the objects which the attempt that they tell of has kept."""


class Folding:
    """One execution's turn. Effects are carried out in their order, so facts are published in theirs."""

    def __init__(
        self,
        change: Change,
        writes: Writes,
        outbox: Outbox,
        now: datetime,
        kept: Mapping[tuple[str, int], KeptRollback],
    ) -> None:
        self._change = change
        self._execution = change.execution
        self._writes = writes
        self._outbox = outbox
        self._now = now
        self._todo: deque[Fact] = deque(fact for told in change.facts if (fact := translated(told)) is not None)
        self._asked: dict[str, dict[str, Any]] = {}
        self._unasked: set[str] = set()
        self._kept = {number: found for (key, number), found in kept.items() if key == change.execution.execution_id}
        self._ended: dict[str, Frame] = {}
        evaluate = evaluator_for(self._execution.spec)
        self._known = Known(self._execution.inputs, self._execution.facts, evaluate)

    def run(self) -> None:
        """Fold every fact, and those that carrying out an effect brings (a step that cannot be rendered has failed)."""
        if self._execution.frame.terminal:
            self._writes.ended.append(self._execution)  # what still ran may have ended now, and lets go of its lock
            for told in outlived(self._execution, self._change.facts, self._change.attempts):
                self._tell(told, ())
        while self._todo:
            facts = [self._todo.popleft()]
            frame, effects = advance(self._execution.spec, self._execution.frame, facts, self._known)
            self._execution = self._execution.with_frame(frame, facts=0)
            self._ended |= {effect.frame.path: effect.frame for effect in effects if isinstance(effect, FrameEnded)}
            self._end_doubts(facts)
            for effect in effects:
                self._carry_out(effect)
        self._writes.executions.append((self._change.execution, self._execution))
        self._store()

    def _end_doubts(self, facts: Sequence[Fact]) -> None:
        """What a probe has decided is decided in the action log, too."""
        for fact in facts:
            run = self._whole().run(fact.path, fact.visit) if isinstance(fact, Probed) else None
            if run is not None and run.state != "unknown":
                state = after("unknown", "succeed" if run.state == "succeeded" else "fail")
                self._writes.doubts_ended.append((self._execution.step_run_id(run.path, run.visit), state))

    def _store(self) -> None:
        """Frames and step runs as far as they have changed; of a frame that has ended, its steps for the last time."""
        before, after = self._change.execution.frame, self._execution.frame
        key = self._execution.execution_id
        known = {(run.path, run.visit): run for frame in before.frames for run in frame.step_runs}
        runs = {(r.path, r.visit): r for frame in (*self._ended.values(), *after.frames) for r in frame.step_runs}
        self._writes.step_runs += [(self._execution, run) for place, run in runs.items() if known.get(place) != run]
        self._writes.frames_ended += [(key, path) for path in self._ended if path in before.children]
        self._writes.frames += [
            (key, frame) for path, frame in after.children.items() if frame is not before.children.get(path)
        ]

    def _carry_out(self, effect: Effect) -> None:
        match effect:
            case PublishFact():
                self._publish(effect)
            case RunAction():
                self._ready(effect)
            case RequestApproval():
                self._ask_approval(effect)
            case KeepRollback():
                self._keep_rollback(effect)
            case AskProbe():
                self._ask_probe(effect)
            case _:
                self._collect(effect)

    def _collect(self, effect: Effect) -> None:
        """What is written as it was asked for."""
        writes, execution = self._writes, self._execution
        match effect:
            case AskPerson():
                asked = {"instructions": effect.instructions, "form": effect.form}
                writes.asked.append((execution.step_run_id(effect.path, effect.visit), asked))
            case CancelAction():
                writes.withdrawn.append((execution, effect.path, effect.visit, effect.attempt))
            case KeepItems():
                writes.items.append((execution.execution_id, effect.path, effect.items))
            case SetTimer():
                writes.timers.append((execution.execution_id, effect))
            case CancelTimer():
                writes.timers_gone.append((effect.kind, execution.execution_id, effect.ref))
            case Finish():
                writes.ended.append(execution)

    def _publish(self, effect: PublishFact) -> None:
        if self._asks_nothing(effect):
            return
        path = str(effect.data.get("path"))
        attempt = self._change.attempts.get(path)
        told = PublishFact(effect.type, {**effect.data, **self._asked.get(path, {})})
        run = self._whole().run(path, effect.data["visit"]) if "visit" in effect.data else None
        fact = to_fact(self._execution, told, attempt, rfc3339(self._now), run.outputs if run else {})
        self._tell(fact, self._change.refs.get(path, ()) if effect.type in _ENDS_ATTEMPT else ())
        if effect.type == "step_unknown":
            self._writes.suspects.append(self._execution.execution_id)

    def _tell(self, fact: PublishedFact, refs: tuple[Ref, ...]) -> None:
        self._execution = self._execution.with_frame(self._execution.frame, facts=1)
        self._writes.events.append(self._event(fact, refs))

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
            **effect.terms,
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
                "arguments": shown.arguments(orjson.loads(rendered.rendered)["with"]),
            }
        self._asked[effect.path] = asked
        self._writes.asked.append((asked["step_run_id"], asked))

    def _rendered(self, path: str, visit: int) -> RenderedAction | None:
        """The step's action; one that cannot be rendered has failed, and that is folded next."""
        if path.startswith(UNDOING):
            return self._taking_back(path, visit)
        try:
            return render_action(self._execution.spec, path, self._scope(path), evaluate=self._known.evaluate)
        except RenderRefused as error:
            self._todo.append(StepFailed(path, visit, "render_refused", str(error)))
            return None

    def _scope(self, path: str) -> dict[str, Any]:
        return scope_of(self._execution.inputs, self._execution.facts, self._whole(), path)

    def _whole(self) -> Frame:
        """The frame, with the branches and iterations that ended in this turn: what they tell of is told after that."""
        frame = self._execution.frame
        return replace(frame, children={**self._ended, **frame.children}) if self._ended else frame

    def _keep_rollback(self, effect: KeepRollback) -> None:
        """What takes the step back, filled in while all that it refers to is known; or why that cannot be done."""
        scope = {**self._scope(effect.path), "outputs": effect.outputs}
        spec, number = self._execution.spec, effect.number
        try:
            rendered = render_rollback(spec, effect.path, number, scope, evaluate=self._known.evaluate)
            kept = KeptRollback(number, effect.path, effect.visit, rendered)
        except RenderRefused as error:
            kept = KeptRollback(number, effect.path, effect.visit, None, str(error))
        self._kept[number] = kept
        self._writes.rollbacks.append((self._execution.execution_id, kept))

    def _ask_probe(self, effect: AskProbe) -> None:
        """The probe is an action beside the step's own, which counts nowhere but here and in the action log."""
        spec, execution = self._execution.spec, self._execution
        try:
            rendered = render_probe(spec, effect.path, self._scope(effect.path), evaluate=self._known.evaluate)
        except RenderRefused:
            self._todo.append(Probed(effect.path, effect.visit, None))
            return
        run = StepRun(rendered.path, effect.visit, "ready", effect.number)
        self._writes.step_runs.append((execution, run))
        self._put_action(rendered, RunAction(rendered.path, effect.visit, effect.number, effect.number))

    def _taking_back(self, path: str, visit: int) -> RenderedAction | None:
        kept = self._kept[int(path.removeprefix(UNDOING))]
        if kept.refusal or kept.rendered is None:
            self._todo.append(StepFailed(path, visit, "render_refused", f"{kept.path}: {kept.refusal}"))
            return None
        return kept.rendered

    def _ready(self, effect: RunAction) -> None:
        rendered = self._rendered(effect.path, effect.visit)
        if rendered is not None:
            self._put_action(rendered, effect)

    def _put_action(self, rendered: RenderedAction, effect: RunAction) -> None:
        execution = self._execution
        step_run_id = execution.step_run_id(effect.path, effect.visit)
        attempt = Attempt(
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
            and not probed(effect.path)
            and needs_firing(execution.spec, execution.frame, effect.path),
            traceparent=self._change.because.traceparent or execution.traceparent,
            needs_approval=effect.needs_approval,
            risk=_risk(execution.spec, effect.path),
        )
        self._writes.actions.append((attempt, stream_of(execution)))


def _risk(spec: Runbook, path: str) -> Risk:
    """The step's; what the engine adds by itself (a rollback, a word to somebody, a probe) bears none of its own."""
    added = path.startswith((UNDOING, TELLING)) or probed(path)
    return "low" if added else spec.risk_of(path)


def stream_of(execution: Execution) -> str:
    """The hint stream: problems that are critical go ahead of all others."""
    alert = execution.facts.alert
    return f"{STREAM}:{'high' if alert is not None and alert.severity == 'critical' else 'normal'}"
