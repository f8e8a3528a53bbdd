"""API tokens of the caller's own and, for administrators, those of their tenants; and who may send alerts.

A token speaks for whoever makes it. No body has a field that says who somebody is.
"""

from typing import Annotated, Final, cast

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field, StringConstraints, field_validator

from libs.common.errors import Denied, InvalidInput, Unavailable
from services.gateway import answers
from services.gateway.asking import Ask, Asking, StrictRoute, reply
from services.gateway.parameters import Limit, Parameters, Uuid, UuidText
from services.gateway.principals.keys import Asker, TokenDesk, Wanted
from services.gateway.principals.reception import Reception
from services.gateway.settings import GatewaySettings
from services.gateway.tokens import ScopeName, TenantName

PAGE: Final = 100
DAY: Final = 86400
MIN_SECONDS: Final = 60

router = APIRouter(tags=["tokens"], route_class=StrictRoute)


class NewToken(Parameters):
    """A token of the caller's own: what it is for, how long it lives, and as much or less than the caller may do."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, strip_whitespace=True)]
    expires_in_seconds: Annotated[int, Field(strict=True, ge=MIN_SECONDS, le=366 * DAY)]
    scopes: Annotated[list[ScopeName], Field(min_length=1, max_length=100)] | None = None
    roles: Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=20)] | None = None
    tenants: Annotated[list[TenantName], Field(min_length=1, max_length=1000)] | None = None

    @field_validator("name")
    @classmethod
    def _shown(cls, value: str) -> str:
        if not value.isprintable():
            raise ValueError("a name has printable characters")
        return value

    @field_validator("tenants", "scopes")
    @classmethod
    def _all_or_some(cls, value: list[str] | None) -> list[str] | None:
        if value is not None and "*" in value and len(value) > 1:
            raise ValueError("`*` stands alone")
        return value


class Which(Parameters):
    """The caller's own, or `everyone`'s in the tenant; at most `limit`, after one of them."""

    everyone: bool | None = None
    after: UuidText | None = None
    limit: Limit | None = None


async def _reception(request: Request) -> Reception:
    return cast("Reception", request.app.state.reception)


async def _settings(request: Request) -> GatewaySettings:
    return cast("GatewaySettings", request.app.state.settings)


Received = Annotated[Reception, Depends(_reception)]


@router.post("/tokens", status_code=201, response_model=answers.NewToken)
async def create(
    ask: Ask, received: Received, settings: Annotated[GatewaySettings, Depends(_settings)], wanted: NewToken
) -> Response:
    """Make a token. Its secret is in this answer (`token`) and nowhere else, so that a repetition is 409."""
    await ask.require("token.create", "token")
    if wanted.expires_in_seconds > settings.token_max_days * DAY:
        raise InvalidInput(f"A token lives for {settings.token_max_days} days at most.", code="expiry_too_late")
    asked = Wanted(
        wanted.name,
        wanted.expires_in_seconds,
        _tuple(wanted.scopes),
        _tuple(wanted.roles),
        _tuple(wanted.tenants),
    )
    try:
        return reply(await _desk(received).create(_asker(ask), asked), 201)
    except Denied as denied:
        received.note(ask.identity.principal, "token.create", denied.reason_code)
        raise


@router.get("/tokens", response_model=answers.Tokens)
async def listing(ask: Ask, received: Received, which: Annotated[Which, Query()]) -> Response:
    """Tokens, newest first; never a secret. With `everyone`, all that open the tenant, for who may see principals."""
    await ask.require("token.view", "token")
    if which.everyone:
        await ask.require("principal.view", "principal")
    page = _desk(received).page(
        _asker(ask), everyone=bool(which.everyone), after=which.after, limit=which.limit or PAGE
    )
    return reply(await page)


@router.post("/tokens/{token_id}/revoke", response_model=answers.RevokedToken)
async def revoke(ask: Ask, received: Received, token_id: Uuid) -> Response:
    """End a token, and those that were made with it (`ended`): within two seconds it opens nothing any more.

    One that is over stays as it is. Others' tokens are for who may change principals.
    """
    await ask.require("token.revoke", "token")
    others = await ask.allows("principal.set", "principal")
    return reply(await _desk(received).revoke(_asker(ask), token_id, others=others))


@router.get("/webhooks/senders", tags=["alerts"], response_model=answers.Senders)
async def senders(ask: Ask, received: Received) -> Response:
    """Who may send alerts for the tenant, how each proves itself, and how many of its secrets are good."""
    await ask.require("webhook.view", "webhook")
    known = received.door.senders.known
    items = [
        {"sender": name, "tenant": found.tenant, "method": found.method, "live_secrets": len(found.secrets)}
        for name, found in sorted(known.items())
        if found.tenant == ask.identity.tenant
    ]
    return reply({"items": items})


def _desk(received: Reception) -> TokenDesk:
    if received.desk is None:
        raise Unavailable("Tokens cannot be made here.")
    return received.desk


def _asker(ask: Asking) -> Asker:
    return Asker(ask.identity.proof, ask.identity.tenant, ask.identity.request_key)


def _tuple(found: list[str] | None) -> tuple[str, ...] | None:
    return None if found is None else tuple(found)
