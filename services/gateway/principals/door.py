"""The doorkeeper: from the headers of a request to whom it speaks for.

One credential a request, in `Authorization`: a token of the settings or one that was minted, an identity provider's
JWT, the sealed account's secret, a sender's password or token; or a sender's signature in headers of its own, which
the body has to prove. Senders of alerts are let in at the paths for alerts and nowhere else.
"""

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from libs.common.policy import Principal
from services.gateway import metrics
from services.gateway.principals.book import TokenBook
from services.gateway.principals.directory import Directories
from services.gateway.principals.minted import PREFIX, Presented
from services.gateway.principals.proof import Proof, Rejected
from services.gateway.principals.sealed import PREFIX as SEALED_PREFIX
from services.gateway.principals.sealed import Seal
from services.gateway.principals.senders import Claim, Senders
from services.gateway.tokens import MAX_TOKEN, Tokens

Headers = Sequence[tuple[bytes, bytes]]
"""Names in lower case, as ASGI hands them over."""

MAX_BEARER: Final = 8192
ALERT_PATHS: Final = frozenset({b"/webhooks/alertmanager", b"/webhooks/events"})
_SEND: Final = "Send `Authorization: Bearer <token>`."


class Bearers(Protocol):
    """Identity providers' tokens."""

    async def principal(self, text: str) -> tuple[Principal, float]:
        """Whom a JWT speaks for, and until when (Unix seconds).

        Raises:
            Rejected: it proves nothing.
            Unavailable: the provider's keys cannot be had.
        """


@dataclass(slots=True)
class Doorkeeper:
    """Knows every kind of credential that this installation has."""

    static: Tokens
    book: TokenBook | None = None
    bearers: Bearers | None = None
    seal: Seal | None = None
    senders: Senders = field(default_factory=Senders)
    directories: Directories = field(default_factory=lambda: Directories(""))

    async def admit(self, headers: Headers, *, method: str, path: bytes) -> Proof | Claim:
        """Whom the credential speaks for, or what the body has still to prove.

        Raises:
            Rejected: no credential, more than one, or one that opens nothing.
            Unavailable: it cannot be told now.
        """
        presented = values(headers, b"authorization")
        for_alerts = method == "POST" and path in ALERT_PATHS
        claim = self.senders.claim(headers) if for_alerts else None
        if claim is not None and not presented:
            return claim
        if not presented:
            raise Rejected("none", "No credential was sent.", fix=_SEND)
        if claim is not None:
            raise Rejected("malformed")
        scheme, _, secret = presented[0].partition(" ")
        secret = secret.strip()
        if len(presented) > 1 or not secret:
            raise Rejected("malformed", "The credential is not one bearer token.", fix=_SEND)
        if scheme.lower() == "basic" and for_alerts:
            return self._enriched(self.senders.by_password(*_basic(secret)))
        if scheme.lower() != "bearer":
            raise Rejected("malformed", "The credential is not one bearer token.", fix=_SEND)
        return self._enriched(await self._bearer(secret, headers, for_alerts=for_alerts))

    def vouch(self, proof: Proof) -> Proof:
        """What was proven by other means, with what the directory knows.

        Raises:
            Rejected: the principal is disabled.
        """
        return self._enriched(proof)

    async def current(self, proof: Proof) -> bool:
        """Whether a credential that was let in would be let in now with the same rights: for what lasts.

        Raises:
            Unavailable: it cannot be told now.
        """
        if proof.over():
            return False
        if proof.kind == "token" and self.book is not None:
            row = await self.book.find(proof.key)
            if row is None or row.revoked_at is not None:
                return False
        if proof.kind == "break_glass":
            return self.seal is not None and self.seal.stands(proof.key)
        return self.directories.enriched(proof.base) == proof.principal

    def _enriched(self, proof: Proof) -> Proof:
        """The sealed account is left as it is: it has to open when the directory is what is broken."""
        if proof.kind == "break_glass":
            return proof
        principal = self.directories.enriched(proof.base)
        if principal is None:
            raise Rejected(
                "disabled",
                "This principal is disabled.",
                fix="An administrator can say why.",
                principal=proof.base,
            )
        return replace(proof, principal=principal)

    async def _bearer(self, secret: str, headers: Headers, *, for_alerts: bool) -> Proof:
        if len(secret) > MAX_BEARER:
            raise Rejected("malformed")
        if len(secret) <= MAX_TOKEN:
            if (known := self.static.principal(secret)) is not None:
                return Proof("static", known, known)
            if for_alerts and (proof := self.senders.by_token(secret)) is not None:
                return proof
        if secret.startswith(SEALED_PREFIX) and self.seal is not None:
            return await self.seal.open(secret, values(headers, b"rr-rationale"))
        if secret.startswith(PREFIX) and self.book is not None:
            return await self._minted(secret, self.book)
        if secret.count(".") == 2 and self.bearers is not None:
            principal, until = await self.bearers.principal(secret)
            return Proof("jwt", principal, principal, until=until)
        raise Rejected("unknown")

    async def _minted(self, secret: str, book: TokenBook) -> Proof:
        presented = Presented.read(secret)
        row = await book.find(presented.token_id) if presented is not None else None
        digest = row.digest if row is not None else bytes(32)
        if presented is None or not presented.proves(digest) or row is None:
            raise Rejected("unknown")
        proof = Proof("token", row.principal, row.principal, row.token_id, row.expires_at.timestamp())
        if row.revoked_at is not None:
            raise Rejected("revoked", "This token was revoked.", fix="Make another.", principal=row.principal)
        if proof.over():
            raise Rejected("expired", "This token has expired.", fix="Make another.", principal=row.principal)
        book.used(row.token_id)
        return proof


def values(headers: Headers, name: bytes) -> list[str]:
    """Every value of a header."""
    return [value.decode("latin-1").strip() for key, value in headers if key == name]


def count(rejected: Rejected) -> None:
    """Every rejection counts, whatever its answer."""
    metrics.REJECTED.labels(rejected.reason).inc()


def _basic(secret: str) -> tuple[str, str]:
    try:
        name, colon, password = base64.b64decode(secret, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        raise Rejected("malformed") from None
    if not colon:
        raise Rejected("malformed")
    return name, password
