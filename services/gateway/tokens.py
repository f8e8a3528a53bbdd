"""Tokens out of the settings: the ones that an installation begins with, before anybody can make others.

Only hashes are kept, and a presented token is compared with all of them in constant time: how long an answer takes
says nothing about how close a guess was. An entry may name a token by its hash (`sha256:` and 64 hexadecimal digits):
then the settings themselves open nothing.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from libs.common.contracts.fact import describe
from libs.common.policy import RESTRICTED, SYSTEM_TENANTS, Principal
from libs.common.settings import TokenMap

MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 512
HASHED: Final = re.compile(r"sha256:([0-9a-f]{64})")
ROLES: Final = frozenset({"viewer", "operator", "author", "approver", "auditor", "alerting", "admin"})
"""Roles that a token, an identity provider or the directory may give: a service's and the sealed account's are not."""
SCOPE: Final = r"\*|[a-z][a-z_]*\.(\*|[a-z][a-z_]*)"

Actor = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
TenantName = Annotated[str, StringConstraints(pattern=rf"^({TENANT}|\*)$")]
Label = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63}|\*)$")]
ScopeName = Annotated[str, StringConstraints(pattern=rf"^({SCOPE})$", max_length=64)]


class Holder(BaseModel):
    """What the token map says of one token. The tenant `*`, alone, is the whole installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: Actor
    tenants: Annotated[frozenset[TenantName], Field(min_length=1, max_length=1000)]
    roles: Annotated[frozenset[str], Field(min_length=1)]
    environments: Annotated[frozenset[Label], Field(min_length=1, max_length=100)] = frozenset({"*"})
    clearance: Annotated[int, Field(ge=0, le=RESTRICTED)] = 0
    groups: Annotated[frozenset[Label], Field(max_length=100)] = frozenset()
    scopes: Annotated[frozenset[ScopeName], Field(min_length=1, max_length=100)] = frozenset({"*"})

    @field_validator("tenants", "environments")
    @classmethod
    def _all_or_some(cls, value: frozenset[str]) -> frozenset[str]:
        if "*" in value and value != SYSTEM_TENANTS:
            raise ValueError("`*` stands alone")
        return value

    def principal(self) -> Principal:
        """Whom the token speaks for."""
        return Principal(
            self.actor,
            self.tenants,
            self.roles,
            environments=self.environments,
            clearance=self.clearance,
            groups=self.groups,
            scopes=self.scopes,
        )


@dataclass(frozen=True, slots=True)
class Credential:
    """A token's hash and its holder."""

    digest: bytes
    principal: Principal


class Tokens:
    """The tokens that the settings name; they are read at the process's start."""

    def __init__(self, credentials: Iterable[Credential]) -> None:
        self._credentials = tuple(credentials)

    @classmethod
    def read(cls) -> Self:
        """The tokens of `RR_TOKENS` and of the file `RR_TOKENS_FILE`; what is wrong is said without the token.

        Raises:
            SystemExit: an entry is malformed; nothing is served then, rather than something else than was meant.
        """
        source = TokenMap()
        entries = _object(source.tokens.get_secret_value().encode(), "RR_TOKENS")
        if source.tokens_file:
            entries |= _object(_content(source.tokens_file), "RR_TOKENS_FILE")
        return cls(_credential(number, *entry) for number, entry in enumerate(entries.items(), 1))

    def principal(self, presented: str) -> Principal | None:
        """Whom a presented token speaks for; None when nobody knows it. Every known token is compared."""
        digest = _digest(presented)
        found: Principal | None = None
        for credential in self._credentials:
            if hmac.compare_digest(credential.digest, digest):
                found = credential.principal
        return found


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _credential(number: int, token: str, entry: Any) -> Credential:
    hashed = HASHED.fullmatch(token)
    good = MIN_TOKEN <= len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
    if not good or (hashed is None and token.startswith("sha256:")):
        raise SystemExit(f"settings: token {number} of RR_TOKENS is not {MIN_TOKEN} to {MAX_TOKEN} visible ASCII")
    try:
        holder = Holder.model_validate(entry)
    except ValidationError as error:
        raise SystemExit(f"settings: token {number} of RR_TOKENS: {describe(error)}") from None
    unknown = holder.roles - ROLES
    if unknown:
        raise SystemExit(f"settings: token {number} of RR_TOKENS: roles are {', '.join(sorted(ROLES))}")
    return Credential(bytes.fromhex(hashed[1]) if hashed else _digest(token), holder.principal())


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SystemExit(f"settings: RR_TOKENS_FILE cannot be read: {error.strerror}") from None


def _object(text: bytes, name: str) -> dict[str, Any]:
    try:
        entries = orjson.loads(text)
    except orjson.JSONDecodeError:
        entries = None
    if not isinstance(entries, dict):
        raise SystemExit(f"settings: {name} must hold a JSON object of token to {{actor, tenants, roles}}")
    return entries
