"""Links that name what exactly somebody looked at: an approval, its plan and its action by hash, until when.

A link is no right: whoever follows it signs in and is asked about by policy like anybody else. What it adds is that a
decision made through it is about what the link was made for, whoever passed it on. It is signed, so that nobody makes
one up that shows one thing and decides another.
"""

import base64
import binascii
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final

import orjson

from libs.common.sealing import Sealer, encoded
from services.approvals.errors import LinkInvalid, LinksOff, LinkTooOld

_DOMAIN: Final = b"runbook-ranger approval link 1\n"
MAX_TEXT: Final = 2_000


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

    sealer: Sealer

    @classmethod
    def of(cls, text: str) -> "Signer":
        """From a setting: one secret, or two with a comma between.

        Raises:
            ValueError: as `Sealer.of`.
        """
        return cls(Sealer.of(_DOMAIN, text, what="link"))

    def sign(self, link: Link) -> str:
        """The link as text: letters, digits, `-`, `_` and one dot.

        Raises:
            LinksOff: there is no secret.
        """
        if not self.sealer:
            raise LinksOff
        body = encoded(orjson.dumps(asdict(link), option=orjson.OPT_SORT_KEYS))
        return f"{body}.{self.sealer.sign(body)}"

    def read(self, text: str, *, now: datetime) -> Link:
        """The link that this is the text of.

        Raises:
            LinksOff: there is no secret.
            LinkInvalid: it was not signed here, or was changed since.
            LinkTooOld: its time is over.
        """
        if not self.sealer:
            raise LinksOff
        body, _, signature = text.partition(".")
        if len(text) > MAX_TEXT or not self.sealer.signed(body, signature):
            raise LinkInvalid
        try:
            link = Link(**orjson.loads(_decoded(body)))
        except (ValueError, TypeError, binascii.Error):
            raise LinkInvalid from None
        if now.timestamp() >= link.until:
            raise LinkTooOld(link.approval_id)
        return link


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
