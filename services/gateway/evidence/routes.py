"""What events name in the object store: listed, and opened by a URL that is good for a while."""

from collections.abc import Mapping
from typing import Annotated, Any, Final, cast

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import Field, StringConstraints

from libs.common.contracts.marking import Marking
from libs.common.errors import Conflict, Denied, InvalidInput, NotFound, Unavailable
from libs.common.policy import Context, Resource, require
from services.gateway.asking import Ask, Asking, StrictRoute, reply
from services.gateway.evidence import answers
from services.gateway.evidence.desk import FILENAME, EvidenceDesk, Opener, Wanted
from services.gateway.evidence.holds import Hold, HoldDesk
from services.gateway.evidence.redactions import Asked, RedactionDesk
from services.gateway.parameters import INDEX, Id, Index, Limit, Parameters, Text, Uuid, Why
from services.gateway.settings import GatewaySettings

router = APIRouter(prefix="/evidence", tags=["evidence"], route_class=StrictRoute)
REDACT_SECONDS: Final = 10.0
"""The timeline answers after three seconds at the latest, once it has begun."""
BUNDLE_SECONDS: Final = 60.0
"""Longer than a timeline takes for one, unless it is told to take longer (RR_BUNDLE_SECONDS)."""
Sha256 = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")]


class Named(Parameters):
    """Whose artefacts (an incident's, an execution's, or all of the tenant's), after which index of the log."""

    incident_id: Text | None = None
    execution_id: Text | None = None
    after: Index | None = None
    limit: Limit | None = None


class Opening(Parameters):
    """For how long, and under which name a browser saves it (of a URL of S3: the name that it was kept with)."""

    ttl_seconds: Annotated[int, Field(strict=True, ge=1, le=7 * 86400)] | None = None
    filename: Annotated[str, StringConstraints(pattern=rf"^{FILENAME.pattern}$")] | None = None


async def _desk(request: Request) -> EvidenceDesk:
    desk = cast("EvidenceDesk | None", request.app.state.evidence)
    if desk is None:
        raise Unavailable("Evidence cannot be read here.")
    return desk


async def _settings(request: Request) -> GatewaySettings:
    return cast("GatewaySettings", request.app.state.settings)


async def _holds(request: Request) -> HoldDesk:
    desk = cast("HoldDesk | None", request.app.state.evidence_holds)
    if desk is None:
        raise Unavailable("Evidence cannot be held here.")
    return desk


async def _redactions(request: Request) -> RedactionDesk:
    desk = cast("RedactionDesk | None", request.app.state.redactions)
    if desk is None:
        raise Unavailable("Nothing can be redacted here.")
    return desk


Holds = Annotated[HoldDesk, Depends(_holds)]


@router.get("", response_model=answers.Artefacts)
async def listing(ask: Ask, which: Annotated[Named, Query()]) -> Response:
    """What the events of an incident, of an execution or of the tenant name, in the log's order."""
    return await ask("timeline", "artefacts", which.given())


@router.get("/{sha256}", response_model=answers.Artefact)
async def show(ask: Ask, sha256: Sha256) -> Response:
    """One artefact: its kind and length, and the newest event that names it."""
    return await ask("timeline", "artefact", {"sha256": sha256})


@router.post("/{sha256}/url", status_code=201, response_model=answers.EvidenceUrl)
async def give_url(
    ask: Ask,
    desk: Annotated[EvidenceDesk, Depends(_desk)],
    settings: Annotated[GatewaySettings, Depends(_settings)],
    sha256: Sha256,
    opening: Opening,
) -> Response:
    """A URL that reads the artefact without a token until it ends: a path at this gateway, or one of S3. It is told."""
    seconds = _seconds(opening.ttl_seconds, settings)
    found: dict[str, Any] = await ask.content("timeline", "artefact", {"sha256": sha256})
    opener = await _opener(ask, found)
    return reply(await desk.open(opener, Wanted(found, seconds, opening.filename or "")), 201)


@router.post("/incidents/{incident_id}/bundle", status_code=201, response_model=answers.Bundle)
async def bundle(
    ask: Ask,
    desk: Annotated[EvidenceDesk, Depends(_desk)],
    settings: Annotated[GatewaySettings, Depends(_settings)],
    incident_id: Uuid,
    opening: Opening,
) -> Response:
    """One file with all that an outsider needs to check an incident: made, sealed, named by the log, behind a URL.

    For who may view every event of the incident.
    """
    seconds = _seconds(opening.ttl_seconds, settings)
    made = await ask.content("timeline", "bundle", {"incident_id": incident_id}, timeout=BUNDLE_SECONDS)
    opener = await _opener(ask, made)
    filename = opening.filename or f"incident-{incident_id}.zip"
    given = await desk.open(opener, Wanted(made, seconds, filename, new=True))
    told = {name: made[name] for name in ("incident_id", "envelope", "size", "index", "leaves", "absent", "vkeys")}
    return reply(given | told, 201)


def _seconds(wanted: int | None, settings: GatewaySettings) -> int:
    """For how long a URL is to be good."""
    seconds = wanted or min(settings.evidence_url_seconds, settings.evidence_url_max_seconds)
    if seconds > settings.evidence_url_max_seconds:
        raise InvalidInput(f"A URL is good for {settings.evidence_url_max_seconds} s at most.", code="ttl_too_long")
    return seconds


async def _opener(ask: Asking, found: Mapping[str, Any]) -> Opener:
    """Who opens what the timeline has found for them, and policy's word on that.

    Raises:
        Denied: they may not.
    """
    identity = ask.identity
    named_by = found["incident_id"] or found["execution_id"] or "log"
    kind = "incident" if found["incident_id"] else "execution" if found["execution_id"] else "timeline"
    resource = Resource(kind, named_by, identity.tenant, environment=found["environment"], clearance=found["clearance"])
    decision = await require(identity.principal, "timeline.view", resource)
    return Opener(identity.principal, identity.tenant, identity.request_key, decision)


@router.post("/incidents/{incident_id}/hold", status_code=202, response_model=answers.Held)
async def hold(ask: Ask, desk: Holds, incident_id: Uuid, why: Why) -> Response:
    """Keep what an incident's events name, whatever its retention says; it holds once it stands in the log."""
    return await _told(ask, desk, incident_id, why.rationale, held=True)


@router.post("/incidents/{incident_id}/release", status_code=202, response_model=answers.Held)
async def release(ask: Ask, desk: Holds, incident_id: Uuid, why: Why) -> Response:
    """Let an incident's evidence go when its retention is over."""
    return await _told(ask, desk, incident_id, why.rationale, held=False)


@router.post("/events/{entry}/redact", status_code=202, response_model=answers.Redacted)
async def redact(ask: Ask, desk: Annotated[RedactionDesk, Depends(_redactions)], entry: Id, why: Why) -> Response:
    """Delete for good what an event said, by its index or id, what only it named, and bundles that hold it.

    The leaf stays, and the log says that it was redacted. 202: a log that is frozen does it when it goes on.
    """
    named = {"index": int(entry)} if INDEX.fullmatch(entry) else {"event_id": entry}
    asked = Asked.of(ask.identity, named | {"rationale": why.rationale})
    await desk.note(asked)
    try:
        done = await ask.content("timeline", "redact", asked.question, timeout=REDACT_SECONDS)
    except (Denied, NotFound, Conflict, InvalidInput) as refused:
        await desk.drop(asked)
        if isinstance(refused, Denied):
            ask.reception.note(ask.identity.principal, "evidence.redact", refused.reason_code, refused.data)
        raise
    if done["new"]:
        await desk.tell(asked, done)
    else:
        await desk.drop(asked)
    told = {name: done[name] for name in ("index", "event_id", "type", "incident_id", "execution_id", "new")}
    return reply(told, 202)


async def _told(ask: Ask, desk: HoldDesk, incident_id: str, rationale: str, *, held: bool) -> Response:
    identity = ask.identity
    found = await ask.content("incident", "get", {"incident_id": incident_id})
    marking = Marking(found["environment"], found["clearance"])
    resource = Resource(
        "incident",
        incident_id,
        identity.tenant,
        environment=marking.environment,
        clearance=marking.clearance,
    )
    context = Context(rationale_present=True)
    decision = await require(identity.principal, "evidence.hold", resource, context)
    opener = Opener(identity.principal, identity.tenant, identity.request_key, decision)
    return reply(await desk.tell(opener, Hold(incident_id, marking, rationale, held)), 202)
