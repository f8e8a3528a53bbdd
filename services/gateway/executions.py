"""Executions: what the executor shows of them, and what a person may tell it."""

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute, reply
from services.gateway.parameters import Limit, Name, Parameters, Rationale, Scalar, StepPath, Text, Uuid, UuidText, Why
from services.gateway.provenance import provenance

StepState = Literal[
    "pending", "ready", "running", "waiting", "open", "unknown", "succeeded", "failed", "skipped", "cancelled"
]
router = APIRouter(prefix="/executions", tags=["executions"], route_class=StrictRoute)


class Filter(Parameters):
    """Which executions: at most `limit`, after one of them."""

    incident_id: Text | None = None
    state: Literal["pending", "running", "blocked", "failed", "aborted", "completed"] | None = None
    after: UuidText | None = None
    limit: Limit | None = None


class StepFilter(Parameters):
    """Which steps: in this state, inside the step of this path, at most `limit`, after one of them."""

    within: Text | None = None
    state: StepState | None = None
    after: Text | None = None
    limit: Limit | None = None


class Decision(Parameters):
    """What became of a step whose effect nobody knows, and how the person knows it."""

    decision: Literal["succeeded", "failed", "abort"]
    rationale: Rationale


class Completion(Parameters):
    """What a person did, or saw, in a manual step.

    `evidence_ref` names what proves it; high risk is refused without evidence or approvals that match.
    """

    outcome: Literal["succeeded", "failed"]
    evidence_ref: Annotated[str, Field(max_length=1000)] | None = None
    approval_ids: Annotated[list[UuidText], Field(max_length=16)] | None = None
    values: Annotated[dict[Name, Scalar], Field(max_length=200, description="what the step's form asks")] | None = None
    rationale: Rationale | None = None


@router.get("", response_model=answers.Executions)
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Executions of the caller's tenant."""
    return await ask("executor", "list", which.given())


@router.get("/{execution_id}", response_model=answers.ExecutionWhole)
async def show(ask: Ask, execution_id: Uuid) -> Response:
    """One execution: its state, the step it is at, every step and attempt so far, and its provenance in the log."""
    whole, proven = await asyncio.gather(
        ask.content("executor", "get", {"execution_id": execution_id}), provenance(ask, "execution", execution_id)
    )
    return reply(whole | proven)


@router.get("/{execution_id}/steps", response_model=answers.Steps)
async def steps(ask: Ask, execution_id: Uuid, which: Annotated[StepFilter, Query()]) -> Response:
    """Every step of an execution, those inside branches and loops included, page by page."""
    return await ask("executor", "list_steps", {"execution_id": execution_id, **which.given()})


@router.post("/{execution_id}/steps/{step:path}/complete")
async def complete(ask: Ask, execution_id: Uuid, step: StepPath, done: Completion) -> Response:
    """Finish a manual step that waits for a person."""
    return await ask("executor", "complete_step", {"execution_id": execution_id, "step": step, **done.given()})


@router.post("/{execution_id}/steps/{step:path}/decide")
async def decide(ask: Ask, execution_id: Uuid, step: StepPath, decision: Decision) -> Response:
    """Say what became of an unknown step."""
    return await ask("executor", "decide_step", {"execution_id": execution_id, "step": step, **decision.given()})


@router.post("/{execution_id}/abort")
async def abort(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """End an execution, whatever state it is in."""
    return await ask("executor", "abort", {"execution_id": execution_id, **why.given()})


@router.post("/{execution_id}/fail")
async def fail(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """Declare that an execution did not help: it ends as failed, and its incident is flagged."""
    return await ask("executor", "fail", {"execution_id": execution_id, **why.given()})
