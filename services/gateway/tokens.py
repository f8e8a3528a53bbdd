"""API tokens: which there are, and whom each speaks for.

Only hashes are kept, and a presented token is compared with all of them in constant time: how long an answer takes
says nothing about how close a guess was.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Self

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, field_validator

from libs.common.contracts.fact import describe
from libs.common.policy import ACTIONS, SYSTEM_TENANTS, Principal
from libs.common.settings import TokenMap

MIN_TOKEN: Final = 16
MAX_TOKEN: Final = 512
ROLES: Final = frozenset().union(*ACTIONS.values()) - {"system"}
"""What a person or a sender may be; `system` is for services and comes with no token."""

Actor = Annotated[str, StringConstraints(pattern=r"^[!-~]{1,128}$")]
TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
TenantName = Annotated[str, StringConstraints(pattern=rf"^({TENANT}|\*)$")]


class Holder(BaseModel):
    """What the token map says of one token. The tenant `*`, alone, is the whole installation."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    actor: Actor
    tenants: Annotated[frozenset[TenantName], Field(min_length=1, max_length=1000)]
    roles: Annotated[frozenset[str], Field(min_length=1)]

    @field_validator("tenants")
    @classmethod
    def _all_or_some(cls, value: frozenset[str]) -> frozenset[str]:
        if "*" in value and value != SYSTEM_TENANTS:
            raise ValueError("`*` stands alone")
        return value


@dataclass(frozen=True, slots=True)
class Credential:
    """A token's hash and its holder."""

    digest: bytes
    principal: Principal


class Tokens:
    """The known tokens of this process; they are read at its start."""

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
    good = MIN_TOKEN <= len(token) <= MAX_TOKEN and token.isascii() and token.isprintable() and " " not in token
    if not good:
        raise SystemExit(f"settings: token {number} of RR_TOKENS is not {MIN_TOKEN} to {MAX_TOKEN} visible ASCII")
    try:
        holder = Holder.model_validate(entry)
    except ValidationError as error:
        raise SystemExit(f"settings: token {number} of RR_TOKENS: {describe(error)}") from None
    unknown = holder.roles - ROLES
    if unknown:
        raise SystemExit(f"settings: token {number} of RR_TOKENS: roles are {', '.join(sorted(ROLES))}")
    return Credential(_digest(token), Principal(holder.actor, holder.tenants, holder.roles))


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
