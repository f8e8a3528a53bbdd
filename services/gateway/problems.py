"""Refusals as RFC 9457 `application/problem+json`: code, title, detail, what to do, and the trace to name in a report.

Only what a typed error says reaches the caller. Anything else is a bug: its answer says so and nothing more.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from libs.common import telemetry
from libs.common.errors import InvalidInput, NotFound, RangerError, Refusal

PROBLEM: Final = "application/problem+json"
RETRY_SECONDS: Final = 2
_NAMED: Final = 10


class NotAllowed(Refusal):
    """The path exists, for another method."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class Unsupported(Refusal):
    """A body in a format that this path does not take."""

    code = "unsupported_media_type"
    status = 415
    title = "Unsupported content type"


class TooSlow(Refusal):
    """The body did not arrive in time."""

    code = "body_timeout"
    status = 408
    title = "Request body not received in time"


SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "fix", "trace_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "stable; programs decide by it"},
        "detail": {"type": "string"},
        "fix": {"type": "string", "description": "what to do about it; may be empty"},
        "trace_id": {"type": "string"},
        "data": {"type": "object"},
    },
}


def answer(error: RangerError) -> Response:
    """The response to a typed error."""
    trace = trace_id()
    body: dict[str, Any] = {
        "type": f"urn:runbook-ranger:problem:{error.code}",
        "title": error.title,
        "status": error.status,
        "code": error.reason_code,
        "detail": error.detail,
        "fix": error.fix,
        "trace_id": trace,
    }
    if error.data:
        body["data"] = dict(error.data)
    return Response(orjson.dumps(body, default=str), error.status, _headers(error), media_type=PROBLEM)


def internal() -> Response:
    """The response to a bug."""
    return answer(RangerError("This is a bug of ours.", fix="Report it with the trace id; the log has the place."))


def trace_id() -> str:
    """The current trace, as answers name it."""
    return telemetry.traceparent()[3:35]


async def on_refusal(_request: Request, error: Exception) -> Response:
    """Handler of `RangerError`."""
    return answer(error) if isinstance(error, RangerError) else internal()


async def on_validation(_request: Request, error: Exception) -> Response:
    """Handler of what FastAPI refuses: fields are named, values are not.

    An id or number in the path that nothing can have is an unknown one, whatever else is wrong.
    """
    items = error.errors() if isinstance(error, RequestValidationError) else []
    unknown = [str(item["loc"][1]) for item in items if item["loc"][0] == "path"]
    if unknown:
        return answer(NotFound(f"Nothing has this {unknown[0].replace('_', ' ')}.", fix="Copy it from a list."))
    return answer(InvalidInput(_described(items)))


async def on_http(request: Request, error: Exception) -> Response:
    """Handler of what the router refuses."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 404:
        return answer(NotFound("There is nothing at this path.", fix="GET /openapi.json lists every path."))
    if status == 405:
        response = answer(NotAllowed(f"{request.method} is not a method of this path."))
        allowed = (error.headers or {}).get("Allow") if isinstance(error, HTTPException) else None
        if allowed:
            response.headers["Allow"] = allowed
        return response
    if status < 500:
        return answer(InvalidInput("The request cannot be read."))
    return internal()


async def on_bug(_request: Request, _error: Exception) -> Response:
    """Handler of everything else; the error goes on to the front door, which logs its place."""
    return internal()


def _headers(error: RangerError) -> Mapping[str, str]:
    match error.status:
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="runbook-ranger"'}
        case 503:
            return {"Retry-After": str(RETRY_SECONDS)}
        case _:
            return {}


def _described(items: Iterable[Mapping[str, Any]]) -> str:
    problems = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in items]
    more = f"; and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
    return "; ".join(problems[:_NAMED]) + more
