"""What `advance` asks for: to be carried out in order, in the transaction that stores the frame."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from libs.runbook.elements import Risk
from libs.runbook.frame import ExecutionState, Frame, TimerKind

FactType: TypeAlias = Literal[
    "started",
    "blocked",  # reason, path; for an approval that is asked for also of, risk, expires_seconds, prompt, approvers;
    #             asked for once more, because a grant was for something else, also detail and refused_*
    "unblocked",  # reason, path
    "step_completed",  # path, visit, attempt, decided_by_person; of a manual step also actor, evidence_ref
    "step_failed",  # path, visit, attempt, error_code, message, will_retry
    "step_skipped",  # path, visit, attempt, reason: the condition of `when`
    "step_unknown",  # path, visit, attempt, reason
    "step_decided",  # path, visit, attempt, decision, actor, rationale
    "paused",  # actor, rationale
    "resumed",  # actor, rationale
    "rolling_back",  # reason, path, changes: how many are taken back; if a person wants it also actor, rationale
    "completed",  # verified: alert_resolved or none; skipped: paths
    "failed",  # reason, path, rolled_back; if a person did it also actor, rationale
    "aborted",  # actor, rationale
]


@dataclass(frozen=True, slots=True)
class RunAction:
    """Make the action ready. (path, visit, attempt) is unique: asked for again, it is the same action.

    `needs_approval`: the claim must find, in the executor's copy, a grant for this path and visit that still stands
    and that carries these very hashes.
    """

    path: str
    visit: int
    attempt: int
    attempt_limit: int
    needs_approval: bool = False


@dataclass(frozen=True, slots=True)
class RequestApproval:
    """Ask for an approval: of the whole plan, or of the action of this step, which is rendered and hashed now.

    The request is for this path and visit, and covers the attempts of that visit. It comes before the `blocked` of the
    same turn, which repeats it for everyone. An action that cannot be rendered has failed: fold `StepFailed`.
    `terms` are what is asked for beside a single yes in time, as in `blocked`: quorum, groups, remind_after_seconds,
    escalation, form; each only where it is not as usual.
    """

    path: str
    visit: int
    attempt: int
    of: Literal["plan", "action"]
    risk: Risk
    expires_seconds: float
    prompt: str
    approvers: tuple[str, ...] = ()
    terms: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AskPerson:
    """Show a person what to do, and the fields to fill in: name → type, label, required, one_of."""

    path: str
    visit: int
    instructions: str
    form: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CancelAction:
    """Withdraw the action, or stop it if it runs. A result that still comes is evidence, not state."""

    path: str
    visit: int
    attempt: int


@dataclass(frozen=True, slots=True)
class AskProbe:
    """Carry out the probe of an unknown step, for the `number`th time, and report `Probed`."""

    path: str
    visit: int
    number: int


@dataclass(frozen=True, slots=True)
class KeepRollback:
    """Fill in the step's rollback now, and keep it under this number: 1 is the first change of the execution.

    `outputs` are what the step answered. `RunAction("rollback:<number>", …)` asks for it to be carried out.
    """

    path: str
    visit: int
    number: int
    outputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeepItems:
    """Keep the items of a loop: they are in `Frame.items`, by path, for as long as the loop is open."""

    path: str
    visit: int
    items: Sequence[Any]


@dataclass(frozen=True, slots=True)
class FrameEnded:
    """A branch or an iteration has ended, in this state: its step runs will not be told of again."""

    frame: Frame


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Report `TimerFired(kind, ref)` after that time, not before; a random part of `jitter_seconds` is added.

    `at`, a moment, is said instead of a time.
    """

    kind: TimerKind
    ref: str
    after_seconds: float
    jitter_seconds: float = 0.0
    at: str = ""


@dataclass(frozen=True, slots=True)
class CancelTimer:
    """The timer is not needed any more."""

    kind: TimerKind
    ref: str


@dataclass(frozen=True, slots=True)
class PublishFact:
    """Tell everyone; `data` is JSON-ready."""

    type: FactType
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Finish:
    """The execution has ended: release its locks. Always the last effect."""

    state: ExecutionState
    reason: str


Effect: TypeAlias = (
    RunAction
    | CancelAction
    | RequestApproval
    | AskPerson
    | AskProbe
    | KeepRollback
    | KeepItems
    | FrameEnded
    | SetTimer
    | CancelTimer
    | PublishFact
    | Finish
)
