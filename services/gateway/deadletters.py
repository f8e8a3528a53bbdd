"""Dead letters of every service that consumes: a person looks at them, has them applied again, or lets them go."""

import asyncio
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Response

from libs.common.contracts.choreography import consumers
from libs.common.errors import NotFound, Unavailable
from services.gateway.asking import Ask, Asking, StrictRoute, reply
from services.gateway.parameters import Id, Limit, Parameters, Text, Why

SERVICES: Final = tuple(sorted({service for _, service in consumers()} - {"timeline"}))
"""Who sets messages aside. The timeline never does: what it cannot read stands in the log as a `reject` leaf."""

router = APIRouter(prefix="/dead-letters", tags=["dead letters"], route_class=StrictRoute)
Number = Annotated[int, Path(ge=1, lt=1 << 63)]


class Filter(Parameters):
    """Which letters; without a service, those of all."""

    service: Text | None = None
    state: Text | None = None
    limit: Limit | None = None


@router.get("")
async def listing(ask: Ask, which: Annotated[Filter, Query()]) -> Response:
    """Dead letters, each with its service; a service that does not answer is named under `unanswered`."""
    question = which.given()
    chosen = question.pop("service", None)
    names = (_known(chosen),) if chosen is not None else SERVICES
    found = await asyncio.gather(*(_letters(ask, name, question) for name in names))
    silent = {name: result.detail for name, result in zip(names, found, strict=True) if isinstance(result, Unavailable)}
    if len(silent) == len(names):
        raise Unavailable("No service answered.", fix="`rangerctl status` shows what is down.")
    items = [
        {"service": name, **item}
        for name, result in zip(names, found, strict=True)
        if not isinstance(result, Unavailable)
        for item in result
    ]
    return reply({"items": items, "unanswered": silent})


@router.get("/{service}/{number}")
async def show(ask: Ask, service: Id, number: Number) -> Response:
    """One letter with its payload."""
    return await ask(_known(service), "dlq_show", {"id": number})


@router.post("/{service}/{number}/retry")
async def retry(ask: Ask, service: Id, number: Number, why: Why) -> Response:
    """Apply the letter, and those parked behind it, again, in order."""
    return await ask(_known(service), "dlq_retry", {"id": number, "rationale": why.rationale})


@router.post("/{service}/{number}/discard")
async def discard(ask: Ask, service: Id, number: Number, why: Why) -> Response:
    """Let the letter go; it stays listed under `discarded`."""
    return await ask(_known(service), "dlq_discard", {"id": number, "rationale": why.rationale})


def _known(service: str) -> str:
    if service not in SERVICES:
        raise NotFound("There is no such service.", fix=f"Services with dead letters: {', '.join(SERVICES)}.")
    return service


async def _letters(ask: Asking, service: str, question: dict[str, Any]) -> list[dict[str, Any]] | Unavailable:
    try:
        content = await ask.content(service, "dlq_list", question)
    except Unavailable as error:
        return error
    items: list[dict[str, Any]] = content["items"]
    return items
