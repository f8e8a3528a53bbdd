"""Who asks, and for which tenant: read from the request's headers before anything else of it is looked at."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from libs.common.errors import Denied, InvalidInput, Unauthenticated
from libs.common.ids import new_id
from libs.common.policy import SYSTEM_TENANTS, Principal
from services.gateway.tokens import MAX_TOKEN, TENANT, Tokens

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, as ASGI hands them over."""

MAX_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """One request's caller. `request_key` makes its change happen once; it is fresh where the caller sent none."""

    principal: Principal
    tenant: str
    request_key: str


def identify(headers: Headers, tokens: Tokens, *, default_tenant: str) -> Identity:
    """The caller; one whose token is for the whole installation acts in `default_tenant` unless it names another.

    Raises:
        Unauthenticated: no token, an unknown one, or more than one.
        Denied: the tenant asked for is not the token's, or is not named although the token has several.
        InvalidInput: an idempotency key that is not 1 to 200 visible ASCII characters.
    """
    principal = _principal(headers, tokens)
    return Identity(principal, _tenant(headers, principal, default_tenant), _request_key(headers))


def values(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header."""
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def _principal(headers: Headers, tokens: Tokens) -> Principal:
    presented = values(headers, b"authorization")
    if not presented:
        raise Unauthenticated("No credential was sent.", fix="Send `Authorization: Bearer <token>`.")
    scheme, _, token = presented[0].partition(" ")
    token = token.strip()
    if len(presented) > 1 or scheme.lower() != "bearer" or not token:
        raise Unauthenticated("The credential is not one bearer token.", fix="Send `Authorization: Bearer <token>`.")
    principal = tokens.principal(token) if len(token) <= MAX_TOKEN else None
    if principal is None:
        raise Unauthenticated("Nobody knows this token.", fix="Ask an administrator for a valid one.")
    return principal


def _tenant(headers: Headers, principal: Principal, default: str) -> str:
    named = values(headers, b"rr-tenant")
    if len(named) > 1:
        raise Denied("More than one tenant was named.", fix="Send one `Rr-Tenant` header.", code="tenant_ambiguous")
    everywhere = principal.tenants == SYSTEM_TENANTS
    if not named and len(principal.tenants) == 1:
        return default if everywhere else next(iter(principal.tenants))
    if not named:
        raise Denied(
            "This token speaks for several tenants.", fix="Name one of them in `Rr-Tenant`.", code="tenant_ambiguous"
        )
    allowed = re.fullmatch(TENANT, named[0]) is not None if everywhere else named[0] in principal.tenants
    if not allowed:
        raise Denied(
            "This token does not speak for the tenant that `Rr-Tenant` names.",
            fix="Leave the header out, or use a token of that tenant.",
            code="policy.tenant",
        )
    return named[0]


def _request_key(headers: Headers) -> str:
    keys = values(headers, b"idempotency-key")
    if not keys:
        return new_id()
    key = keys[0]
    if len(keys) > 1 or not 1 <= len(key) <= MAX_KEY or not all("!" <= character <= "~" for character in key):
        raise InvalidInput(
            f"`Idempotency-Key` must be one value of 1 to {MAX_KEY} visible ASCII characters.",
            fix="Send a fresh UUID for each new change, and the same one when you repeat it.",
            code="idempotency_key",
        )
    return key
