"""Senders of alerts: monitoring systems that post for one tenant each, which their credential names and no body can.

A sender signs (HMAC-SHA256 over `v1:<unix seconds>:<raw body>`), or sends a password or a token, as Alertmanager does.
Two secrets may live at a time, so that they are changed without a gap. Signing secrets must be kept as they are, so all
of them are in a file that is mounted like any secret, not in the database (docs/decisions/0026).
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_validator, model_validator

from libs.common.policy import Principal
from services.gateway.principals.minted import digest_of
from services.gateway.principals.proof import Proof, Rejected
from services.gateway.principals.watched import Watched, document
from services.gateway.tokens import HASHED, MAX_TOKEN, TENANT

VARIABLE: Final = "RR_WEBHOOKS_FILE"
SKEW_SECONDS: Final = 300
LIVE_SECRETS: Final = 2
ROLE: Final = "alerting"
ACTION: Final = "alert.post"
_WHAT: Final = "webhooks are a mapping of senders"
_STAMP: Final = re.compile(r"[1-9][0-9]{0,11}")
_SIGNATURE: Final = re.compile(r"v1=([0-9a-f]{64})")
_NOBODY: Final = b"nobody has this secret, and comparing with it takes as long"

SenderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
OneTenant = Annotated[str, StringConstraints(pattern=rf"^{TENANT}$")]


class Sender(BaseModel):
    """One sender: for which tenant it posts, how it proves itself, and the secrets that are good now.

    `hmac` needs the secrets themselves; for the others each may be given as `sha256:` and its hash.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: OneTenant
    method: Literal["hmac", "basic", "bearer"]
    secrets: Annotated[tuple[SecretStr, ...], Field(min_length=1, max_length=LIVE_SECRETS)]

    @field_validator("secrets")
    @classmethod
    def _long(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        for secret in value:
            text = secret.get_secret_value()
            if not 32 <= len(text) <= MAX_TOKEN or not all("!" <= character <= "~" for character in text):
                raise ValueError(f"a secret is 32 to {MAX_TOKEN} visible ASCII characters")
        return value

    @model_validator(mode="after")
    def _signs_with_itself(self) -> Self:
        if self.method == "hmac" and any(HASHED.fullmatch(secret.get_secret_value()) for secret in self.secrets):
            raise ValueError("a signature is checked with the secret itself, not with its hash")
        return self

    @property
    def digests(self) -> tuple[bytes, ...]:
        """Hashes of the secrets."""
        texts = (secret.get_secret_value() for secret in self.secrets)
        return tuple(
            bytes.fromhex(found[1]) if (found := HASHED.fullmatch(text)) else digest_of(text) for text in texts
        )


class SendersFile(BaseModel):
    """The file as it is written."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    senders: Annotated[Mapping[SenderName, Sender], Field(max_length=1000)] = {}

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """The senders in a file.

        Raises:
            FileRefused: it holds none; the text quotes nothing of it.
        """
        return document(content, cls, what=_WHAT, secret=True)


@dataclass(frozen=True, slots=True)
class Claim:
    """A signature that the body has still to prove."""

    sender: str
    keys: tuple[bytes, ...]
    tenant: str
    stamp: str
    signature: bytes

    def prove(self, body: bytes) -> tuple[Proof, bytes]:
        """Whom it speaks for, and what names this post and no other.

        Raises:
            Rejected: no live secret has signed this; an unknown sender is found out no sooner.
        """
        signed = b"v1:" + self.stamp.encode() + b":" + body
        known = self.keys or (_NOBODY,)
        good = False
        for key in (*known, *(_NOBODY,) * (LIVE_SECRETS - len(known))):
            good |= hmac.compare_digest(hmac.digest(key, signed, "sha256"), self.signature) and key is not _NOBODY
        if not good:
            raise Rejected("signature")
        return proof_of(self.sender, self.tenant), hashlib.sha256(signed).digest()


class Senders:
    """Who may send alerts now."""

    def __init__(self, path: str = "", clock: Callable[[], float] = time.time) -> None:
        self.watched = Watched(VARIABLE, path, SendersFile.parse, SendersFile())
        self._clock = clock
        self._indexed: SendersFile | None = None
        self._tokens: tuple[tuple[bytes, str, str], ...] = ()

    @property
    def known(self) -> Mapping[str, Sender]:
        """By name."""
        return self.watched.value.senders

    def claim(self, headers: Sequence[tuple[bytes, bytes]]) -> Claim | None:
        """What a request with a signature claims; None where none was sent.

        Raises:
            Rejected: the headers are not three good ones, or the time is off.
        """
        names, stamps, signatures = (
            [value.decode("latin-1") for key, value in headers if key == name]
            for name in (b"rr-sender", b"rr-timestamp", b"rr-signature")
        )
        if not (names or stamps or signatures):
            return None
        if (len(names), len(stamps), len(signatures)) != (1, 1, 1):
            raise Rejected("malformed")
        signature = _SIGNATURE.fullmatch(signatures[0])
        if signature is None or _STAMP.fullmatch(stamps[0]) is None:
            raise Rejected("malformed")
        if abs(self._clock() - int(stamps[0])) > SKEW_SECONDS:
            raise Rejected("stale")
        sender = self.known.get(names[0])
        signs = sender is not None and sender.method == "hmac"
        keys = tuple(secret.get_secret_value().encode() for secret in sender.secrets) if sender and signs else ()
        return Claim(names[0], keys, sender.tenant if sender else "", stamps[0], bytes.fromhex(signature[1]))

    def by_password(self, name: str, password: str) -> Proof:
        """The sender of that name and password.

        Raises:
            Rejected: there is none.
        """
        presented, sender = digest_of(password), self.known.get(name)
        digests = sender.digests if sender is not None and sender.method == "basic" else (bytes(32),)
        good = False
        for digest in digests:
            good |= hmac.compare_digest(digest, presented)
        if not good or sender is None:
            raise Rejected("password")
        return proof_of(name, sender.tenant)

    def by_token(self, token: str) -> Proof | None:
        """The sender that a token belongs to; every one is compared."""
        presented, found = digest_of(token), None
        for digest, name, tenant in self._by_token():
            if hmac.compare_digest(digest, presented):
                found = proof_of(name, tenant)
        return found

    def _by_token(self) -> tuple[tuple[bytes, str, str], ...]:
        """(hash, sender, tenant) of every token; made once a version of the file."""
        file = self.watched.value
        if self._indexed is not file:
            bearers = [(name, sender) for name, sender in file.senders.items() if sender.method == "bearer"]
            self._tokens = tuple((digest, name, one.tenant) for name, one in bearers for digest in one.digests)
            self._indexed = file
        return self._tokens


def proof_of(name: str, tenant: str) -> Proof:
    """What a sender may: post alerts for its tenant."""
    principal = Principal(
        f"sender:{name}",
        frozenset({tenant}),
        frozenset({ROLE}),
        kind="sender",
        method="webhook",
        scopes=frozenset({ACTION}),
    )
    return Proof("sender", principal, principal, name)
