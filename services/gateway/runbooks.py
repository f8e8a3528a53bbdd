"""Runbooks: publishing a version, and what is published. The catalog reads and judges the text."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from libs.common.contracts.fact import describe
from libs.common.errors import InvalidInput
from services.gateway.asking import JSON, Ask, Id, Parameters, StrictRoute

YAML = ("application/yaml", "text/yaml", "application/x-yaml")

router = APIRouter(prefix="/runbooks", tags=["runbooks"], route_class=StrictRoute)


class Source(Parameters):
    """A runbook's text, for those who cannot send it as it is."""

    source: str


class Page(Parameters):
    """Which runbooks: at most `limit`, after one of them."""

    after: str | None = None
    limit: int | None = None


class Version(Parameters):
    """Which version, and whether its text is wanted as it was published."""

    version: int | None = None
    include_source: bool | None = None


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": {"type": "string", "description": "the runbook, YAML"}} for kind in YAML},
            JSON: {"schema": Source.model_json_schema()},
        },
    }
}


@router.post("", status_code=201, openapi_extra=_BODY)
async def publish(request: Request, ask: Ask) -> Response:
    """Publish a runbook: the text as YAML, or as JSON `{"source": "…"}`. A published version never changes."""
    return await ask("catalog", "publish", {"source": await _source(request)}, 201)


@router.post("/lint", openapi_extra=_BODY)
async def lint(request: Request, ask: Ask) -> Response:
    """Say what publishing this text would say; nothing is stored."""
    return await ask("catalog", "lint", {"source": await _source(request)})


@router.get("")
async def listing(ask: Ask, which: Annotated[Page, Query()]) -> Response:
    """The newest version of each runbook."""
    return await ask("catalog", "list", which.given())


@router.get("/{runbook_id}")
async def show(ask: Ask, runbook_id: Id, which: Annotated[Version, Query()]) -> Response:
    """One version of a runbook, the newest by default."""
    return await ask("catalog", "get_version", {"runbook_id": runbook_id, **which.given()})


async def _source(request: Request) -> str:
    body = await request.body()
    kind = request.headers["content-type"].partition(";")[0].strip().lower()
    return _from_json(body) if kind == JSON else _text(body)


def _from_json(body: bytes) -> str:
    try:
        return Source.model_validate(orjson.loads(body)).source
    except orjson.JSONDecodeError:
        raise InvalidInput("The body is not JSON.") from None
    except ValidationError as error:
        raise InvalidInput(describe(error)) from None


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise InvalidInput("The runbook is not UTF-8 text.") from None
