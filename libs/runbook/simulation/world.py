"""What the world around an execution says, when it is asked: workers, people, the alert."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from libs.runbook.facts import Choice, Decision, Fact, Outcome
from libs.runbook.frame import StepRun
from libs.runbook.rendering import RenderedAction
from libs.runbook.steps import WaitStep

Place: TypeAlias = tuple[str, int]
"""Path and visit of a step."""


@dataclass(frozen=True, slots=True)
class Job:
    """An action that was asked for, filled in: of a step, or of its probe, whose path tells."""

    path: str
    visit: int
    attempt: int
    action: RenderedAction
    needs_approval: bool = False

    @property
    def place(self) -> Place:
        """The step that it belongs to."""
        return self.path, self.visit


@dataclass(frozen=True, slots=True)
class Question:
    """An approval that somebody was asked for; `action_hash` is empty when it is about the plan."""

    path: str
    visit: int
    of: str
    prompt: str
    approvers: Sequence[str]
    expires_seconds: float
    action_hash: str = ""


@dataclass(frozen=True, slots=True)
class Task:
    """What a person was asked to do."""

    path: str
    visit: int
    instructions: str
    form: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Attempted:
    """How an attempt goes.

    succeeds  it took effect, and answered `outputs`
    fails     with `code`; `took_effect`: it may have changed something all the same
    dies      its worker does, before or after it took effect; the lease runs out
    held      somebody else has its lock, for `takes` seconds, or for ever

    Of a probe `took_effect` is what it finds.
    """

    how: Literal["succeeds", "fails", "dies", "held"] = "succeeds"
    outputs: Mapping[str, Any] = field(default_factory=dict)
    code: str = "failed"
    message: str = "it failed"
    retryable: bool = False
    took_effect: bool = True
    takes: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Said:
    """An approval's answer; `revoked` is granted, and taken back at once. `values` are what was filled in."""

    how: Literal["granted", "rejected", "revoked"]
    after: float = 0.0
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Done:
    """What a person says of a manual step."""

    outcome: Outcome
    values: Mapping[str, Any] = field(default_factory=dict)
    evidence: str = ""
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Decided:
    """What a person says became of a step that nobody knows about."""

    decision: Decision
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Chosen:
    """How a person wants it to go on after a failure."""

    choice: Choice
    after: float = 0.0


@dataclass(frozen=True, slots=True)
class Signalled:
    """An event that comes, with its data."""

    data: Mapping[str, Any] = field(default_factory=dict)
    after: float = 0.0


class World(Protocol):
    """Asked once about each thing; None means that nobody answers, ever. Equal questions, equal answers."""

    def happenings(self) -> Sequence[tuple[float, Fact]]:
        """What happens by itself, and when: seconds from the beginning."""

    def attempt(self, job: Job) -> Attempted:
        """How an attempt goes."""

    def approval(self, question: Question) -> Said | None:
        """How an approval is answered."""

    def manual(self, task: Task) -> Done | None:
        """What a person says of a manual step."""

    def unknown(self, run: StepRun, *, took_effect: bool) -> Decided | None:
        """What a person finds out about a step whose effect nobody knows."""

    def choice(self, run: StepRun) -> Chosen | None:
        """How a person wants it to go on."""

    def event(self, run: StepRun, step: WaitStep) -> Signalled | None:
        """Whether the event of a wait comes."""

    def verified(self, run: StepRun) -> float | None:
        """How many seconds after a step that waits for it the alert ends, if nothing ended it before."""

    def alert_ends(self) -> float | None:
        """How many seconds after the last step the alert ends, if nothing ended it before."""

    def ended(self, run: StepRun) -> Sequence[tuple[float, Fact]]:
        """What a step's success brings about, and how many seconds later."""
