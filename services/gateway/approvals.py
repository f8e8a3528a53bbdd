"""Approvals: what waits for a person, and what the person says. Reading one never decides it."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response
from pydantic import Field

from services.gateway import answers
from services.gateway.asking import Ask, StrictRoute
from services.gateway.parameters import Hash, Limit, Name, Parameters, Uuid, UuidText, Why

router = APIRouter(prefix="/approvals", tags=["approvals"], route_class=StrictRoute)


class Filter(Parameters):
    """Which approvals: at most `limit`, after one of them."""

    state: Literal["requested", "granted", "rejected", "expired", "revoked", "withdrawn"] | None = None
    incident_id: Name | None = None
    execution_id: UuidText | None = None
    after: UuidText | None = None
    limit: Limit | None = None


class Verdict(Why):
    """Why, and through which face it is said (`api` unless told)."""

    channel: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")] | None = None


class Grant(Verdict):
    """Why, and the hashes of what the person saw: a plan or an action that changed since is not granted."""

    plan_hash: Hash
    action_hash: Annotated[Hash, Field(description="empty where the whole plan is approved")] = ""


@router.get("", response_model=answers.Approvals)
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Approvals of the caller's tenant."""
    return await ask("approvals", "list", which.given())


@router.get("/{approval_id}", response_model=answers.Approval)
async def show(ask: Ask, approval_id: Uuid) -> Response:
    """One approval: what exactly would run, on what, asked for by whom, until when."""
    return await ask("approvals", "get", {"approval_id": approval_id})


@router.post("/{approval_id}/grant", response_model=answers.Approval)
async def grant(ask: Ask, approval_id: Uuid, decision: Grant) -> Response:
    """Allow exactly this plan and action, once."""
    return await ask("approvals", "grant", {"approval_id": approval_id, **decision.given()})


@router.post("/{approval_id}/reject", response_model=answers.Approval)
async def reject(ask: Ask, approval_id: Uuid, why: Verdict) -> Response:
    """Say no."""
    return await ask("approvals", "reject", {"approval_id": approval_id, **why.given()})


@router.post("/{approval_id}/revoke", response_model=answers.Approval)
async def revoke(ask: Ask, approval_id: Uuid, why: Verdict) -> Response:
    """Take a grant back before it is used; answered once the executor has it."""
    return await ask("approvals", "revoke", {"approval_id": approval_id, **why.given()})
