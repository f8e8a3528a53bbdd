"""The types of steps, told apart by `type`.

| type     | what it is                          | succeeds when                                             |
| -------- | ----------------------------------- | --------------------------------------------------------- |
| action   | one action                          | its result says so                                        |
| check    | an action that reads, or nothing    | `expect` holds over what the action answered              |
| notify   | the action `notify.send`            | the message was handed over                               |
| wait     | a durable timer                     | its time has come                                         |
| manual   | instructions for a person           | a person says that it was done                            |
| approval | a question to a person              | somebody who may has granted it                           |
| decision | a choice between later steps        | a condition holds, or `otherwise` names a step            |
| parallel | branches side by side               | as many of them succeed as `join` asks for                |
| loop     | the same steps for each of a list   | every iteration succeeds                                  |

Every step has `when`, `requires_firing`, `on_success` and `on_failure`. Conditions are written without `${{ }}`.
The steps of a branch or an iteration are a sequence of their own, which they do not leave. Ids are unique in a runbook.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from libs.runbook import durations
from libs.runbook.elements import (
    MAX_TEXT,
    ActionName,
    Approval,
    Arguments,
    Captures,
    Condition,
    Duration,
    Effect,
    Element,
    FormField,
    InputName,
    Line,
    Probe,
    Retry,
    Risk,
    Roles,
    Rollback,
    Severity,
    Slug,
    Target,
    TemplateText,
    Text,
    Verify,
    hashable,
)
from libs.runbook.expressions import OPEN

STEP_TYPES: Final = ("action", "check", "notify", "wait", "manual", "approval", "decision", "parallel", "loop")
NOTIFY_ACTION: Final = "notify.send"
MAX_WAIT_SECONDS: Final = durations.MAX_MILLISECONDS // 1_000
ALERT_RESOLVED: Final = "alert-resolved"
FAIL: Final = "fail"
MAX_BRANCHES: Final = 20
MAX_CONCURRENCY: Final = 100
MAX_ITERATIONS: Final = 10_000

EACH: Final = "*"


def _items(items: tuple[Any, ...]) -> tuple[Any, ...]:
    """Items lie inside the hash profile, without null."""
    hashable({"over": list(items)})
    return items


Instructions: TypeAlias = Annotated[StrictStr, StringConstraints(min_length=1, max_length=MAX_TEXT)]


class StepBase(Element):
    """What every step says: when it applies, and where it leads.

    `on_success` is the id of a later step, or `end`. `on_failure` is `stop`, `continue` (as after a success), `ask`
    (a person says: again, leave it out, or abort) or the id of a later step. Steps only lead forward, so each is
    reached at most once.
    """

    id: Slug
    name: Line | None = None
    description: Text = ""
    when: Condition | None = None
    requires_firing: StrictBool = False
    on_success: Slug | None = None
    on_failure: Slug = "stop"

    @property
    def action_name(self) -> str:
        """The action that a worker carries out; empty if the step needs none."""
        return ""

    @property
    def effect_name(self) -> Effect:
        """What a second execution of it would do."""
        return "read"

    @property
    def mutating(self) -> bool:
        """Whether it may change what the runbook is about."""
        return False

    @property
    def tries(self) -> Retry:
        """How often it is tried."""
        return Retry()

    @property
    def captures(self) -> Captures:
        """The outputs that it names: name → expression over what the action answered."""
        return {}

    @property
    def own_approval(self) -> Approval | None:
        """What it says about the approval that it needs, if it says anything."""
        return None

    @property
    def own_risk(self) -> Risk | None:
        """The risk that it names."""
        return None


class ActingStep(StepBase):
    """A step that a worker carries out."""

    timeout: Duration = "30s"
    retry: Retry = Retry()
    capture: Captures | None = None

    @property
    def tries(self) -> Retry:
        """How often it is tried."""
        return self.retry

    @property
    def captures(self) -> Captures:
        """The outputs that it names."""
        return self.capture or {}


class ActionStep(ActingStep):
    """One action. `effect` says what a second execution of it would do; `resource` is the key of its lock.

    With `verify` it has succeeded only when the alert has ended within that time after it took effect. A `probe` is
    asked when nobody knows whether it took effect.

    read        changes nothing
    idempotent  a second time changes nothing more
    keyed       the target recognises the idempotency key and answers a second time from memory
    unsafe      a second time may do harm: never tried again by itself
    """

    type: Literal["action"]
    action: ActionName
    arguments: Arguments = Field(default={}, alias="with")
    effect: Effect
    risk: Risk | None = None
    resource: TemplateText | None = None
    target: Target | None = None
    verify: Verify | None = None
    rollback: Rollback | None = None
    probe: Probe | None = None
    irreversible: StrictBool = False
    approval: Approval | None = None

    @property
    def action_name(self) -> str:
        """The action that a worker carries out."""
        return self.action

    @property
    def effect_name(self) -> Effect:
        """What a second execution of it would do."""
        return self.effect

    @property
    def mutating(self) -> bool:
        """Whether it may change anything."""
        return self.effect != "read"

    @property
    def own_approval(self) -> Approval | None:
        """What it says about its approval; an irreversible step needs one in any case."""
        return self.approval or (Approval() if self.irreversible else None)

    @property
    def own_risk(self) -> Risk | None:
        """The risk that it names."""
        return self.risk


class CheckStep(ActingStep):
    """A condition over `outputs` of an action that only reads, or over what is known without one.

    A condition that does not hold fails the step with `check_failed`, which `retry` tries again.
    """

    type: Literal["check"]
    action: ActionName | None = None
    arguments: Arguments = Field(default={}, alias="with")
    effect: Literal["read"] = "read"
    expect: Condition

    @property
    def action_name(self) -> str:
        """The action that a worker carries out, if there is one."""
        return self.action or ""


class NotifyStep(ActingStep):
    """A message to a channel; sent again, the same message is the same notification."""

    type: Literal["notify"]
    channel: TemplateText
    message: TemplateText
    severity: Severity | None = None

    @property
    def action_name(self) -> str:
        """The action that a worker carries out."""
        return NOTIFY_ACTION

    @property
    def effect_name(self) -> Effect:
        """What a second execution of it would do."""
        return "idempotent"


class WaitStep(StepBase):
    """A time that passes, a moment that comes, or an event, also while every process is down.

    `for` (`30s`), `seconds` and `until` (`2026-03-01T10:00:00Z`) may be templates. `event` is a name that somebody
    signals to the execution, or `alert-resolved`, the alert's end; it is waited for `timeout` long, then the step has
    failed.
    """

    type: Literal["wait"]
    duration: TemplateText | None = Field(default=None, alias="for")
    seconds: Annotated[StrictInt, Field(ge=1, le=MAX_WAIT_SECONDS)] | TemplateText | None = None
    until: TemplateText | None = None
    event: Slug | None = None
    timeout: Duration | None = None

    @model_validator(mode="after")
    def _one_time(self) -> Self:
        if sum(given is not None for given in (self.duration, self.seconds, self.until, self.event)) != 1:
            raise ValueError("say how long: either for, such as 30s, or seconds, or until, or event")
        if self.duration is not None and OPEN not in self.duration:
            durations.milliseconds(self.duration)
        if isinstance(self.seconds, str) and OPEN not in self.seconds:
            raise ValueError("seconds must be a whole number, or a template that yields one")
        if (self.event is None) != (self.timeout is None):
            raise ValueError("timeout belongs to event, and an event needs one: say how long it is waited for")
        return self


class ManualStep(StepBase):
    """What a person does and confirms. What they fill in becomes the step's outputs.

    Without `timeout` it waits until the runbook's deadline.
    """

    type: Literal["manual"]
    instructions: Instructions
    form: dict[InputName, FormField] = Field(default={}, max_length=50)
    evidence: Literal["required", "optional"] = "optional"
    risk: Risk | None = None
    approval: Approval | None = None
    timeout: Duration | None = None

    @property
    def effect_name(self) -> Effect:
        """What a second execution of it would do: nobody can say."""
        return "unsafe"

    @property
    def own_approval(self) -> Approval | None:
        """What it says about its approval."""
        return self.approval

    @property
    def own_risk(self) -> Risk | None:
        """The risk that it names."""
        return self.risk


class ApprovalStep(StepBase):
    """A question about the whole plan. Nobody's answer in time is a no."""

    type: Literal["approval"]
    of: Literal["plan"] = "plan"
    prompt: TemplateText
    expires: Duration = "15m"
    approvers: Roles = ()
    risk: Risk | None = None

    @property
    def own_risk(self) -> Risk | None:
        """The risk that it names."""
        return self.risk


class Branch(Element):
    """Where a decision leads if its condition holds."""

    when: Condition
    goto: Slug


class DecisionStep(StepBase):
    """The first branch whose condition holds is taken, else `otherwise`: a later step, `end`, or `fail`."""

    type: Literal["decision"]
    branches: Annotated[tuple[Branch, ...], Field(min_length=1, max_length=50)]
    otherwise: Slug


class CompositeStep(StepBase):
    """A step that holds sequences of steps, which go on side by side.

    `failures: stop`: as soon as it cannot succeed any more, what has not begun does not begin; what is under way is
    let finish. `collect`: everything is carried out before it fails.
    """

    failures: Literal["stop", "collect"] = "stop"

    @property
    def bodies(self) -> Mapping[str, tuple["AnyStep", ...]]:
        """The sequences that it holds, by the name that stands in their steps' paths (`*`: one an iteration)."""
        raise NotImplementedError


class ParallelStep(CompositeStep):
    """Branches side by side. It succeeds when all of them, any, or that many have succeeded; the others then stop."""

    type: Literal["parallel"]
    branches: Annotated[dict[Slug, tuple["Step", ...]], Field(min_length=1, max_length=MAX_BRANCHES)]
    join: Literal["all", "any"] | Annotated[StrictInt, Field(ge=1, le=MAX_BRANCHES)] = "all"

    @field_validator("branches")
    @classmethod
    def _none_empty(cls, branches: Mapping[str, tuple[Any, ...]]) -> Mapping[str, tuple[Any, ...]]:
        empty = [name for name, steps in branches.items() if not steps]
        if empty:
            raise ValueError(f"{', '.join(empty)}: a branch needs at least one step")
        return branches

    @model_validator(mode="after")
    def _enough_branches(self) -> Self:
        if isinstance(self.join, int) and self.join > len(self.branches):
            raise ValueError(f"join asks for {self.join} branches, but there are {len(self.branches)}")
        return self

    @property
    def bodies(self) -> Mapping[str, tuple["AnyStep", ...]]:
        """The branches."""
        return self.branches

    @property
    def needed(self) -> int:
        """How many branches must succeed."""
        return {"all": len(self.branches), "any": 1}[self.join] if isinstance(self.join, str) else self.join


class LoopStep(CompositeStep):
    """The same steps once for each item of a list; in them `each.item` and `each.index` (from 0) are known.

    Up to `concurrency` iterations go on at the same time, in the order of the list. A list of more than `limit` items
    fails the step before anything begins.
    """

    type: Literal["loop"]
    over: Annotated[tuple[Any, ...], AfterValidator(_items), Field(max_length=MAX_ITERATIONS)] | TemplateText
    concurrency: Annotated[StrictInt, Field(ge=1, le=MAX_CONCURRENCY)] = 1
    limit: Annotated[StrictInt, Field(ge=1, le=MAX_ITERATIONS)] = 1_000
    steps: Annotated[tuple["Step", ...], Field(min_length=1)]

    @property
    def bodies(self) -> Mapping[str, tuple["AnyStep", ...]]:
        """The body of every iteration."""
        return {EACH: self.steps}


def _step_type(data: Any) -> Any:
    """Refuses step types of later versions by name, before anything else about the step is looked at."""
    kind = data.get("type") if isinstance(data, dict) else None
    if isinstance(kind, str) and kind not in STEP_TYPES:
        raise ValueError(f"step type '{kind}' is not accepted; this version accepts: {', '.join(STEP_TYPES)}")
    return data


AnyStep: TypeAlias = (
    ActionStep | CheckStep | NotifyStep | WaitStep | ManualStep | ApprovalStep | DecisionStep | ParallelStep | LoopStep
)
Step: TypeAlias = Annotated[Annotated[AnyStep, Field(discriminator="type")], BeforeValidator(_step_type)]

ParallelStep.model_rebuild()
LoopStep.model_rebuild()
