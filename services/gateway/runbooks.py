"""Runbooks: publishing a version, and what is published. The catalog reads and judges the text."""

from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from libs.common.contracts.fact import describe
from libs.common.errors import InvalidInput
from services.gateway.asking import JSON, Ask, Id, Parameters, StrictRoute

YAML = ("application/yaml", "text/yaml", "application/x-yaml")

router = APIRouter(prefix="/runbooks", tags=["runbooks"], route_class=StrictRoute)


class Source(Parameters):
    """A runbook's text, for those who cannot send it as it is."""

    source: str


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
    body = await request.body()
    kind = request.headers["content-type"].partition(";")[0].strip().lower()
    source = _from_json(body) if kind == JSON else _text(body)
    return await ask("catalog", "publish", {"source": source}, 201)


@router.get("")
async def listing(ask: Ask) -> Response:
    """The published runbooks."""
    return await ask("catalog", "list", {})


@router.get("/{runbook_id}")
async def show(ask: Ask, runbook_id: Id, version: int | None = None) -> Response:
    """One version of a runbook, the newest by default."""
    chosen = {} if version is None else {"version": version}
    return await ask("catalog", "get", {"runbook_id": runbook_id, **chosen})


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
