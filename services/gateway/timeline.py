"""The log: entries of an incident or an execution, and the raw leaves for who verifies them."""

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response

from services.gateway.asking import Ask, Parameters, StrictRoute

router = APIRouter(prefix="/timeline", tags=["timeline"], route_class=StrictRoute)


class Entries(Parameters):
    """Whose entries, after which index."""

    incident_id: str | None = None
    execution_id: str | None = None
    after: int | None = None
    limit: int | None = None


class Leaves(Parameters):
    """From which index on."""

    first: int | None = None
    limit: int | None = None


class Heads(Parameters):
    """After which chain head."""

    kind: Literal["execution", "incident", "runbook"] | None = None
    id: str | None = None
    limit: int | None = None


@router.get("")
async def entries(ask: Ask, which: Annotated[Entries, Query()]) -> Response:
    """What happened, in order, to an incident or in an execution."""
    return await ask("timeline", "list", which.given())


@router.get("/leaves")
async def leaves(ask: Ask, which: Annotated[Leaves, Query()]) -> Response:
    """The log as it is stored, a page at a time, for verification."""
    return await ask("timeline", "leaves", which.given())


@router.get("/leaves/{index}/payload")
async def payload(ask: Ask, index: Annotated[int, Path()], offset: int = 0) -> Response:
    """A slice of a payload that is too long for a page of leaves."""
    return await ask("timeline", "payload", {"index": index, "offset": offset})


@router.get("/heads")
async def heads(ask: Ask, which: Annotated[Heads, Query()]) -> Response:
    """The newest leaf of each chain, a page at a time."""
    return await ask("timeline", "heads", which.given())


@router.get("/state")
async def state(ask: Ask) -> Response:
    """Origin, size, root and position of the log."""
    return await ask("timeline", "state", {})
