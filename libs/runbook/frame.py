"""The state of one execution, as an immutable value that is stored as JSON between two facts.

A frame is one sequence of steps. The outermost has the path "" and what concerns the execution as a whole; branches and
iterations under way are its `children`, each stored as a row of its own, so that many do not rewrite one. Of those that
have ended a composite step keeps counts only, so that ten thousand cost no more than those under way.

Phase and blocked reason are derived from the steps: waiting is a state of a step, never of the execution.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Self, TypeAlias, get_args

from msgspec import Struct, field

from libs.runbook.paths import around

ExecutionState: TypeAlias = Literal["pending", "running", "blocked", "failed", "aborted", "completed"]
StepState: TypeAlias = Literal[
    "pending",  # reached, not asked for yet
    "ready",  # an action was asked for
    "running",  # a worker has claimed it
    "waiting",  # for a time, a grant, a person, or whatever else `waiting_for` names
    "open",  # a composite step whose branches or iterations go on
    "unknown",  # nobody knows whether it took effect
    "succeeded",
    "failed",
    "skipped",  # its `when` was false (error_code "when_false"), a person left it out ("skipped_by_person"), or the
    #             alert had ended (no error_code)
    "cancelled",  # the execution, or what it is a part of, ended first; the action's record says how far it came
]
Phase: TypeAlias = Literal["plan", "approval_wait", "apply", "verify", "rollback", "escalate"]
HoldReason: TypeAlias = Literal["approval", "person", "lock", "paused", "kill_switch", "budget", "cooldown", "breaker"]
BlockedReason: TypeAlias = Literal[
    "approval", "person", "choice", "lock", "paused", "kill_switch", "budget", "cooldown", "breaker", "unknown"
]
Closing: TypeAlias = Literal["", "enough", "failed"]
VerifyState: TypeAlias = Literal["none", "waiting", "passed", "failed"]
WaitReason: TypeAlias = Literal[
    "approval", "person", "choice", "lock", "paused", "kill_switch", "budget", "cooldown", "breaker",
    "retry", "wait", "event", "verify", "",
]  # fmt: skip
TimerKind: TypeAlias = Literal["retry", "verify_due", "deadline", "wait", "timeout", "probe"]
Timer: TypeAlias = tuple[TimerKind, str]

TERMINAL: Final[frozenset[ExecutionState]] = frozenset({"failed", "aborted", "completed"})
STEP_TERMINAL: Final[frozenset[StepState]] = frozenset({"succeeded", "failed", "skipped", "cancelled"})
RETRY: Final = "retry"
WAIT: Final = "wait"
CHOICE: Final = "choice"
EVENT: Final = "event"
VERIFY: Final = "verify"
PAUSED: Final = "paused"
WHEN_FALSE: Final = "when_false"
SKIPPED_BY_PERSON: Final = "skipped_by_person"
FORMAT: Final = 1
_BLOCKS: Final[Mapping[str, BlockedReason]] = {CHOICE: "choice", **{reason: reason for reason in get_args(HoldReason)}}
_FIRST: Final = ("unknown", "choice", "person", "approval", "breaker")
"""Of several reasons, the ones that a person has to hear of."""


class Fan(Struct, frozen=True):
    """How far the branches or iterations of a composite step are. Those of `failures` are the first that failed.

    `closing`: it is decided how the step ends, and nothing more of it begins; what is under way is let finish.
    """

    total: int
    begun: int = 0
    succeeded: int = 0
    failed: int = 0
    stopped: int = 0
    closing: Closing = ""
    failures: tuple[str, ...] = ()

    @property
    def under_way(self) -> int:
        """How many have begun and not ended."""
        return self.begun - self.succeeded - self.failed - self.stopped


class StepRun(Struct, frozen=True):
    """One visit of one step. `attempts` counts actions asked for, `losses` those whose worker vanished.

    `approval_id` is the approval under which it may be carried out, `denied` why that does not stand any more.
    `refused` is the last approval that was granted for something else than the step would do. `probes` counts how often
    it was looked whether it took effect.
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
    probes: int = 0
    fan: Fan | None = None

    @property
    def ref(self) -> str:
        """Names this attempt, such as `reroute#1#2`: path, visit, attempt."""
        return f"{self.path}#{self.visit}#{self.attempts}"

    @property
    def held(self) -> bool:
        """Whether its action was asked for and the claim turned it away: what is let go is the same attempt."""
        return self.state == "waiting" and self.waiting_for not in {RETRY, CHOICE, VERIFY} and self.attempts > 0

    @property
    def live(self) -> bool:
        """Whether it has not ended, nor is made of other steps."""
        return self.state not in STEP_TERMINAL and self.state != "open"

    @property
    def blocked_reason(self) -> BlockedReason | None:
        """What it waits for, if it cannot go on by itself."""
        return "unknown" if self.state == "unknown" else _BLOCKS.get(self.waiting_for)

    def waits_for(self, reason: WaitReason) -> bool:
        """Whether it waits for just that."""
        return self.state == "waiting" and self.waiting_for == reason


class Frame(Struct, frozen=True):
    """One sequence of steps. `step_runs` are in the order in which they were reached; at the last one it stands.

    `timers` are those set and not yet fired. `names` are what an iteration's expressions know besides: item and index.
    `base` is how often its steps may have been visited before, where a person had what is around it begun once more.

    All else concerns the whole execution, and stands in the outermost frame. `alert_firing` is the last that was
    observed, None if nothing was. `revoked`: the approval of the plan does not stand any more, so nothing more begins.
    `carried` are steps that the execution before this one has been through, by path: `state`, `outputs`, `error_code`
    and `message` as they were then. They are passed by, and are no changes of this execution.
    `reason` says why a terminal state was reached. `changed`: some step may have changed something. `kept` is how many
    changes could be taken back, and `undone` how many were; `undoing` says why that goes on: a reason and a step.
    `telling`, likewise, that people are told of the failure.
    `children` are the frames of what is under way inside composite steps, by path, and `items` the lists of its loops:
    neither is a part of its own JSON. `rounds` is how often a person had a composite step begun once more.
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
    changed: bool = False
    paused: bool = False
    kept: int = 0
    undone: int = 0
    undoing: tuple[str, str] | None = None
    telling: tuple[str, str] | None = None
    rounds: int = 0
    base: int = 0
    names: Mapping[str, Any] = field(default_factory=dict)
    carried: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    children: Mapping[str, "Frame"] = field(default_factory=dict)
    items: Mapping[str, Sequence[Any]] = field(default_factory=dict)

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
        """The step run where this sequence stands; None before the first."""
        return self.step_runs[-1] if self.step_runs else None

    @property
    def frames(self) -> tuple["Frame", ...]:
        """This frame and its children."""
        return (self, *self.children.values())

    @property
    def live(self) -> tuple[StepRun, ...]:
        """The step runs where the execution stands: one, or one in each branch and iteration under way."""
        return tuple(run for frame in self.frames if (run := frame.current) is not None and run.live)

    @property
    def blocked_reason(self) -> BlockedReason | None:
        """What it waits for, if nothing of it can go on by itself."""
        if self.terminal:
            return None
        found = [run.blocked_reason for run in self.live]
        if not found or None in found:
            return None
        return min(found, key=lambda reason: _FIRST.index(reason) if reason in _FIRST else len(_FIRST))

    @property
    def phase(self) -> Phase:
        """Where in its life it is; an ended execution keeps the phase in which it ended."""
        if self.telling is not None:
            return "escalate"
        if self.undoing is not None:
            return "rollback"
        if self.verify_state != "none":
            return "verify"
        if self.current is None:
            return "plan"
        waits = self.current.waiting_for == "approval" or self.blocked_reason == "approval"
        return "approval_wait" if waits else "apply"

    def holding(self, path: str) -> "Frame | None":
        """The frame that a step of this path stands in; None if that has ended."""
        return self if around(path) == self.path else self.children.get(around(path))

    def run(self, path: str, visit: int) -> StepRun | None:
        """The step run of that path and visit."""
        frame = self.holding(path)
        for run in reversed(frame.step_runs if frame else ()):
            if run.path == path and run.visit == visit:
                return run
        return None

    def visits(self, path: str) -> int:
        """How often the step has been reached."""
        frame = self.holding(path)
        return frame.base + sum(run.path == path for run in frame.step_runs) if frame else 0

    def to_json(self) -> dict[str, Any]:
        """The frame as JSON-ready data, without its children. Fields of later versions are left out while empty."""
        data = _told(self, _FRAME_FIELDS)
        data["step_runs"] = [_run_json(run) for run in self.step_runs]
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
        values["step_runs"] = tuple(_run(run) for run in values["step_runs"])
        values["timers"] = tuple((kind, ref) for kind, ref in values["timers"])
        for name in ("undoing", "telling"):
            if values.get(name):
                values[name] = tuple(values[name])
        return cls(**values)


def _run_json(run: StepRun) -> dict[str, Any]:
    data = _told(run, _RUN_FIELDS)
    if run.fan is not None:
        data["fan"] = _told(run.fan, _FAN_FIELDS)
    return data


def _run(data: Mapping[str, Any]) -> StepRun:
    if "fan" not in data:
        return StepRun(**data)
    fan = data["fan"]
    return StepRun(**{**data, "fan": Fan(**{**fan, "failures": tuple(fan["failures"])})})


def _told(value: StepRun | Frame | Fan, names: Sequence[str]) -> dict[str, Any]:
    return {name: found for name in names if (found := getattr(value, name)) or name not in _ADDED}


_ADDED: Final = frozenset({
    "approval_id", "denied", "refused", "revoked", "probes", "fan", "changed", "paused", "kept", "undone", "undoing",
    "telling", "names", "rounds", "base", "carried",
})  # fmt: skip
_RUN_FIELDS: Final = StepRun.__struct_fields__
_FAN_FIELDS: Final = Fan.__struct_fields__
_FRAME_FIELDS: Final = tuple(name for name in Frame.__struct_fields__ if name not in {"children", "items"})
