"""What the executor reasons about: an execution under its lock, an attempt of an action, and how an attempt ended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from msgspec import Struct, field
from msgspec.structs import replace

from libs.common.contracts.execution import Risk
from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.ids import derived_id
from libs.common.policy import Principal
from libs.runbook.frame import Frame
from libs.runbook.planning import PlanFacts
from libs.runbook.rendering import RenderedAction
from libs.runbook.spec import Runbook
from libs.runbook.steps import NOTIFY_ACTION

SERVICE: Final = "executor"
ACTOR: Final = "svc_executor"
GLOBAL_SCOPE: Final = "global"


class Execution(Struct, frozen=True):
    """One execution, as read under its row's lock. `version` counts its published facts.

    A dry run changes nothing and asks nobody. `retry_of` is the execution that it goes on with, from `retry_from` on.
    `marking` is its incident's. `rights` are the principal's who began it, as it was then; None where a fact did.
    """

    execution_id: str
    tenant_id: str
    incident_id: str
    runbook_id: str
    runbook_version: int
    spec_hash: str
    plan_hash: str
    initiator: str
    correlation: str
    traceparent: str
    inputs: Mapping[str, Any]
    facts: PlanFacts
    version: int
    frame: Frame
    spec: Runbook
    dry_run: bool = False
    retry_of: str = ""
    retry_from: str = ""
    marking: Marking = UNMARKED
    rights: Mapping[str, Any] | None = None

    @property
    def initiating(self) -> Principal:
        """Whoever began it, with the rights that they had then; what a fact began is the service's own."""
        return Principal.system(SERVICE) if self.rights is None else Principal.from_wire(self.rights)

    def with_frame(self, frame: Frame, facts: int) -> "Execution":
        """The same execution with another frame, `facts` facts later."""
        return replace(self, frame=frame, version=self.version + facts)

    def step_run_id(self, path: str, visit: int) -> str:
        """The id of a visit of a step: the same in every process and for ever."""
        return derived_id("step_run", self.execution_id, path, str(visit))


def idem_key(step_run_id: str) -> str:
    """What the target sees: one key a visit, the same across its attempts."""
    return f"rr-{step_run_id}"


class Attempt(Struct, frozen=True):
    """One row of the action log, as a worker or a sweeper needs it."""

    action_id: str
    tenant_id: str
    step_run_id: str
    execution_id: str
    incident_id: str
    path: str
    visit: int
    attempt: int
    idem_key: str
    action: str
    effect: str
    action_hash: str
    rendered: bytes
    resource_id: str | None
    tags_url: str | None
    timeout_seconds: float
    requires_firing: bool
    traceparent: str
    needs_approval: bool = False
    risk: Risk = "low"
    plan_hash: str = ""
    requester: str = ""
    held_reason: str | None = None
    worker_id: str = ""
    fence: int = 0
    started_at: datetime | None = None

    @property
    def mutating(self) -> bool:
        """Whether it may change a target: a notification does not, and goes out while mutations are held back."""
        return self.effect != "read" and self.action != NOTIFY_ACTION


@dataclass(frozen=True, slots=True)
class KeptRollback:
    """How the change of that number is taken back, filled in when it took effect; or why that could not be done."""

    number: int
    path: str
    visit: int
    rendered: RenderedAction | None
    refusal: str = ""


Ending: TypeAlias = Literal["succeed", "fail", "doubt"]


class Settlement(Struct, frozen=True):
    """How an attempt ended, as its worker saw it. `doubt` means that nobody can say whether it took effect.

    `going_on`: the worker has room for the step that follows.
    """

    attempt: Attempt
    ending: Ending
    outputs: Mapping[str, Any] = field(default_factory=dict)
    evidence: Mapping[str, Any] = field(default_factory=dict)
    error_code: str = ""
    message: str = ""
    retryable: bool = False
    traceparent: str = ""
    going_on: bool = False


class Hint(Struct, frozen=True):
    """A word to the workers: this action may be ready. It may come twice, late, or never."""

    action_id: str
    stream: str
    traceparent: str
