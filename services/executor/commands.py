"""What people ask of the executor, as bodies of requests."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from libs.common.rpc import Question
from libs.runbook.facts import Decision

Rationale = Annotated[str, StringConstraints(min_length=3, max_length=2000, strip_whitespace=True)]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]


class GetExecution(Question):
    """One execution with its steps, attempts and locks."""

    execution_id: Id


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
