"""The HTTP application: routes behind the front door."""

from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException

from libs.common.bus import Bus
from libs.common.errors import RangerError
from libs.common.rpc import RpcClient
from services.gateway import deadletters, executions, incidents, problems, runbooks, timeline, webhooks
from services.gateway.frontdoor import FrontDoor
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import Tokens

DESCRIPTION: Final = """
Every path, this description included, wants `Authorization: Bearer <token>`; a token that speaks for several tenants
names one in `Rr-Tenant`. Send `Idempotency-Key` with a change to be able to repeat it safely; every answer carries
`Trace-Id`. Refusals are `application/problem+json` (RFC 9457): programs decide by `code`, people read `fix`.
"""
_PROBLEM: Final[dict[int | str, dict[str, Any]]] = {
    "default": {"description": "A refusal", "content": {problems.PROBLEM: {"schema": problems.SCHEMA}}}
}

# The front door makes the span: FastAPI's own would join whatever trace a stranger names, and may record bodies.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class _Application(FastAPI):
    """Describes the credential that the front door checks before anything is routed."""

    def openapi(self) -> dict[str, Any]:
        """The description, with one bearer token for every path."""
        if self.openapi_schema is None:
            schema = super().openapi()
            schema.setdefault("components", {})["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"token": []}]
        return super().openapi()


def application(settings: GatewaySettings, tokens: Tokens, bus: Bus, client: RpcClient) -> FrontDoor:
    """The ASGI application.

    `/openapi.json` stands behind the token like every other path. There are no documentation pages: they load scripts
    from elsewhere, which our Content-Security-Policy forbids.
    """
    app = _Application(
        title="Runbook Ranger",
        version=_version(),
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry=_NO_TELEMETRY,
        responses=_PROBLEM,
    )
    app.state.bus, app.state.client = bus, client
    for part in (webhooks, runbooks, incidents, executions, timeline, deadletters):
        app.include_router(part.router)
    app.add_exception_handler(RangerError, problems.on_refusal)
    app.add_exception_handler(RequestValidationError, problems.on_validation)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(Exception, problems.on_bug)
    return FrontDoor(
        app,
        tokens,
        tenant=settings.tenant,
        body_bytes=settings.gateway_body_bytes,
        body_seconds=settings.gateway_body_seconds,
    )


def _version() -> str:
    try:
        return version("runbook-ranger")
    except PackageNotFoundError:
        return "0"
