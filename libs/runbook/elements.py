"""What steps and runbooks are made of: scalars and small parts, as frozen models.

Scalars are strict: a string is never read as a number, nor a number as a string. Nothing here is a float.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from libs.runbook import durations
from libs.runbook.canonical import OutsideProfile, canonical

SLUG: Final = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
MAX_TEXT: Final = 16_384
MAX_QUORUM: Final = 20

Risk: TypeAlias = Literal["low", "medium", "high"]
Effect: TypeAlias = Literal["read", "idempotent", "keyed", "unsafe"]
RepeatableEffect: TypeAlias = Literal["idempotent", "keyed"]
Severity: TypeAlias = Literal["low", "medium", "high", "critical"]
InputType: TypeAlias = Literal["string", "integer", "boolean"]
VALUE_TYPES: Final[Mapping[str, type]] = {"string": str, "integer": int, "boolean": bool}
InputValue: TypeAlias = StrictBool | StrictInt | StrictStr


def _duration(value: str) -> str:
    durations.milliseconds(value)
    return value


def _one_or_many(data: Any) -> Any:
    return [data] if isinstance(data, str) else data


def distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    """The values, of which no two are equal."""
    if len(set(values)) != len(values):
        raise ValueError("names a value twice")
    return values


def hashable(value: dict[str, Any]) -> dict[str, Any]:
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
Condition: TypeAlias = Annotated[StrictStr, StringConstraints(min_length=1, max_length=4096)]
Captures: TypeAlias = Annotated[dict[InputName, Condition], Field(min_length=1, max_length=50)]
ErrorCode: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,62}$")]
ErrorCodes: TypeAlias = Annotated[
    tuple[ErrorCode, ...], BeforeValidator(_one_or_many), AfterValidator(distinct), Field(min_length=1, max_length=20)
]
Role: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z][a-z0-9_.:-]{0,62}$")]
Roles: TypeAlias = Annotated[
    tuple[Role, ...], BeforeValidator(_one_or_many), AfterValidator(distinct), Field(min_length=1, max_length=20)
]
Arguments: TypeAlias = Annotated[dict[str, Any], AfterValidator(hashable)]
OneOf: TypeAlias = Annotated[
    tuple[Annotated[StrictStr, StringConstraints(min_length=1, max_length=1024)], ...],
    BeforeValidator(_one_or_many),
    AfterValidator(distinct),
    Field(min_length=1, max_length=100),
]
Severities: TypeAlias = Annotated[
    tuple[Severity, ...], BeforeValidator(_one_or_many), AfterValidator(distinct), Field(min_length=1)
]
Tag: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.:/-]{0,62}$")]
LabelName: TypeAlias = Annotated[StrictStr, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.:/-]{0,127}$")]


class Element(BaseModel):
    """Base of every part of a runbook: unknown keys are refused, nothing can be set afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_by_alias=True, validate_by_name=True)


class Verify(Element):
    """How success is seen: the alert ends within this time after the last step, or these check steps hold, or both."""

    alert: Literal["resolved"] | None = None
    within: Duration | None = None
    checks: Annotated[tuple[Slug, ...], AfterValidator(distinct), Field(min_length=1, max_length=20)] | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if (self.alert is None) != (self.within is None):
            raise ValueError("alert and within belong together: {alert: resolved, within: 2m}")
        if self.alert is None and self.checks is None:
            raise ValueError("say how success is seen: {alert: resolved, within: 2m}, or checks, or both")
        return self


class TagsSource(Element):
    """How a target's tags are read: GET of a URL that answers with a JSON object of strings."""

    url: TemplateText


class Target(Element):
    """What a step changes. Without the tag `allow-remediation: true` nothing is changed."""

    tags: TagsSource


class Retry(Element):
    """How often a step that failed for a passing reason is tried, first attempt included.

    `jitter`: a random time up to this is added to each pause. `on`: of the reasons that may pass, only these codes.
    """

    attempts: Annotated[StrictInt, Field(ge=1, le=20)] = 1
    backoff: Literal["constant", "exponential"] = "exponential"
    delay: Duration = "1s"
    max_delay: Duration = "60s"
    jitter: Duration | None = None
    on: ErrorCodes | None = None

    def covers(self, error_code: str) -> bool:
        """Whether a failure with this code, if it may pass, is tried again."""
        return self.on is None or error_code in self.on

    @property
    def jitter_seconds(self) -> float:
        """The most that is added to a pause."""
        return durations.seconds(self.jitter) if self.jitter else 0.0

    def pause_seconds(self, failures: int) -> float:
        """Seconds to wait after that many failures: constant, or doubled each time, up to `max_delay`."""
        delay = durations.milliseconds(self.delay)
        if self.backoff == "exponential":
            delay *= 2 ** (failures - 1)
        return min(delay, durations.milliseconds(self.max_delay)) / 1_000


class Rollback(Element):
    """The action that takes a step back, under the same lock; filled in when the step has succeeded.

    It may refer to what the step itself answered, as `outputs`. A failure that may pass is tried again; after that a
    person says how it goes on.
    """

    action: ActionName
    arguments: Arguments = Field(default={}, alias="with")
    effect: RepeatableEffect = "idempotent"
    timeout: Duration = "30s"


class Probe(Element):
    """How it is found out whether a step took effect that nobody knows of: an action that only reads, and a condition.

    `took_effect` is over `outputs`, what the probe answered, and over whatever the step may name.
    """

    action: ActionName
    arguments: Arguments = Field(default={}, alias="with")
    took_effect: Condition
    timeout: Duration = "30s"


class Escalation(Element):
    """Who is told when an execution has failed, one after the other, and what; by default its name, why and where."""

    channels: Annotated[tuple[TemplateText, ...], Field(min_length=1, max_length=10)]
    message: TemplateText | None = None
    severity: Severity = "critical"


class Level(Element):
    """Who may decide too, once nobody has for so long."""

    after: Duration
    approvers: Roles = ()
    groups: Roles = ()

    @model_validator(mode="after")
    def _somebody(self) -> Self:
        if not self.approvers and not self.groups:
            raise ValueError("say who may decide then: approvers, or groups")
        return self


class Terms(Element):
    """Who must agree, and by when: after `expires` it is rejected by itself.

    `approvers` are roles, `groups` are groups: whoever decides has one of the names; without any, policy alone decides.
    So many different people as `quorum` says must agree; one who says no is enough for a no. Who may decide is reminded
    `remind_after` so long (by default at half and at nine tenths of the time); levels of `escalation` come in addition.
    """

    expires: Duration = "15m"
    approvers: Roles = ()
    groups: Roles = ()
    quorum: Annotated[StrictInt, Field(ge=1, le=MAX_QUORUM)] = 1
    remind_after: Annotated[tuple[Duration, ...], AfterValidator(distinct), Field(max_length=10)] | None = None
    escalation: Annotated[tuple[Level, ...], Field(max_length=5)] = ()

    @property
    def conditions(self) -> dict[str, Any]:
        """What is asked for beside a single yes in time, JSON-ready; what is as usual is left out."""
        levels = [
            {
                "after_seconds": durations.seconds(level.after),
                "approvers": list(level.approvers),
                "groups": list(level.groups),
            }
            for level in self.escalation
        ]
        found = {"quorum": self.quorum, "groups": list(self.groups), "escalation": levels}
        usual: dict[str, Any] = {"quorum": 1, "groups": [], "escalation": []}
        asked = {name: value for name, value in found.items() if value != usual[name]}
        if self.remind_after is not None:
            asked["remind_after_seconds"] = [durations.seconds(after) for after in self.remind_after]
        return asked


class Approval(Terms):
    """Who must agree before a step is carried out, and what they are asked."""

    prompt: TemplateText | None = None


class FormField(Element):
    """One value that a person fills in. A field that is not required may be left out."""

    type: InputType = "string"
    label: Line | None = None
    required: StrictBool = True
    one_of: Annotated[tuple[InputValue, ...], Field(min_length=1, max_length=100)] | None = None
