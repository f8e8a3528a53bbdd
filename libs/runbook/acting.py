"""What every step says, and the steps that a worker carries out: actions, checks, notifications."""

from typing import Final, Literal

from pydantic import Field, StrictBool

from libs.runbook.elements import (
    ActionName,
    Approval,
    Arguments,
    Captures,
    Condition,
    Duration,
    Effect,
    Element,
    Line,
    Probe,
    Retry,
    Risk,
    Rollback,
    Severity,
    Slug,
    Target,
    TemplateText,
    Text,
    Verify,
)

NOTIFY_ACTION: Final = "notify.send"


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
