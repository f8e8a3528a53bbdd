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
    StrictInt,
    StrictStr,
    StringConstraints,
    field_validator,
    model_validator,
)

from libs.runbook import durations
from libs.runbook.acting import NOTIFY_ACTION, ActingStep, ActionStep, CheckStep, NotifyStep, StepBase
from libs.runbook.elements import (
    MAX_TEXT,
    Approval,
    Condition,
    Duration,
    Effect,
    Element,
    FormField,
    InputName,
    Risk,
    Slug,
    TemplateText,
    Terms,
    hashable,
)
from libs.runbook.expressions import OPEN

__all__ = [
    "ALERT_RESOLVED",
    "EACH",
    "FAIL",
    "MAX_BRANCHES",
    "MAX_CONCURRENCY",
    "MAX_ITERATIONS",
    "MAX_WAIT_SECONDS",
    "NOTIFY_ACTION",
    "STEP_TYPES",
    "ActingStep",
    "ActionStep",
    "AnyStep",
    "ApprovalStep",
    "Branch",
    "CheckStep",
    "CompositeStep",
    "DecisionStep",
    "LoopStep",
    "ManualStep",
    "NotifyStep",
    "ParallelStep",
    "Step",
    "StepBase",
    "WaitStep",
]

STEP_TYPES: Final = ("action", "check", "notify", "wait", "manual", "approval", "decision", "parallel", "loop")
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


class ApprovalStep(StepBase, Terms):
    """A question about the whole plan. Nobody's answer in time is a no.

    What those who agree fill in (`form`) becomes the step's outputs, beside `approval_id`; they have to agree on that,
    too.
    """

    type: Literal["approval"]
    of: Literal["plan"] = "plan"
    prompt: TemplateText
    risk: Risk | None = None
    form: dict[InputName, FormField] = Field(default={}, max_length=50)

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
