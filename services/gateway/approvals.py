"""Approvals: what waits for a person, and what the person says. Reading one, or following a link, never decides it.

A link's token is in no path: paths stand in traces.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field, StringConstraints

from services.gateway import approval_answers as answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import Hash, Limit, Name, Parameters, Scalar, Uuid, UuidText, Why

router = APIRouter(prefix="/approvals", tags=["approvals"], route_class=StrictRoute)


class Filter(Parameters):
    """Which approvals: at most `limit`, after one of them."""

    state: Literal["requested", "granted", "rejected", "expired", "revoked", "withdrawn"] | None = None
    incident_id: Name | None = None
    execution_id: UuidText | None = None
    mine: Annotated[bool, Field(description="those that a yes of yours would count for now")] | None = None
    after: UuidText | None = None
    limit: Limit | None = None


class Verdict(Why):
    """Why, and through which face it is said (`api` unless told)."""

    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] | None = None


Values = Annotated[dict[str, Scalar], Field(max_length=50, description="what the form asks for, where there is one")]
Token = Annotated[str, StringConstraints(min_length=1, max_length=2000)]


class Grant(Verdict):
    """Why, and the hashes of what the person saw: a plan or an action that changed since is not granted."""

    values: Values | None = None

    plan_hash: Hash
    action_hash: Annotated[Hash, Field(description="empty where the whole plan is approved")] = ""


class Link(Parameters):
    """The token of a link."""

    token: Token


class LinkVerdict(Verdict):
    """Why, to what the link was made for."""

    token: Token


class LinkGrant(LinkVerdict):
    """Why, to what the link was made for; there are no hashes to send."""

    values: Values | None = None


@router.get("", response_model=answers.Approvals)
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Approvals of the caller's tenant."""
    return await ask("approvals", "list", which.given())


@router.get("/by-link", response_model=answers.ApprovalWhole)
async def follow(ask: Ask, link: Annotated[Link, Query()]) -> Response:
    """What a link is about, for whoever may see it. Nothing is decided, and nothing changes."""
    return await ask("approvals", "follow_link", link.given())


@router.post("/by-link/grant", response_model=answers.Decided)
async def grant_by_link(ask: Ask, decision: LinkGrant) -> Response:
    """Agree to exactly what the link was made for, as whoever is signed in."""
    return await ask("approvals", "grant_by_link", decision.given())


@router.post("/by-link/reject", response_model=answers.Decided)
async def reject_by_link(ask: Ask, why: LinkVerdict) -> Response:
    """Say no to what the link was made for, as whoever is signed in."""
    return await ask("approvals", "reject_by_link", why.given())


@router.get("/{approval_id}", response_model=answers.ApprovalWhole)
async def show(ask: Ask, approval_id: Uuid) -> Response:
    """One approval: what exactly would run, on what, asked for by whom, until when."""
    return await ask("approvals", "get", {"approval_id": approval_id})


@router.get("/{approval_id}/link", response_model=answers.ApprovalLink)
async def link(ask: Ask, approval_id: Uuid) -> Response:
    """A link that shows this question, and through which exactly it is decided, as long as it is open."""
    return await ask("approvals", "link", {"approval_id": approval_id})


@router.post("/{approval_id}/grant", response_model=answers.Decided)
async def grant(ask: Ask, approval_id: Uuid, decision: Grant) -> Response:
    """Agree to exactly this plan and action, once; the last of those that it takes grants it."""
    return await ask("approvals", "grant", {"approval_id": approval_id, **decision.given()})


@router.post("/{approval_id}/withdraw-vote", response_model=answers.Decided)
async def withdraw_vote(ask: Ask, approval_id: Uuid, why: Verdict) -> Response:
    """Take one's own yes back, while the question is open."""
    return await ask("approvals", "withdraw_vote", {"approval_id": approval_id, **why.given()})


@router.post("/{approval_id}/reject", response_model=answers.Decided)
async def reject(ask: Ask, approval_id: Uuid, why: Verdict) -> Response:
    """Say no; one is enough."""
    return await ask("approvals", "reject", {"approval_id": approval_id, **why.given()})


@router.post("/{approval_id}/revoke", response_model=answers.Decided)
async def revoke(ask: Ask, approval_id: Uuid, why: Verdict) -> Response:
    """Take a grant back before it is used; answered once the executor has it."""
    return await ask("approvals", "revoke", {"approval_id": approval_id, **why.given()})
