"""URLs of the gateway's own that read one artefact, without a credential, until their time is over.

A URL says whose artefact, of which kind, under which name it is to be saved and until when, and is signed over all of
it with the path's hash: nothing of it can be changed. It travels in a query, which stands in no trace and no log.
"""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Final
from urllib.parse import parse_qsl, urlencode

import orjson

from libs.common.errors import Denied, Misconfigured
from libs.common.sealing import Sealer

_DOMAIN: Final = b"runbook-ranger evidence url 1\n"
_MAX_QUERY: Final = 1_000


class UrlInvalid(Denied):
    """It was not given out here, or was changed since."""

    title = "Not a URL that was given out"

    def __init__(self) -> None:
        super().__init__(
            "This URL was not given out here, or was changed.", fix="Ask for a new one.", code="url_invalid"
        )


class UrlTooOld(Denied):
    """Its time is over."""

    title = "The URL's time is over"

    def __init__(self) -> None:
        super().__init__("This URL's time is over.", fix="Ask for a new one.", code="url_expired")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a URL says. `length` is in bytes, `until` in Unix seconds."""

    sha256: str
    tenant: str
    kind: str
    length: int
    filename: str
    until: int


@dataclass(frozen=True, slots=True)
class Links:
    """Gives URLs out, and knows them again."""

    sealer: Sealer

    @classmethod
    def of(cls, text: str) -> "Links":
        """From a setting, as `Sealer.of`."""
        return cls(Sealer.of(_DOMAIN, text, what="evidence"))

    def url(self, link: Link) -> str:
        """The path and query at this gateway.

        Raises:
            Misconfigured: there is no secret to sign with.
        """
        if not self.sealer:
            raise Misconfigured(
                "This gateway has no secret to sign URLs with.",
                fix="Set RR_EVIDENCE_SECRET; docs/operators.md, Artefacts.",
                code="evidence_urls_off",
            )
        said = {field.name: getattr(link, field.name) for field in fields(link) if field.name != "sha256"}
        return f"/evidence/{link.sha256}/content?{urlencode({**said, 'signature': self.sealer.sign(_text(link))})}"

    def read(self, sha256: str, query: bytes, *, now: datetime) -> Link:
        """What the URL with this hash and query says.

        Raises:
            UrlInvalid, UrlTooOld.
        """
        given = parse_qsl(query.decode("ascii", "replace"), keep_blank_values=True) if len(query) <= _MAX_QUERY else []
        said = dict(given)
        signature = said.pop("signature", "")
        try:
            numbers = {"length": int(said.pop("length")), "until": int(said.pop("until"))}
            link = Link(sha256=sha256, **said, **numbers)  # type: ignore[arg-type] # what is missing or strange raises
        except (KeyError, TypeError, ValueError):
            raise UrlInvalid from None
        if len(given) != len(fields(link)) or not self.sealer.signed(_text(link), signature):
            raise UrlInvalid
        if now.timestamp() >= link.until:
            raise UrlTooOld
        return link


def _text(link: Link) -> str:
    return orjson.dumps({field.name: getattr(link, field.name) for field in fields(link)}).decode()
