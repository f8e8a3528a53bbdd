"""Links that name what exactly somebody looked at: an approval, its plan and its action by hash, until when.

A link is no right: whoever follows it signs in and is asked about by policy like anybody else. What it adds is that a
decision made through it is about what the link was made for, whoever passed it on. It is signed, so that nobody makes
one up that shows one thing and decides another. With two secrets the first signs and both are good: to change them, put
the new one in front, and take the old one away when its last link is over.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import orjson

from services.approvals.errors import LinkInvalid, LinksOff, LinkTooOld

_DOMAIN: Final = b"runbook-ranger approval link 1\n"
MAX_TEXT: Final = 2_000
MIN_SECRET: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link says. `until` is in Unix seconds."""

    tenant: str
    approval_id: str
    plan_hash: str
    action_hash: str
    until: int


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with the first secret, and knows what any of them has signed. Without one there are no links."""

    secrets: Sequence[str]

    @classmethod
    def of(cls, text: str) -> "Signer":
        """From a setting: one secret, or two with a comma between.

        Raises:
            ValueError: there are more, or one is too short to be one; the text does not show them.
        """
        secrets = [part.strip() for part in text.split(",") if part.strip()]
        if len(secrets) > 2:
            raise ValueError("at most two link secrets are live: the new one, and the one before it")
        if any(len(secret) < MIN_SECRET for secret in secrets):
            raise ValueError(f"a link secret has at least {MIN_SECRET} characters")
        return cls(tuple(secrets))

    def sign(self, link: Link) -> str:
        """The link as text: letters, digits, `-`, `_` and one dot.

        Raises:
            LinksOff: there is no secret.
        """
        if not self.secrets:
            raise LinksOff
        body = _encoded(orjson.dumps(asdict(link), option=orjson.OPT_SORT_KEYS))
        return f"{body}.{_signature(self.secrets[0], body)}"

    def read(self, text: str, *, now: datetime) -> Link:
        """The link that this is the text of.

        Raises:
            LinksOff: there is no secret.
            LinkInvalid: it was not signed here, or was changed since.
            LinkTooOld: its time is over.
        """
        if not self.secrets:
            raise LinksOff
        body, _, signature = text.partition(".")
        signed = [
            hmac.compare_digest(_signature(secret, body).encode(), signature.encode(errors="replace"))
            for secret in self.secrets
        ]
        if len(text) > MAX_TEXT or not any(signed):
            raise LinkInvalid
        try:
            link = Link(**orjson.loads(_decoded(body)))
        except (ValueError, TypeError, binascii.Error):
            raise LinkInvalid from None
        if now.timestamp() >= link.until:
            raise LinkTooOld(link.approval_id)
        return link


def _signature(secret: str, body: str) -> str:
    return _encoded(hmac.new(secret.encode(), _DOMAIN + body.encode(errors="replace"), hashlib.sha256).digest())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
