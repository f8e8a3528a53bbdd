"""Facts of executions, published by the executor (its workers write through the same outbox)."""

from typing import Any, ClassVar, Literal

from libs.common.contracts.fact import Fact
from libs.common.contracts.incident import Severity
from libs.common.contracts.levels import Level

BlockedReason = Literal[
    "approval", "person", "choice", "lock", "paused", "unknown", "kill_switch", "budget", "cooldown", "breaker"
]
ApprovalOf = Literal["plan", "action"]
Risk = Literal["low", "medium", "high"]


class ExecutionFact(Fact):
    """About one execution of a runbook version for an incident (`incident_id` is empty when there is none).

    `dry_run` is there, and true, where nothing is changed and nobody is asked: nobody acts on such a fact.
    """

    aggregate: ClassVar[str] = "execution"
    execution_id: str
    incident_id: str
    runbook_id: str
    dry_run: bool | None = None


class ExecutionPlanned(ExecutionFact):
    """Inputs are resolved and the graph is fixed: `plan_hash` is over spec, inputs and graph.

    With `opens_incident`, `incident_id` is `derived_id("incident", execution_id)`: an incident of that id is opened,
    with this title and severity. `retry_of` is the execution that failed or was aborted at the step `retry_from`, where
    this one begins; what that one had done before is carried over, and `rationale` says why it is worth another try.
    """

    subject: ClassVar[str] = "runbook.planned"
    runbook_version: int
    spec_hash: str
    plan_hash: str
    steps: list[str]
    opens_incident: bool = False
    title: str | None = None
    severity: Severity | None = None
    retry_of: str | None = None
    retry_from: str | None = None
    rationale: str | None = None


class ExecutionStarted(ExecutionFact):
    """The first step may run."""

    subject: ClassVar[str] = "runbook.started"
    plan_hash: str


class ExecutionBlocked(ExecutionFact):
    """Nothing goes on until what `reason` names has happened.

    With the reason `approval` it says what exactly a person is asked about, by hash, and who may not be that person
    (`requester`); without these it cannot be asked. `action_hash` and `action` are left out where the whole plan is
    asked about. `approvers` are roles of which the person must have one. When a grant came that is for something else,
    it is told once more: `refused_*` say which grant, why, and what that one was for; `detail` says it to people.
    `quorum` different people have to agree (1 where it is left out); `groups` are named beside `approvers`. Reminders
    and levels count from the question; `form` is what has to be filled in: name -> type, label, required, one_of.
    `arguments` are those of the action as they would be carried out, without secrets, and shortened where long.
    """

    subject: ClassVar[str] = "runbook.blocked"
    reason: BlockedReason
    step: str
    detail: str = ""
    step_run_id: str | None = None
    plan_hash: str | None = None
    action_hash: str | None = None
    approval_of: ApprovalOf | None = None
    risk: Risk | None = None
    requester: str | None = None
    expires_seconds: float | None = None
    prompt: str | None = None
    action: str | None = None
    resource_id: str | None = None
    approvers: list[str] | None = None
    quorum: int | None = None
    groups: list[str] | None = None
    remind_after_seconds: list[float] | None = None
    escalation: list[Level] | None = None
    form: dict[str, Any] | None = None
    arguments: dict[str, Any] | None = None
    refused_code: str | None = None
    refused_approval_id: str | None = None
    refused_plan_hash: str | None = None
    refused_action_hash: str | None = None


class ExecutionUnblocked(ExecutionFact):
    """What it was blocked on has happened."""

    subject: ClassVar[str] = "runbook.unblocked"
    reason: BlockedReason
    step: str


class StepFact(ExecutionFact):
    """About one visit of one step; `step_run_id` is (execution, path, visit)."""

    step_run_id: str
    step: str
    visit: int
    attempt: int


class StepCompleted(StepFact):
    """The step took effect; outputs stand in the executor, named here by their hash."""

    subject: ClassVar[str] = "runbook.step_completed"
    action: str
    effect: str
    action_hash: str
    fence: int
    worker: str
    started_at: str
    finished_at: str
    outputs_sha256: str
    decided_by_person: bool = False
    evidence_ref: str | None = None


class StepFailed(StepFact):
    """The step did not succeed; `will_retry` says whether another attempt follows."""

    subject: ClassVar[str] = "runbook.step_failed"
    error_code: str
    message: str
    will_retry: bool
    evidence_ref: str | None = None


class StepSkipped(StepFact):
    """The step was left out: its condition did not hold."""

    subject: ClassVar[str] = "runbook.step_skipped"
    reason: str


class StepUnknown(StepFact):
    """Nobody knows whether the effect took place; it is never tried again by itself: a person decides."""

    subject: ClassVar[str] = "runbook.step_unknown"
    reason: str
    idem_key: str
    resource_id: str


class StepDecided(StepFact):
    """A person said what became of an unknown step, or how it goes on with one that failed or waits; and why."""

    subject: ClassVar[str] = "runbook.step_decided"
    decision: Literal["succeeded", "failed", "abort", "retry", "skip"]
    rationale: str


class StepOutlived(StepFact):
    """An attempt that was under way when its execution ended has come to its end: whether it could be stopped.

    `stopped`: before it took effect. `took_effect`: it succeeded all the same. `unknown`: nobody can say, or it could
    not be stopped; `message` says what is left of it.
    """

    subject: ClassVar[str] = "runbook.step_outlived"
    outcome: Literal["stopped", "took_effect", "unknown"]
    error_code: str
    message: str


class ExecutionPaused(ExecutionFact):
    """A person holds it: nothing more begins until it is resumed; what is under way is let finish."""

    subject: ClassVar[str] = "runbook.paused"
    rationale: str


class ExecutionResumed(ExecutionFact):
    """A person lets it go on."""

    subject: ClassVar[str] = "runbook.resumed"
    rationale: str


class ExecutionSignalled(ExecutionFact):
    """A person told it of an event; `steps` had waited for it, and have what was said of it among their outputs."""

    subject: ClassVar[str] = "runbook.signalled"
    name: str
    steps: list[str]
    rationale: str


class ExecutionRollingBack(ExecutionFact):
    """What was changed is taken back, the last change first: `changes` of them; `reason` and `step` say what for."""

    subject: ClassVar[str] = "runbook.rolling_back"
    reason: str
    step: str
    changes: int
    rationale: str | None = None


class ExecutionCompleted(ExecutionFact):
    """Every step is done and the effect is verified (`verified` says by what)."""

    subject: ClassVar[str] = "runbook.completed"
    verified: str


class ExecutionFailed(ExecutionFact):
    """It ended without success."""

    subject: ClassVar[str] = "runbook.failed"
    reason: str
    step: str = ""
    rationale: str | None = None
    rolled_back: int | None = None


class ExecutionAborted(ExecutionFact):
    """A person ended it."""

    subject: ClassVar[str] = "runbook.aborted"
    rationale: str


class ExecutionTerminated(ExecutionFact):
    """A person ended it without waiting for anything: nobody knows what became of `unstopped`, steps under way.

    `freed` are the resources whose locks it held.
    """

    subject: ClassVar[str] = "runbook.terminated"
    rationale: str
    unstopped: list[str]
    freed: list[str]


class KillSwitchChanged(Fact):
    """Mutations of `scope` are held back from now on (or let go again)."""

    subject: ClassVar[str] = "runbook.kill_switch_changed"
    aggregate: ClassVar[str] = "kill_switch"
    scope: str
    engaged: bool
    epoch: int
    reason: str


class LockBroken(Fact):
    """A person took a resource's lock away from an execution; `state` is what it was: held or suspect."""

    subject: ClassVar[str] = "runbook.lock_broken"
    aggregate: ClassVar[str] = "lock_break"
    break_id: str
    resource_id: str
    execution_id: str
    state: str
    rationale: str


class BreakerFact(Fact):
    """About one runbook on one resource; `breaker_id` is derived from tenant, runbook and resource."""

    aggregate: ClassVar[str] = "breaker"
    breaker_id: str
    runbook_id: str
    resource_id: str


class BreakerOpened(BreakerFact):
    """This runbook has failed so often here that it changes nothing here any more, until a person resets it.

    `execution_id` is the last of the `failures` executions that failed.
    """

    subject: ClassVar[str] = "runbook.breaker_opened"
    execution_id: str
    failures: int


class BreakerReset(BreakerFact):
    """A person lets the runbook change this resource again; what failed before does not count any more."""

    subject: ClassVar[str] = "runbook.breaker_reset"
    rationale: str
