"""Incidents: opened, moved and described by people; shown whole, with what other services know of them."""

import asyncio
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from pydantic import Field

from libs.common.contracts.incident import IncidentStatus, Severity
from libs.common.errors import RangerError
from services.gateway import answers
from services.gateway.asking import Ask, Asking, StrictRoute, reply
from services.gateway.parameters import Limit, Name, Parameters, Rationale, Uuid, UuidText
from services.gateway.provenance import provenance

PART: Final = 50
"""How many executions, approvals and timeline entries are shown with an incident; each has a list of its own."""
PART_SECONDS: Final = 2.0
"""A part that takes longer is named as unanswered: the incident itself is not kept waiting for it."""

router = APIRouter(prefix="/incidents", tags=["incidents"], route_class=StrictRoute)


class Filter(Parameters):
    """Which incidents: at most `limit`, after one of them."""

    status: IncidentStatus | None = None
    severity: Severity | None = None
    q: Annotated[Name | None, Field(description="words of the title")] = None
    after: UuidText | None = None
    limit: Limit | None = None


class New(Parameters):
    """An incident that a person reports."""

    title: Annotated[str, Field(min_length=1, max_length=512)]
    severity: Severity
    description: Annotated[str, Field(max_length=20_000)] | None = None
    tags: Annotated[list[Name], Field(max_length=64)] | None = None


class Transition(Parameters):
    """A move along the lifecycle, and why."""

    trigger: Name
    rationale: Rationale | None = None


class Judgement(Parameters):
    """How bad it is now, and why that changed."""

    severity: Severity
    rationale: Rationale


class Owner(Parameters):
    """Who takes care of it; null: nobody."""

    owner: Name | None


class Link(Parameters):
    """A runbook that belongs to the incident."""

    runbook_id: Name


@dataclass(frozen=True, slots=True)
class Silent:
    """A part that was not answered, and why."""

    name: str
    detail: str


@router.get("", response_model=answers.Incidents)
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Incidents of the caller's tenant."""
    return await ask("incident", "list", which.given())


@router.post("", status_code=201, response_model=answers.Incident)
async def create(ask: Ask, new: New) -> Response:
    """Open an incident by hand."""
    return await ask("incident", "create", new.given(), 201)


@router.get("/{incident_id}", response_model=answers.Composed)
async def show(ask: Ask, incident_id: Uuid) -> Response:
    """One incident with its alerts, executions and approvals and the beginning of its timeline.

    A part that a service does not answer is named in `unanswered`, and the incident is shown without it. So is the
    provenance, with the reason in its place.
    """
    about = {"incident_id": incident_id}
    whole, proven, *parts = await asyncio.gather(
        ask.content("incident", "get", about),
        provenance(ask, "incident", incident_id),
        _part(ask, "executor", "executions", about),
        _part(ask, "approvals", "approvals", about),
        _part(ask, "timeline", "timeline", about),
    )
    return reply(composed(whole, *parts) | proven)


@router.post("/{incident_id}/transition")
async def transition(ask: Ask, incident_id: Uuid, move: Transition) -> Response:
    """Pull a trigger of the lifecycle; 409 names both ends of a move that it does not have."""
    return await ask("incident", "transition", {"incident_id": incident_id, **move.given()})


@router.post("/{incident_id}/severity")
async def severity(ask: Ask, incident_id: Uuid, change: Judgement) -> Response:
    """Say how bad it is now; what it was stays in the severity history."""
    return await ask("incident", "severity", {"incident_id": incident_id, **change.given()})


@router.post("/{incident_id}/owner")
async def owner(ask: Ask, incident_id: Uuid, change: Owner) -> Response:
    """Say who takes care of it."""
    return await ask("incident", "owner", {"incident_id": incident_id, **change.model_dump()})


@router.post("/{incident_id}/runbooks")
async def link_runbook(ask: Ask, incident_id: Uuid, link: Link) -> Response:
    """Link a runbook; nothing is executed by it."""
    return await ask("incident", "link_runbook", {"incident_id": incident_id, **link.given()})


def composed(whole: dict[str, Any], *parts: dict[str, Any] | Silent) -> dict[str, Any]:
    """The incident, and each part that was answered. Executions that the incident service knows stay without them."""
    shown: dict[str, Any] = {"executions": [], "approvals": [], "timeline": [], "timeline_next": None, **whole}
    for part in parts:
        if not isinstance(part, Silent):
            shown.update(part)
    return {**shown, "unanswered": {part.name: part.detail for part in parts if isinstance(part, Silent)}}


async def _part(ask: Asking, service: str, name: str, about: dict[str, Any]) -> dict[str, Any] | Silent:
    try:
        content = await ask.content(service, "list", {**about, "limit": PART}, timeout=PART_SECONDS)
    except RangerError as error:
        return Silent(name, error.detail)
    if name == "timeline":
        return {"timeline": content.get("entries", []), "timeline_next": content.get("next")}
    return {name: content.get("items", [])}
