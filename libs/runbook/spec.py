"""The runbook language, `ranger/v1`, as frozen models.

A step is told apart by its `type`. The language has room for more types than this version carries out: a new one is
one more member of `Step`, and text that was accepted before stays accepted with the same hash. Scalars are strict: a
string is never read as a number, nor a number as a string. Nothing here is a float.

Models are read only; lists and objects inside `with` must not be changed after validation.
"""

from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
)

from libs.runbook import durations
from libs.runbook.canonical import MAX_INTEGER, OutsideProfile, canonical

API_VERSION: Final = "ranger/v1"
STEP_TYPES: Final = ("action",)
RESERVED_IDS: Final = frozenset({"stop", "end", "ask", "next"})
SLUG: Final = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
MAX_STEPS: Final = 200
MAX_TEXT: Final = 16_384
_STEPS_SCHEMA: Final[dict[str, JsonValue]] = {"minItems": 1, "maxItems": MAX_STEPS}

Risk: TypeAlias = Literal["low", "medium", "high"]
Mode: TypeAlias = Literal["suggest", "approve", "auto"]
Effect: TypeAlias = Literal["read", "idempotent", "keyed", "unsafe"]
Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
InputType: TypeAlias = Literal["string", "integer", "boolean"]
InputValue: TypeAlias = StrictBool | StrictInt | StrictStr


def _duration(value: str) -> str:
    durations.milliseconds(value)
    return value


def _step_type(data: Any) -> Any:
    """Refuses step types of later versions by name, before anything else about the step is looked at."""
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind not in STEP_TYPES:
        raise ValueError(f"step type '{kind}' is not accepted; this version accepts: {', '.join(STEP_TYPES)}")
    return data


def _one_or_many(data: Any) -> Any:
    return [data] if isinstance(data, str) else data


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) != len(values):
        raise ValueError("names a value twice")
    return values


def _some_steps(steps: tuple[Any, ...]) -> tuple[Any, ...]:
    """Counted after the items are sound, so that a faulty only step is not also reported as none."""
    if not 1 <= len(steps) <= MAX_STEPS:
        raise ValueError(f"holds {len(steps)} steps; a runbook has 1 to {MAX_STEPS}")
    return steps


def _hashable(value: dict[str, Any]) -> dict[str, Any]:
    """Arguments lie inside the hash profile, without null: `steps[0].with.x` is set or left out."""
    try:
        canonical(value)
    except OutsideProfile as error:
        raise ValueError(str(error)) from None
    _refuse_null(value, "")
    return value


def _refuse_null(value: Any, path: str) -> None:
    if value is None:
        raise ValueError(f"{path}: null is not accepted; leave the key out")
    if isinstance(value, dict):
        for key, item in value.items():
            _refuse_null(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _refuse_null(item, f"{path}[{index}]")


Slug: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=SLUG)]
Line: TypeAlias = Annotated[StrictStr, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\n\r]+$")]
Text: TypeAlias = Annotated[StrictStr, StringConstraints(max_length=MAX_TEXT)]
TemplateText: TypeAlias = Annotated[StrictStr, StringConstraints(min_length=1, max_length=4096)]
Duration: TypeAlias = Annotated[
    StrictStr, AfterValidator(_duration), WithJsonSchema({"type": "string", "pattern": durations.PATTERN})
]
InputName: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
ActionName: TypeAlias = Annotated[
    StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,30}(\.[a-z][a-z0-9_]{0,30}){1,3}$")
]
Arguments: TypeAlias = Annotated[dict[str, Any], AfterValidator(_hashable)]
OneOf: TypeAlias = Annotated[
    tuple[Annotated[StrictStr, StringConstraints(min_length=1, max_length=1024)], ...],
    BeforeValidator(_one_or_many),
    AfterValidator(_distinct),
    Field(min_length=1, max_length=100),
]
Severities: TypeAlias = Annotated[
    tuple[Severity, ...], BeforeValidator(_one_or_many), AfterValidator(_distinct), Field(min_length=1)
]
Tag: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.:/-]{0,62}$")]
LabelName: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$")]


class Element(BaseModel):
    """Base of every part of a runbook: unknown keys are refused, nothing can be set afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True, validate_by_name=True)


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
    labels: dict[LabelName, OneOf] = {}


class Verify(Element):
    """What must be seen after the last step: the alert has ended within this time."""

    alert: Literal["resolved"]
    within: Duration


class TagsSource(Element):
    """How a target's tags are read: GET of a URL that answers with a JSON object of strings."""

    url: TemplateText


class Target(Element):
    """What a step changes. Without the tag `allow-remediation: true` nothing is changed."""

    tags: TagsSource


class Retry(Element):
    """How often a step that failed for a passing reason is tried, first attempt included."""

    attempts: Annotated[StrictInt, Field(ge=1, le=20)] = 1
    backoff: Literal["constant", "exponential"] = "exponential"
    delay: Duration = "1s"
    max_delay: Duration = "60s"

    def pause_seconds(self, failures: int) -> float:
        """Seconds to wait after that many failures: constant, or doubled each time, up to `max_delay`."""
        delay = durations.milliseconds(self.delay)
        if self.backoff == "exponential":
            delay *= 2 ** (failures - 1)
        return min(delay, durations.milliseconds(self.max_delay)) / 1_000


class Rollback(Element):
    """The action that takes a step back."""

    action: ActionName
    arguments: Arguments = Field(default={}, alias="with")


class ActionStep(Element):
    """One action. `effect` says what a second execution of it would do; `resource` is the key of its lock.

    read        changes nothing
    idempotent  a second time changes nothing more
    keyed       the target recognises the idempotency key and answers a second time from memory
    unsafe      a second time may do harm: never tried again by itself
    """

    id: Slug
    name: Line | None = None
    description: Text = ""
    type: Literal["action"]
    action: ActionName
    arguments: Arguments = Field(default={}, alias="with")
    effect: Effect
    risk: Risk | None = None
    resource: TemplateText | None = None
    target: Target | None = None
    requires_firing: StrictBool = False
    timeout: Duration = "30s"
    retry: Retry = Retry()
    verify: Verify | None = None
    rollback: Rollback | None = None
    irreversible: StrictBool = False
    on_success: Slug | None = None
    on_failure: Slug = "stop"

    @property
    def mutating(self) -> bool:
        """Whether it may change anything."""
        return self.effect != "read"


Step: TypeAlias = Annotated[ActionStep, BeforeValidator(_step_type)]


class Runbook(Element):
    """One runbook, as its author wrote it."""

    api_version: Literal["ranger/v1"] = Field(alias="apiVersion")
    id: Slug
    name: Line
    description: Text = ""
    tags: Annotated[tuple[Tag, ...], AfterValidator(_distinct), Field(max_length=50)] = ()
    risk: Risk
    mode: Mode
    inputs: Annotated[dict[InputName, Input], Field(max_length=100)] = {}
    triggers: Annotated[tuple[Trigger, ...], Field(max_length=50)] = ()
    verify: Verify | None = None
    deadline: Duration = "1h"
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

    def step(self, step_id: str) -> ActionStep:
        """The step of that id.

        Raises:
            KeyError: there is none.
        """
        for step in self.steps:
            if step.id == step_id:
                return step
        raise KeyError(step_id)

    def successor(self, step_id: str) -> str | None:
        """The id of the step that follows a success: `on_success`, else the next one in the list; None at the end."""
        ids = [step.id for step in self.steps]
        step = self.step(step_id)
        following = ids[ids.index(step_id) + 1 :]
        return step.on_success or (following[0] if following else None)
