"""Who asks, and for which tenant: read from the request's headers before anything else of it is looked at."""

import re
from dataclasses import dataclass
from typing import Final

from libs.common.errors import Denied, InvalidInput
from libs.common.ids import new_id
from libs.common.policy import SYSTEM_TENANTS, Principal
from services.gateway.principals.door import Headers, values
from services.gateway.principals.proof import Proof
from services.gateway.tokens import TENANT

MAX_KEY: Final = 200


@dataclass(frozen=True, slots=True)
class Identity:
    """One request's caller. `request_key` makes its change happen once; it is fresh where the caller sent none."""

    proof: Proof
    tenant: str
    request_key: str

    @property
    def principal(self) -> Principal:
        """Whom the credential speaks for."""
        return self.proof.principal


def identify(headers: Headers, proof: Proof, *, default_tenant: str) -> Identity:
    """The caller; one whose token is for the whole installation acts in `default_tenant` unless it names another.

    Raises:
        Denied: the tenant asked for is not the token's, or is not named although the token has several.
        InvalidInput: an idempotency key that is not 1 to 200 visible ASCII characters.
    """
    return Identity(proof, _tenant(headers, proof.principal, default_tenant), _request_key(headers))


def _tenant(headers: Headers, principal: Principal, default: str) -> str:
    named = values(headers, b"rr-tenant")
    if len(named) > 1:
        raise Denied("More than one tenant was named.", fix="Send one `Rr-Tenant` header.", code="tenant_ambiguous")
    if not principal.tenants:
        raise Denied("This credential speaks for no tenant.", fix="Ask whoever gives it out.", code="policy.tenant")
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
