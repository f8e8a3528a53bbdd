"""The state of one execution, as an immutable value that is stored as JSON between two facts.

A frame is one sequence of steps. Steps inside a parallel branch or a loop will be frames of their own, with a path in
front (`fan/3`), so that many children do not rewrite one row; this version has the outermost one, whose path is "".
Phase and blocked reason are derived from the steps: waiting is a state of a step, never of the execution.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Final, Literal, Self, TypeAlias, get_args

ExecutionState: TypeAlias = Literal["pending", "running", "blocked", "failed", "aborted", "completed"]
StepState: TypeAlias = Literal[
    "pending",  # reached, not asked for yet
    "ready",  # an action was asked for
    "running",  # a worker has claimed it
    "waiting",  # for a time, a grant, a person, or whatever else `waiting_for` names
    "unknown",  # nobody knows whether it took effect
    "succeeded",
    "failed",
    "skipped",  # its `when` was false (error_code "when_false"), or the alert had ended (no error_code)
    "cancelled",  # the execution ended first; the action's own record says how far it came
]
Phase: TypeAlias = Literal["plan", "approval_wait", "apply", "verify"]
HoldReason: TypeAlias = Literal["approval", "person", "lock", "paused", "kill_switch"]
BlockedReason: TypeAlias = Literal["approval", "person", "lock", "paused", "kill_switch", "unknown"]
VerifyState: TypeAlias = Literal["none", "waiting", "passed", "failed"]
WaitReason: TypeAlias = Literal["approval", "person", "lock", "paused", "kill_switch", "retry", "wait", ""]
TimerKind: TypeAlias = Literal["retry", "verify_due", "deadline", "wait", "timeout"]
Timer: TypeAlias = tuple[TimerKind, str]

TERMINAL: Final[frozenset[ExecutionState]] = frozenset({"failed", "aborted", "completed"})
STEP_TERMINAL: Final[frozenset[StepState]] = frozenset({"succeeded", "failed", "skipped", "cancelled"})
RETRY: Final = "retry"
WAIT: Final = "wait"
WHEN_FALSE: Final = "when_false"
FORMAT: Final = 1
_BLOCKS: Final[Mapping[str, BlockedReason]] = {reason: reason for reason in get_args(HoldReason)}


@dataclass(frozen=True, slots=True)
class StepRun:
    """One visit of one step. `attempts` counts actions asked for, `losses` those whose worker vanished.

    `approval_id` is the approval under which it may be carried out, `denied` why that does not stand any more.
    `refused` is the last approval that was granted for something else than the step would do.
    """

    path: str
    visit: int
    state: StepState = "pending"
    attempts: int = 0
    failures: int = 0
    losses: int = 0
    waiting_for: WaitReason = ""
    outputs: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""
    message: str = ""
    approval_id: str = ""
    denied: str = ""
    refused: str = ""

    @property
    def ref(self) -> str:
        """Names this attempt, such as `reroute#1#2`: path, visit, attempt."""
        return f"{self.path}#{self.visit}#{self.attempts}"

    @property
    def held(self) -> bool:
        """Whether its action was asked for and the claim turned it away: what is let go is the same attempt."""
        return self.state == "waiting" and self.waiting_for != RETRY and self.attempts > 0

    def waits_for(self, reason: WaitReason) -> bool:
        """Whether it waits for just that."""
        return self.state == "waiting" and self.waiting_for == reason


@dataclass(frozen=True, slots=True)
class Frame:
    """One execution. `step_runs` are in the order in which steps were reached; the last one is where it stands.

    `alert_firing` is the last that was observed, None if nothing was. `timers` are those set and not yet fired.
    `revoked`: the approval of the plan does not stand any more, so nothing more begins.
    `reason` says why a terminal state was reached.
    """

    path: str = ""
    state: ExecutionState = "pending"
    step_runs: tuple[StepRun, ...] = ()
    alert_firing: bool | None = None
    verify_state: VerifyState = "none"
    deadline_passed: bool = False
    reason: str = ""
    timers: tuple[Timer, ...] = ()
    revoked: bool = False

    @property
    def terminal(self) -> bool:
        """Whether it has ended; nothing changes it any more."""
        return self.state in TERMINAL

    @property
    def aborted(self) -> bool:
        """Whether a person ended it."""
        return self.state == "aborted"

    @property
    def current(self) -> StepRun | None:
        """The step run where it stands; None before the first."""
        return self.step_runs[-1] if self.step_runs else None

    @property
    def blocked_reason(self) -> BlockedReason | None:
        """What it waits for, if it cannot go on by itself."""
        run = self.current
        if run is None or self.terminal:
            return None
        return "unknown" if run.state == "unknown" else _BLOCKS.get(run.waiting_for)

    @property
    def phase(self) -> Phase:
        """Where in its life it is; an ended execution keeps the phase in which it ended."""
        if self.verify_state != "none":
            return "verify"
        if self.current is None:
            return "plan"
        return "approval_wait" if self.current.waiting_for == "approval" else "apply"

    def run(self, path: str, visit: int) -> StepRun | None:
        """The step run of that path and visit."""
        for run in reversed(self.step_runs):
            if run.path == path and run.visit == visit:
                return run
        return None

    def visits(self, path: str) -> int:
        """How often the step has been reached."""
        return sum(run.path == path for run in self.step_runs)

    def to_json(self) -> dict[str, Any]:
        """The frame as JSON-ready data. Fields of later versions are left out while they say nothing."""
        data = _told(self, _FRAME_FIELDS)
        data["step_runs"] = [_told(run, _RUN_FIELDS) for run in self.step_runs]
        data["timers"] = [list(timer) for timer in self.timers]
        return {"format": FORMAT, **data}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Self:
        """The frame that `to_json` described, also by an earlier version: fields are only ever added, with a default.

        Raises:
            ValueError: the data is of a format that this version does not know.
        """
        values = dict(data)
        if values.pop("format", None) != FORMAT:
            raise ValueError(f"frame of format {data.get('format')!r}; this version reads {FORMAT}")
        values["step_runs"] = tuple(StepRun(**run) for run in values["step_runs"])
        values["timers"] = tuple((kind, ref) for kind, ref in values["timers"])
        return cls(**values)


def _told(value: StepRun | Frame, names: Sequence[str]) -> dict[str, Any]:
    return {name: found for name in names if (found := getattr(value, name)) or name not in _ADDED}


_ADDED: Final = frozenset({"approval_id", "denied", "refused", "revoked"})
_RUN_FIELDS: Final = tuple(field.name for field in fields(StepRun))
_FRAME_FIELDS: Final = tuple(field.name for field in fields(Frame))
