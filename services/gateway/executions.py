"""Executions, locks and the kill switch: what the executor shows, and what a person may tell it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from services.gateway.asking import Ask, Id, Parameters, StrictRoute

router = APIRouter(tags=["executions"], route_class=StrictRoute)


class Filter(Parameters):
    """Which executions: at most `limit`, after one of them."""

    incident_id: str | None = None
    state: str | None = None
    after: str | None = None
    limit: int | None = None


class Decision(Parameters):
    """What became of a step whose effect nobody knows, and how the person knows it."""

    decision: Literal["succeeded", "failed", "abort"]
    rationale: str


class Abort(Parameters):
    """Why an execution is ended."""

    rationale: str


class Lock(Parameters):
    """A resource whose lock is taken away from whoever holds it, and why."""

    resource_id: str
    rationale: str


class Switch(Parameters):
    """Hold mutations back (or let them go again), for everyone or for one tenant."""

    engaged: bool
    reason: str
    scope: Literal["global", "tenant"] | None = None


@router.get("/executions")
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Executions of the caller's tenant."""
    return await ask("executor", "list", which.given())


@router.get("/executions/{execution_id}")
async def show(ask: Ask, execution_id: Id) -> Response:
    """One execution with its steps."""
    return await ask("executor", "get", {"execution_id": execution_id})


@router.post("/executions/{execution_id}/steps/{step}/decide")
async def decide(ask: Ask, execution_id: Id, step: Id, decision: Decision) -> Response:
    """Say what became of an unknown step."""
    question = {"execution_id": execution_id, "step": step, **decision.given()}
    return await ask("executor", "decide_step", question)


@router.post("/executions/{execution_id}/abort")
async def abort(ask: Ask, execution_id: Id, why: Abort) -> Response:
    """End an execution, whatever state it is in."""
    return await ask("executor", "abort", {"execution_id": execution_id, **why.given()})


@router.post("/locks/break")
async def break_lock(ask: Ask, lock: Lock) -> Response:
    """Free a resource that nobody will free any more."""
    return await ask("executor", "break_lock", lock.given())


@router.get("/kill-switch")
async def kill_switch(ask: Ask) -> Response:
    """Whether mutations are held back, by whom, since when and why."""
    return await ask("executor", "kill_switch_get", {})


@router.post("/kill-switch")
async def set_kill_switch(ask: Ask, switch: Switch) -> Response:
    """Hold mutations back or let them go; once this is answered, no mutation of the scope starts."""
    return await ask("executor", "kill_switch_set", switch.given())
