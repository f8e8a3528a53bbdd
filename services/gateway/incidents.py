"""Incidents, as the incident service shows and moves them."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from services.gateway.asking import Ask, Id, Parameters, StrictRoute

router = APIRouter(prefix="/incidents", tags=["incidents"], route_class=StrictRoute)


class Filter(Parameters):
    """Which incidents: at most `limit`, after one of them."""

    status: str | None = None
    after: str | None = None
    limit: int | None = None


class Transition(Parameters):
    """A move along the lifecycle, and why."""

    trigger: str
    rationale: str | None = None


@router.get("")
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Incidents of the caller's tenant."""
    return await ask("incident", "list", which.given())


@router.get("/{incident_id}")
async def show(ask: Ask, incident_id: Id) -> Response:
    """One incident, whole."""
    return await ask("incident", "get", {"incident_id": incident_id})


@router.post("/{incident_id}/transition")
async def transition(ask: Ask, incident_id: Id, move: Transition) -> Response:
    """Pull a trigger of the lifecycle."""
    return await ask("incident", "transition", {"incident_id": incident_id, **move.given()})
