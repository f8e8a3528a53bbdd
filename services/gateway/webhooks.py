"""Alerts from outside: checked, stored on INGRESS as they came, and only then accepted.

The bytes that were posted are the bytes that are stored; what they mean is the incident service's business. The
message's id is fresh for each post: the same alert sent twice is told apart from a new one by its own identity
(fingerprint, start, status), never by its bytes.
"""

from typing import Annotated, Any, cast

from fastapi import APIRouter, Depends, Request, Response

from libs.common import telemetry
from libs.common.bus import Bus, Outgoing, PublishRefused
from libs.common.contracts.alert import PARSERS, SUBJECT_ALERTMANAGER, SUBJECT_EVENT, Alert, AlertmanagerWebhook
from libs.common.contracts.fact import MalformedPayload
from libs.common.crash import crash_point
from libs.common.errors import InvalidInput, Unavailable
from libs.common.ids import new_id
from libs.common.telemetry import log
from services.gateway import described, metrics
from services.gateway.answers import Accepted
from services.gateway.asking import JSON, Ask, Asking, StrictRoute, reply

router = APIRouter(prefix="/webhooks", tags=["alerts"], route_class=StrictRoute)


async def _bus(request: Request) -> Bus:
    return cast("Bus", request.app.state.bus)


def _body(model: type[Alert] | type[AlertmanagerWebhook]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": described.reference(model)}}}}


@router.post("/alertmanager", status_code=202, openapi_extra=_body(AlertmanagerWebhook), response_model=Accepted)
async def alertmanager(request: Request, ask: Ask, bus: Annotated[Bus, Depends(_bus)]) -> Response:
    """Alertmanager's webhook, version 4."""
    return await _accept(SUBJECT_ALERTMANAGER, await request.body(), ask, bus)


@router.post("/events", status_code=202, openapi_extra=_body(Alert), response_model=Accepted)
async def events(request: Request, ask: Ask, bus: Annotated[Bus, Depends(_bus)]) -> Response:
    """One alert in our own form, also as the `data` of a structured CloudEvent."""
    return await _accept(SUBJECT_EVENT, await request.body(), ask, bus)


async def _accept(subject: str, body: bytes, ask: Asking, bus: Bus) -> Response:
    """202 with the alert's place once it is stored.

    Raises:
        Denied, InvalidInput: nothing was stored.
        Unavailable: it is not known to be stored; sending it again does no harm.
    """
    await ask.require("alert.post", "alert")
    try:
        alerts = PARSERS[subject](body)
    except MalformedPayload as error:
        raise InvalidInput(f"{error}.", fix="Nothing was accepted; mend the body and send it again.") from None
    with telemetry.span(f"publish {subject}"):
        headers = {
            "Rr-Tenant": ask.identity.tenant,
            "Rr-Actor": ask.identity.principal.actor,
            "traceparent": telemetry.traceparent(),
            "Nats-Msg-Id": new_id(),
            "Content-Type": JSON,
        }
        stored = (await bus.publish([Outgoing(subject, body, headers)]))[0]
    if isinstance(stored, PublishRefused):
        log.warning("alert_not_stored", subject=subject, reason=str(stored))
        raise Unavailable(
            "The alert could not be stored.", fix="Send it again; an alert that comes twice opens one incident."
        )
    crash_point("alert_after_store")
    metrics.ALERTS.labels(subject).inc(len(alerts))
    return reply({"accepted": len(alerts), "stream": stored.stream, "seq": stored.seq}, 202)
