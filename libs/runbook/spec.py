"""The runbook language, `ranger/v1`, as frozen models.

The language has room for more step types than this version knows: a new one is one more member of `steps.Step`, and
text that was accepted before stays accepted with the same hash. A default is part of the language and never changes.

Models are read only; lists and objects inside `with` must not be changed after validation.
"""

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import AfterValidator, Field, JsonValue, StrictBool, field_validator

from libs.runbook.canonical import MAX_INTEGER
from libs.runbook.elements import (
    Duration,
    Element,
    Escalation,
    InputName,
    InputType,
    InputValue,
    LabelName,
    Line,
    OneOf,
    Retry,
    Risk,
    Severities,
    Slug,
    Tag,
    TemplateText,
    Text,
    Verify,
    distinct,
)
from libs.runbook.graph import Graph
from libs.runbook.hashing import spec_hash
from libs.runbook.limits import Breaker, Budget, Concurrency, RateLimit
from libs.runbook.steps import STEP_TYPES, ActionStep, AnyStep, ApprovalStep, ManualStep, NotifyStep, Step

API_VERSION: Final = "ranger/v1"
CARRIED_OUT_TYPES: Final = frozenset(STEP_TYPES)
RESERVED_IDS: Final = frozenset({"stop", "end", "ask", "next"})
MAX_STEPS: Final = 200
_STEPS_SCHEMA: Final[dict[str, JsonValue]] = {"minItems": 1, "maxItems": MAX_STEPS}

Mode: TypeAlias = Literal["suggest", "approve", "auto"]
PLAN: Final = "plan"
BEGIN: Final = "begin"
UNDOING: Final = "rollback:"
"""Before the number of what is taken back: the paths of steps that take other steps back."""
TELLING: Final = "escalate:"
"""Before the number of who is told of a failure, from 0."""
UNDO: Final = ActionStep(
    id="rollback", type="action", action="rollback.step", effect="idempotent", on_failure="ask", risk="low",
    retry=Retry(attempts=3),
)  # fmt: skip
FIRST: Final[Mapping[Mode, Callable[[str], tuple[AnyStep, ...]]]] = {
    "auto": lambda _name: (),
    "approve": lambda name: (ApprovalStep(id=PLAN, type="approval", prompt=f"Carry out the runbook: {name}?"),),
    "suggest": lambda name: (
        ManualStep(id=BEGIN, type="manual", instructions=f"This runbook fits: {name}. Complete this step to begin it."),
    ),
}


def _some_steps(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    """Counted after the items are sound, so that a faulty only step is not also reported as none."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise ValueError(f"holds {len(steps)} steps; a runbook has 1 to {MAX_STEPS}")
    return steps


class Input(Element):
    """A value that a run needs: given by the caller, else read from the alert (`from`), else the default."""

    type: InputType = "string"
    description: Text = ""
    required: StrictBool = True
    source: TemplateText | None = Field(default=None, alias="from")
    default: InputValue | None = None
    one_of: Annotated[tuple[InputValue, ...], Field(min_length=1, max_length=100)] | None = None

    @field_validator("default")
    @classmethod
    def _within_profile(cls, value: str | int | None) -> str | int | None:
        if isinstance(value, int) and abs(value) > MAX_INTEGER:
            raise ValueError("integers must lie within ±(2^53 - 1)")
        return value


class Trigger(Element):
    """Fits an alert when every condition holds; a condition is one value, or a list of which one must be equal."""

    alert: OneOf | None = None
    severity: Severities | None = None
    labels: dict[LabelName, OneOf] = Field(default={})


class Runbook(Element):
    """One runbook, as its author wrote it."""

    api_version: Literal["ranger/v1"] = Field(alias="apiVersion")
    id: Slug
    name: Line
    description: Text = ""
    tags: Annotated[tuple[Tag, ...], AfterValidator(distinct), Field(max_length=50)] = ()
    risk: Risk
    mode: Mode
    inputs: dict[InputName, Input] = Field(default={}, max_length=100)
    triggers: Annotated[tuple[Trigger, ...], Field(max_length=50)] = ()
    verify: Verify | None = None
    deadline: Duration = "1h"
    on_failed: Literal["stop", "rollback"] = "stop"
    escalation: Escalation | None = None
    concurrency: Concurrency | None = None
    rate_limit: RateLimit | None = None
    budget: Budget | None = None
    cooldown: Duration | None = None
    breaker: Breaker | None = None
    steps: Annotated[tuple[Step, ...], AfterValidator(_some_steps), Field(json_schema_extra=_STEPS_SCHEMA)]

    def to_json(self) -> dict[str, Any]:
        """The spec as written: keys that the author left out stay out. `from_json` reads it back, equal."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """The spec of stored JSON.

        Raises:
            pydantic.ValidationError: it is not a spec that this version knows.
        """
        return cls.model_validate(data)

    @cached_property
    def digest(self) -> str:
        """The name of its content."""
        return spec_hash(self.to_json())

    @cached_property
    def sequence(self) -> tuple[AnyStep, ...]:
        """The outermost sequence as it is carried out: what `mode` puts first, then the steps."""
        return (*FIRST[self.mode](self.name), *self.steps)

    @cached_property
    def graph(self) -> Graph:
        """Where the steps stand, and where each leads."""
        return Graph(self.sequence)

    @cached_property
    def told(self) -> tuple[AnyStep, ...]:
        """Who is told of a failure: a notification each, which may fail."""
        if self.escalation is None:
            return ()
        message = self.escalation.message or f"The runbook has failed: {self.name}"
        return tuple(
            NotifyStep(
                id="escalate", type="notify", channel=channel, message=message, severity=self.escalation.severity,
                retry=Retry(attempts=3),
            )
            for channel in self.escalation.channels
        )  # fmt: skip

    @property
    def verifying(self) -> tuple[str, ...]:
        """The ids of the steps that say whether it succeeded."""
        return (self.verify.checks or ()) if self.verify else ()

    def step(self, path: str) -> AnyStep:
        """The step of that path, or id.

        Raises:
            KeyError: there is none.
        """
        if path.startswith(UNDOING):
            return UNDO
        if path.startswith(TELLING) and self.escalation is not None:
            return self.told[int(path.removeprefix(TELLING))]
        return self.graph.place(path).step

    def successor(self, path: str) -> str | None:
        """The id of the step that follows a success: `on_success`, else the next of its sequence; None at its end."""
        return self.graph.successor(path)

    def after_failure(self, path: str) -> tuple[bool, str | None]:
        """Whether a failure of the step is its sequence's, and the step that follows if not; None at the end."""
        return self.graph.after_failure(path)

    def reachable(self) -> frozenset[str]:
        """The ids of the steps that some execution may come to."""
        return self.graph.reachable()

    def risk_of(self, path: str) -> Risk:
        """The step's risk: its own, else the runbook's."""
        return self.step(path).own_risk or self.risk

    def needs_approval(self, path: str) -> bool:
        """Whether a person must grant the step before it takes effect.

        So it is for a step that says so, that cannot be taken back, or whose own risk is high; in a runbook of high
        risk for every step that changes something, or that a person carries out, and names no lower risk.
        """
        step = self.step(path)
        risky = step.own_risk == "high" or (self.risk_of(path) == "high" and step.mutating)
        by_hand = isinstance(step, ManualStep) and self.risk_of(path) == "high"
        return isinstance(step, ActionStep | ManualStep) and (step.own_approval is not None or risky or by_hand)
