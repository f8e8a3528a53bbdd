"""What people command while an execution goes on, and after it ended: each says why, and what it did is answered."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import Name, Parameters, Rationale, Scalar, StepPath, Uuid, Why

router = APIRouter(prefix="/executions", tags=["executions"], route_class=StrictRoute)


class Choice(Parameters):
    """How it goes on with a step that failed and asks."""

    choice: Literal["retry", "skip", "abort"]
    rationale: Rationale


class Signal(Parameters):
    """An event that steps wait for; `data` becomes their outputs."""

    name: Annotated[str, Field(min_length=1, max_length=63)]
    data: Annotated[dict[Name, Scalar], Field(max_length=200)] | None = None
    rationale: Rationale


class Retry(Parameters):
    """Why it is worth another try; `repeat_unknown`: also what nobody knows the effect of."""

    rationale: Rationale
    repeat_unknown: bool | None = None


@router.post("/{execution_id}/pause", response_model=answers.Commanded)
async def pause(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """Let nothing more of it begin once this is answered; what runs (`running`) is let finish, and times go on."""
    return await ask("executor", "pause", {"execution_id": execution_id, **why.given()})


@router.post("/{execution_id}/resume", response_model=answers.Commanded)
async def resume(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """Let it go on where it was paused."""
    return await ask("executor", "resume", {"execution_id": execution_id, **why.given()})


@router.post("/{execution_id}/terminate", response_model=answers.Commanded)
async def terminate(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """End it by force, whatever state it is in: what runs (`unstopped`) is unknown from now on, its locks are free."""
    return await ask("executor", "terminate", {"execution_id": execution_id, **why.given()})


@router.post("/{execution_id}/rollback", response_model=answers.Commanded)
async def rollback(ask: Ask, execution_id: Uuid, why: Why) -> Response:
    """Take back what it changed, the last change first; then it has failed."""
    return await ask("executor", "rollback", {"execution_id": execution_id, **why.given()})


@router.post("/{execution_id}/signal", response_model=answers.Commanded)
async def signal(ask: Ask, execution_id: Uuid, event: Signal) -> Response:
    """Tell the steps that wait for it (`heard`) that an event has come."""
    return await ask("executor", "signal", {"execution_id": execution_id, **event.given()})


@router.post("/{execution_id}/retry", status_code=202, response_model=answers.Retried)
async def retry(ask: Ask, execution_id: Uuid, how: Retry) -> Response:
    """Begin a new execution where this one failed or was aborted: same version, inputs and incident.

    What this one has been through is carried over and not done again; questions are asked again.
    """
    return await ask("executor", "retry", {"execution_id": execution_id, **how.given()}, 202)


@router.post("/{execution_id}/steps/{step:path}/skip", response_model=answers.Commanded)
async def skip(ask: Ask, execution_id: Uuid, step: StepPath, why: Why) -> Response:
    """Leave out a step that waits, has not begun, or failed and asks."""
    return await ask("executor", "skip_step", {"execution_id": execution_id, "step": step, **why.given()})


@router.post("/{execution_id}/steps/{step:path}/choose", response_model=answers.Commanded)
async def choose(ask: Ask, execution_id: Uuid, step: StepPath, choice: Choice) -> Response:
    """Say how it goes on with a step that failed and asks: again, without it, or not at all."""
    return await ask("executor", "choose_step", {"execution_id": execution_id, "step": step, **choice.given()})
