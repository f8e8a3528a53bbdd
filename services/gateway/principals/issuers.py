"""Identity providers that are trusted, from `RR_JWT_ISSUERS`: whose tokens, for whom, signed how, and what they say."""

from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError, model_validator

from libs.common.contracts.fact import describe
from services.gateway.tokens import TenantName

Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"]
"""Signatures that a public key checks: with `none` and with shared secrets, whoever can check a token can make one."""
DEFAULT_ALGORITHMS: Final[frozenset[Algorithm]] = frozenset({"RS256", "ES256", "EdDSA"})
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})

Claim = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Claims(_Part):
    """Where a provider's tokens say what: the name of a claim, or a path to it (`realm_access.roles`)."""

    actor: Claim = "sub"
    roles: Claim = "roles"
    tenants: Claim = "tenants"
    environments: Claim = "environments"
    clearance: Claim = "clearance"
    groups: Claim = "groups"
    mfa: Claim = "amr"
    scopes: Claim | None = None


class Issuer(_Part):
    """One provider. `tenants`: the most that its tokens may speak for; `*` must be written here to be taken from one.

    `actor_prefix` keeps people of several providers apart. `skew_seconds` is what clocks may differ.
    """

    issuer: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    audience: Annotated[frozenset[Claim], Field(min_length=1, max_length=10)]
    jwks_url: str = ""
    jwks_file: str = ""
    algorithms: Annotated[frozenset[Algorithm], Field(min_length=1)] = DEFAULT_ALGORITHMS
    claims: Claims = Claims()
    tenants: frozenset[TenantName] | None = None
    actor_prefix: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{0,32}$")] = ""
    kind: Literal["person", "service"] = "person"
    skew_seconds: Annotated[int, Field(ge=0, le=120)] = 30
    max_seconds: Annotated[int, Field(ge=60, le=7 * 86400, description="a longer-lived token is refused")] = 86400

    @model_validator(mode="after")
    def _reachable(self) -> Self:
        if bool(self.jwks_url) == bool(self.jwks_file):
            raise ValueError("name one of jwks_url and jwks_file")
        url = urlsplit(self.jwks_url)
        plain = url.scheme == "http" and url.hostname in _LOOPBACK
        if self.jwks_url and (not url.hostname or not (url.scheme == "https" or plain)):
            raise ValueError("jwks_url is https://…")
        return self


_LIST: Final = TypeAdapter(tuple[Issuer, ...])


def read(text: str) -> tuple[Issuer, ...]:
    """The providers in a JSON list.

    Raises:
        SystemExit: it is none, or one of them cannot be meant.
    """
    try:
        found = _LIST.validate_python(orjson.loads(text or "[]"))
    except orjson.JSONDecodeError:
        raise SystemExit("settings: RR_JWT_ISSUERS must be a JSON list of providers") from None
    except ValidationError as error:
        raise SystemExit(f"settings: RR_JWT_ISSUERS: {describe(error)}") from None
    if len({issuer.issuer for issuer in found}) < len(found):
        raise SystemExit("settings: RR_JWT_ISSUERS: a provider is named twice")
    return found
