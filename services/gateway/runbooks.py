"""Runbooks: drafts, versions, and starting one. The catalog reads and judges the text."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, ValidationError

from libs.common.contracts.fact import describe
from libs.common.errors import InvalidInput
from services.gateway import answers
from services.gateway.asking import JSON, Ask, StrictRoute, reply
from services.gateway.parameters import Id, Limit, Name, Parameters, Scalar, Text, UuidText
from services.gateway.waiting import MAX_WAIT_SECONDS, until_resting

YAML = ("application/yaml", "text/yaml", "application/x-yaml")

router = APIRouter(prefix="/runbooks", tags=["runbooks"], route_class=StrictRoute)


class Source(Parameters):
    """A runbook's text, for those who cannot send it as it is."""

    source: str


class Page(Parameters):
    """Which runbooks: at most `limit`, after one of them."""

    after: Text | None = None
    limit: Limit | None = None


class Version(Parameters):
    """Which version, and whether its text is wanted as it was published."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    include_source: bool | None = None


class Storing(Parameters):
    """Whether the text is published at once, or kept as the runbook's draft."""

    draft: bool = False


class Publishing(Parameters):
    """The draft that was looked at, by its hash: another one is not published in its place."""

    spec_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None


class Order(Parameters):
    """What to run: the newest version by default, for an incident, for none, or for one that is opened for it."""

    version: Annotated[int, Field(ge=1, lt=1 << 31)] | None = None
    inputs: Annotated[dict[Name, Scalar], Field(max_length=200)] = {}  # noqa: RUF012 -- pydantic copies defaults
    incident_id: UuidText | None = None
    open_incident: bool | None = None


class Execute(Order):
    """What to run. A dry run reads and checks for real and simulates the rest: nothing is changed, nobody is asked."""

    dry_run: bool | None = None


class Waiting(Parameters):
    """How long to wait until the execution has ended or waits for something; not at all by default."""

    wait: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, description="seconds")] | None = None


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            **{kind: {"schema": {"type": "string", "description": "the runbook, YAML"}} for kind in YAML},
            JSON: {"schema": Source.model_json_schema()},
        },
    }
}


@router.post("", status_code=201, openapi_extra=_BODY, response_model=answers.Stored)
async def store(request: Request, ask: Ask, how: Annotated[Storing, Query()]) -> Response:
    """Publish a runbook, or keep it as a draft with `?draft=true`; a published version never changes.

    The body is the text as YAML, or JSON `{"source": "…"}`; a refusal lists what is wrong with it, by line.
    """
    verb = "draft" if how.draft else "publish"
    return await ask("catalog", verb, {"source": await _source(request)}, 201)


@router.post("/lint", openapi_extra=_BODY)
async def lint(request: Request, ask: Ask) -> Response:
    """Say what publishing this text would say; nothing is stored."""
    return await ask("catalog", "lint", {"source": await _source(request)})


@router.get("", response_model=answers.Runbooks)
async def listing(ask: Ask, which: Annotated[Page, Query()]) -> Response:
    """The newest version of each runbook."""
    return await ask("catalog", "list", which.given())


@router.get("/{runbook_id}", response_model=answers.Runbook)
async def show(ask: Ask, runbook_id: Id, which: Annotated[Version, Query()]) -> Response:
    """One version of a runbook, the newest by default."""
    return await ask("catalog", "get_version", {"runbook_id": runbook_id, **which.given()})


@router.get("/{runbook_id}/draft", response_model=answers.Stored)
async def draft(ask: Ask, runbook_id: Id) -> Response:
    """The runbook's stored draft, with its text."""
    return await ask("catalog", "get_draft", {"runbook_id": runbook_id})


@router.post("/{runbook_id}/publish", status_code=201, response_model=answers.Stored)
async def publish(ask: Ask, runbook_id: Id, which: Publishing | None = None) -> Response:
    """Publish the runbook's stored draft as its next version."""
    seen = which.given() if which is not None else {}
    return await ask("catalog", "publish", {"runbook_id": runbook_id, **seen}, 201)


@router.post(
    "/{runbook_id}/execute",
    status_code=202,
    response_model=answers.Execution,
    responses={200: {"model": answers.ExecutionWhole, "description": "It has ended, or waits for something"}},
)
async def execute(ask: Ask, runbook_id: Id, order: Execute, how: Annotated[Waiting, Query()]) -> Response:
    """Start an execution: 202 at once, with its id.

    With `?wait=SECONDS` the answer is 200 with the execution as soon as it has ended or is blocked, and 202 with the
    execution as it stands when the time is over. It goes on whether or not anybody waits; repeat the request with its
    `Idempotency-Key` to wait again.
    """
    started = await ask.content("executor", "execute", {"runbook_id": runbook_id, **order.given()})
    if not how.wait:
        return reply(started, 202)
    resting, found = await until_resting(ask, started, how.wait)
    return reply(found, 200 if resting else 202)


@router.post("/{runbook_id}/plan", response_model=answers.Plan)
async def plan(ask: Ask, runbook_id: Id, order: Order | None = None) -> Response:
    """Say what executing it would do and what stands in its way; nothing is stored, sent or locked."""
    wanted = order.given() if order is not None else {}
    return await ask("executor", "plan", {"runbook_id": runbook_id, **wanted})


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
