"""What people ask of the executor, as bodies of requests."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from libs.common.rpc import Question
from libs.runbook.facts import Choice, Decision

Rationale = Annotated[str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True)]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]


class GetExecution(Question):
    """One execution with its steps, attempts and locks."""

    execution_id: Id


class ListSteps(Question):
    """Steps of an execution, those inside a step (`within`) or all; `after` is the last path of the page before."""

    execution_id: Id
    within: Annotated[str, Field(max_length=500)] = ""
    state: (
        Literal[
            "pending", "ready", "running", "waiting", "open", "unknown", "succeeded", "failed", "skipped", "cancelled"
        ]
        | None
    ) = None
    after: Annotated[str, Field(max_length=500)] | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ListExecutions(Question):
    """Executions of the caller's tenant, newest first; `after` is the last id of the page before."""

    incident_id: str | None = None
    state: Literal["pending", "running", "blocked", "failed", "aborted", "completed"] | None = None
    after: Id | None = None
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class DecideStep(Question):
    """What became of an unknown step, by a person's word."""

    execution_id: Id
    step: str
    decision: Decision
    rationale: Rationale


class StartExecution(Question):
    """Begin a runbook: its newest version unless one is named, for an incident, for one that it opens, or for none.

    A dry run reads and checks for real, and simulates the rest: nothing is changed, nobody is asked.
    """

    runbook_id: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    version: Annotated[int, Field(ge=1)] | None = None
    inputs: dict[str, str | int | bool] = Field(default_factory=dict)
    incident_id: Id | None = None
    open_incident: bool = False
    dry_run: bool = False


class PlanRunbook(StartExecution):
    """As `StartExecution`, but only asked: what it would do, and what stands in its way. Nothing changes."""


class CompleteStep(Question):
    """What a person did for a manual step. `values` answer its form; `approval_ids` are its grants."""

    execution_id: Id
    step: str
    outcome: Literal["succeeded", "failed"]
    evidence_ref: Annotated[str, StringConstraints(max_length=1000)] = ""
    approval_ids: Annotated[list[Id], Field(default_factory=list, max_length=16)]
    values: dict[str, str | int | bool] = Field(default_factory=dict)
    rationale: Annotated[str, StringConstraints(max_length=2000)] = ""


class FailExecution(Question):
    """End an execution as failed, by a person's word."""

    execution_id: Id
    rationale: Rationale


class RevokeApproval(Question):
    """Take a grant back, unless it was used."""

    approval_id: Id
    rationale: Rationale


class AbortExecution(Question):
    """End an execution, whatever state it is in."""

    execution_id: Id
    rationale: Rationale


class BreakLock(Question):
    """Take a resource's lock away from whoever holds it."""

    resource_id: Annotated[str, StringConstraints(min_length=1, max_length=512)]
    rationale: Rationale


class GetKillSwitch(Question):
    """The switches that concern the caller's tenant."""


class SetKillSwitch(Question):
    """Hold back mutations of everyone (`global`) or of the caller's tenant, or let them go."""

    engaged: bool
    reason: Rationale
    scope: Literal["global", "tenant"] = "tenant"


class PauseExecution(Question):
    """Let nothing more of an execution begin."""

    execution_id: Id
    rationale: Rationale


class ResumeExecution(Question):
    """Let an execution that was paused go on."""

    execution_id: Id
    rationale: Rationale


class SkipStep(Question):
    """Leave out a step that waits, has not begun, or failed and asks."""

    execution_id: Id
    step: str
    rationale: Rationale


class ChooseForStep(Question):
    """How it goes on with a step that failed and asks."""

    execution_id: Id
    step: str
    choice: Choice
    rationale: Rationale


class SignalExecution(Question):
    """An event has come that steps wait for; `data` becomes their outputs."""

    execution_id: Id
    name: Annotated[str, StringConstraints(min_length=1, max_length=63)]
    data: dict[str, str | int | bool] = Field(default_factory=dict)
    rationale: Rationale


class RollBackExecution(Question):
    """Take back what an execution changed."""

    execution_id: Id
    rationale: Rationale


class TerminateExecution(Question):
    """End an execution by force, without waiting for anything."""

    execution_id: Id
    rationale: Rationale


class RetryExecution(Question):
    """Begin a new execution where another failed or was aborted.

    `repeat_unknown`: also if nobody knows whether the step where it begins took effect.
    """

    execution_id: Id
    rationale: Rationale
    repeat_unknown: bool = False
