"""What can happen to an execution: the only input of `advance`.

Facts about a step name it by path and visit. A fact that comes again, or too late, changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from libs.runbook.frame import HoldReason, TimerKind

Decision: TypeAlias = Literal["succeeded", "failed", "abort"]
Denial: TypeAlias = Literal[
    "rejected", "expired", "revoked", "used", "own", "other_plan", "other_action", "other_step", "missing"
]
Outcome: TypeAlias = Literal["succeeded", "failed"]
Choice: TypeAlias = Literal["retry", "skip", "abort"]


@dataclass(frozen=True, slots=True)
class Started:
    """The plan may be carried out. `alert_firing` is what is known of the alert, None if there is none.

    `by_person`: somebody asked for it, so that a suggestion is taken.
    """

    alert_firing: bool | None = None
    by_person: bool = False


@dataclass(frozen=True, slots=True)
class StepFact:
    """Base of facts about one visit of one step."""

    path: str
    visit: int


@dataclass(frozen=True, slots=True)
class StepStarted(StepFact):
    """A worker has claimed the action, and lets go what held it.

    A claim need not tell: results count from a step that is only asked for, too. It must be told before a fact that
    treats a step under way otherwise than one that has not begun: the deadline's timer, and `ApprovalDenied`.
    """


@dataclass(frozen=True, slots=True)
class StepSucceeded(StepFact):
    """The action took effect."""

    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepFailed(StepFact):
    """The action certainly did not succeed. `retryable`: the reason may pass."""

    error_code: str
    message: str = ""
    retryable: bool = False


@dataclass(frozen=True, slots=True)
class StepLost(StepFact):
    """The worker's lease ran out. A step that may repeat is asked for again; an unsafe one becomes unknown."""


@dataclass(frozen=True, slots=True)
class StepUnknown(StepFact):
    """Nobody can say whether the action took effect."""

    reason: str


@dataclass(frozen=True, slots=True)
class StepNotNeeded(StepFact):
    """The claim saw, under its lock, that the alert has ended before a step that needs it firing: nothing was done."""


@dataclass(frozen=True, slots=True)
class StepHeld(StepFact):
    """The claim was turned away; the action stays asked for."""

    reason: HoldReason


@dataclass(frozen=True, slots=True)
class StepReleased(StepFact):
    """What held the step is gone: the same attempt is asked for again."""


@dataclass(frozen=True, slots=True)
class Probed(StepFact):
    """What the probe of an unknown step answered; None if it could not be asked."""

    outputs: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class StepDecided(StepFact):
    """A person said what became of an unknown step."""

    decision: Decision
    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class ApprovalGranted(StepFact):
    """So many as it takes of those who may have granted what `RequestApproval` asked for.

    `values` are what they filled in; of an approval step they become its outputs, if they fit its form.
    """

    approval_id: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApprovalDenied(StepFact):
    """The approval was not granted, does not stand any more, or never could: `own`, or for something else.

    `actor` is empty where no person ended it; `rationale` then says what happened and what to do, if anybody knows.
    A step that has not begun fails with `approval_<why>`. One that is under way is let finish and is not tried again:
    fold `StepStarted` first if its action runs.
    """

    approval_id: str
    why: Denial
    actor: str = ""
    rationale: str = ""


@dataclass(frozen=True, slots=True)
class GrantRefused(StepFact):
    """A grant came that is not for what this step would do: another plan, another action, another step.

    Nothing begins. The step waits on, says why, and asks once more about what it would do now. `plan_hash` and
    `action_hash` are what was granted; `code` and `message` are for programs and for people.
    """

    approval_id: str
    code: str
    message: str
    plan_hash: str
    action_hash: str


@dataclass(frozen=True, slots=True)
class StepCompletedByPerson(StepFact):
    """A person did what a manual step says, or could not. `values` answer its form and become its outputs.

    Check with `forms.faults` first: what does not fit the form, or lacks required evidence, changes nothing here.
    """

    outcome: Outcome
    actor: str
    evidence_ref: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PersonChose(StepFact):
    """A person says how it goes on: the step is tried again, left out, or the execution is aborted.

    `retry` counts for a step that failed and asks (`on_failure: ask`), `skip` for that one and for any that waits or
    has not begun; not for an approval, nor for a step under way.
    """

    choice: Choice
    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class SignalReceived:
    """Somebody signalled an event to the execution; `data` becomes the outputs of the steps that wait for it."""

    name: str
    data: Mapping[str, Any]
    actor: str


@dataclass(frozen=True, slots=True)
class AlertObserved:
    """Whether the alert fires now."""

    firing: bool


@dataclass(frozen=True, slots=True)
class TimerFired:
    """A timer that `SetTimer` asked for is due."""

    kind: TimerKind
    ref: str


@dataclass(frozen=True, slots=True)
class AbortRequested:
    """A person ends the execution, whatever state it is in."""

    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class FailRequested:
    """A person ends the execution as failed, whatever state it is in."""

    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class PauseRequested:
    """Nothing more begins until it is resumed. What is under way is let finish, and times go on."""

    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class ResumeRequested:
    """It goes on where it was paused."""

    actor: str
    rationale: str


@dataclass(frozen=True, slots=True)
class RollbackRequested:
    """A person wants what was changed to be taken back, the last change first: then the execution has failed."""

    actor: str
    rationale: str


Fact: TypeAlias = (
    Started
    | StepStarted
    | StepSucceeded
    | StepFailed
    | StepLost
    | StepUnknown
    | StepNotNeeded
    | StepHeld
    | StepReleased
    | Probed
    | StepDecided
    | ApprovalGranted
    | ApprovalDenied
    | GrantRefused
    | StepCompletedByPerson
    | AlertObserved
    | TimerFired
    | AbortRequested
    | FailRequested
    | PersonChose
    | SignalReceived
    | PauseRequested
    | ResumeRequested
    | RollbackRequested
)
