"""Brakes: the kill switch, who holds and who waits, locks that nobody will free, and breakers."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import Limit, Parameters, Rationale

router = APIRouter(tags=["brakes"], route_class=StrictRoute)


class Lock(Parameters):
    """A resource whose lock is taken away from whoever holds it, and why."""

    resource_id: Annotated[str, Field(min_length=1, max_length=512)]
    rationale: Rationale


class Which(Parameters):
    """Of one resource, or of one concurrency key; without either, of all."""

    resource_id: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    key: Annotated[str, Field(min_length=1, max_length=512)] | None = None
    limit: Limit | None = None


class Page(Parameters):
    """At most so many."""

    limit: Limit | None = None


class Breaker(Parameters):
    """A runbook that may change a resource again, and why."""

    runbook_id: Annotated[str, Field(min_length=1, max_length=63)]
    resource_id: Annotated[str, Field(min_length=1, max_length=512)]
    rationale: Rationale


class Switch(Parameters):
    """Hold mutations back (or let them go again), for everyone or for one tenant."""

    engaged: bool
    reason: Rationale
    scope: Literal["global", "tenant"] | None = None


@router.get("/locks", response_model=answers.Locks)
async def locks(ask: Ask, which: Annotated[Which, Query()]) -> Response:
    """Who holds and who waits: locks, places under concurrency keys, and changes that a guard holds."""
    return await ask("executor", "locks", which.given())


@router.get("/breakers", response_model=answers.Breakers)
async def breakers(ask: Ask, page: Annotated[Page, Query()]) -> Response:
    """Runbooks that failed too often on a resource: open ones first, then those that were reset."""
    return await ask("executor", "breakers", page.given())


@router.post("/breakers/reset")
async def reset_breaker(ask: Ask, breaker: Breaker) -> Response:
    """Let a runbook change a resource again on which it had failed too often."""
    return await ask("executor", "reset_breaker", breaker.given())


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
