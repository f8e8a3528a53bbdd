"""What `advance` asks for: to be carried out in order, in the transaction that stores the frame."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from libs.runbook.frame import ExecutionState, TimerKind

FactType: TypeAlias = Literal[
    "started",
    "blocked",  # reason, path
    "unblocked",  # reason, path
    "step_completed",  # path, visit, attempt, decided_by_person
    "step_failed",  # path, visit, attempt, error_code, message, will_retry
    "step_unknown",  # path, visit, attempt, reason
    "step_decided",  # path, visit, attempt, decision, actor, rationale
    "completed",  # verified: alert_resolved or none; skipped: paths
    "failed",  # reason, path
    "aborted",  # actor, rationale
]


@dataclass(frozen=True, slots=True)
class RunAction:
    """Make the action ready. (path, visit, attempt) is unique: asked for again, it is the same action."""

    path: str
    visit: int
    attempt: int
    attempt_limit: int


@dataclass(frozen=True, slots=True)
class CancelAction:
    """Withdraw the action, or stop it if it runs. A result that still comes is evidence, not state."""

    path: str
    visit: int
    attempt: int


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Report `TimerFired(kind, ref)` after that time, not before."""

    kind: TimerKind
    ref: str
    after_seconds: float


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


Effect: TypeAlias = RunAction | CancelAction | SetTimer | CancelTimer | PublishFact | Finish
