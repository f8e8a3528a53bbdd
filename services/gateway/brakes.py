"""Brakes: the kill switch, and locks that nobody will free."""

from typing import Annotated, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import Parameters, Rationale

router = APIRouter(tags=["brakes"], route_class=StrictRoute)


class Lock(Parameters):
    """A resource whose lock is taken away from whoever holds it, and why."""

    resource_id: Annotated[str, Field(min_length=1, max_length=512)]
    rationale: Rationale


class Switch(Parameters):
    """Hold mutations back (or let them go again), for everyone or for one tenant."""

    engaged: bool
    reason: Rationale
    scope: Literal["global", "tenant"] | None = None


@router.post("/locks/break")
async def break_lock(ask: Ask, lock: Lock) -> Response:
    """Free a resource that nobody will free any more."""
    return await ask("executor", "break_lock", lock.given())


@router.get("/kill-switch", response_model=answers.Switches)
async def kill_switch(ask: Ask) -> Response:
    """Whether mutations are held back, by whom, since when and why."""
    return await ask("executor", "kill_switch_get", {})


@router.post("/kill-switch", response_model=answers.Switches)
async def set_kill_switch(ask: Ask, switch: Switch) -> Response:
    """Hold mutations back or let them go; once this is answered, no mutation of the scope starts."""
    return await ask("executor", "kill_switch_set", switch.given())
