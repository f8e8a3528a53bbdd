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
from services.gateway import (
    approvals,
    brakes,
    credentials,
    deadletters,
    described,
    events,
    executions,
    exports,
    features,
    incidents,
    people,
    problems,
    runbooks,
    simulation,
    steering,
    timeline,
    webhooks,
)
from services.gateway.evidence import routes as evidence
from services.gateway.evidence.desk import EvidenceDesk
from services.gateway.evidence.downloads import Downloads
from services.gateway.evidence.holds import HoldDesk
from services.gateway.evidence.redactions import RedactionDesk
from services.gateway.flags.book import FlagBook
from services.gateway.flags.desk import FlagDesk
from services.gateway.frontdoor import FrontDoor
from services.gateway.principals.reception import Reception
from services.gateway.settings import GatewaySettings
from services.gateway.tail import Tail

DESCRIPTION: Final = """
Every path, this description included, wants a credential: `Authorization: Bearer` with an API token or an identity
provider's JWT; the paths for alerts also take a sender's password or signature. A credential for several tenants names
one in `Rr-Tenant`. Send `Idempotency-Key` with a change to be able to repeat it safely; every answer carries
`Trace-Id`. Refusals are `application/problem+json` (RFC 9457): programs decide by `code`, people read `fix`.
"""
PARTS: Final = (
    webhooks,
    exports,
    timeline,
    evidence,
    events,
    brakes,
    deadletters,
    credentials,
    people,
    features,
    simulation,
)
FLAGGED: Final = {
    incidents: "incident_center_enabled",
    runbooks: "runbook_center_enabled",
    executions: "runbook_center_enabled",
    steering: "runbook_center_enabled",
    approvals: "approval_center_enabled",
}
"""Parts that a tenant may be without."""

# The front door makes the span: FastAPI's own would join whatever trace a stranger names, and may record bodies.
_NO_TELEMETRY: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}


class _Application(FastAPI):
    """Describes what stands around every route: the credential, the key, and the refusals."""

    def openapi(self) -> dict[str, Any]:
        """The description, made once."""
        if self.openapi_schema is None:
            described.complete(super().openapi())
        return super().openapi()


def application(
    settings: GatewaySettings,
    reception: Reception,
    bus: Bus,
    client: RpcClient,
    tail: Tail,
    flags: tuple[FlagBook, FlagDesk] | None = None,
    evidence_of: tuple[EvidenceDesk, HoldDesk, RedactionDesk, Downloads] | None = None,
) -> FrontDoor:
    """The ASGI application. Without `flags` every part is there for everyone, without `evidence_of` none is read.

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
        responses={"default": described.REFUSAL},
    )
    app.state.bus, app.state.client, app.state.tail = bus, client, tail
    app.state.reception, app.state.settings = reception, settings
    app.state.flags, app.state.flag_desk = flags or (None, None)
    found = evidence_of or (None, None, None, None)
    app.state.evidence, app.state.evidence_holds, app.state.redactions, downloads = found
    for part in PARTS:
        app.include_router(part.router)
    for part, flag in FLAGGED.items():
        app.include_router(part.router, dependencies=features.needs(flag))
    app.add_exception_handler(RangerError, problems.on_refusal)
    app.add_exception_handler(RequestValidationError, problems.on_validation)
    app.add_exception_handler(HTTPException, problems.on_http)
    app.add_exception_handler(Exception, problems.on_bug)
    return FrontDoor(
        app,
        reception,
        tenant=settings.tenant,
        body_bytes=settings.gateway_body_bytes,
        body_seconds=settings.gateway_body_seconds,
        downloads=downloads,
    )


def _version() -> str:
    try:
        return version("runbook-ranger")
    except PackageNotFoundError:
        return "0"
