"""Serving an artefact to whoever has a URL that was given out for it, and to nobody else.

The object is hashed before its first byte leaves, and again while it leaves: the last part is held back until the hash
holds, so that what was swapped, even in between, never arrives whole.
"""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from types import SimpleNamespace
from typing import Final

from starlette.types import Receive, Scope, Send

from libs.common.artefacts import key_of
from libs.common.clock import utc_now
from libs.common.errors import NotFound, RangerError
from libs.common.objectstore import ObjectStore
from libs.common.telemetry import log
from services.gateway.evidence.desk import swapped
from services.gateway.evidence.links import Link, Links

ROUTE: Final = SimpleNamespace(path="/evidence/{sha256}/content")
_PATH: Final = re.compile(rb"/evidence/([0-9a-f]{64})/content")


class Swapped(RangerError):
    """The object is not what its name says."""

    code = "evidence_swapped"
    title = "Not the evidence that the log names"


class Downloads:
    """An ASGI application of one path."""

    def __init__(self, store: ObjectStore, links: Links, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._store = store
        self._links = links
        self._clock = clock

    @staticmethod
    def takes(scope: Scope) -> bool:
        """Whether this is a URL of ours, good or not."""
        return scope["method"] == "GET" and _PATH.fullmatch(scope.get("raw_path") or b"") is not None

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the artefact.

        Raises:
            Denied: the URL is not good, or not any more.
            NotFound, Swapped: the object is gone, or is another one.
            StoreUnavailable: the store does not answer.
        """
        scope["route"] = ROUTE
        match = _PATH.fullmatch(scope["raw_path"])
        assert match is not None
        link = self._links.read(match[1].decode(), scope.get("query_string", b""), now=self._clock())
        if await self._store.size(key_of(link.tenant, link.kind, link.sha256)) is None:
            raise NotFound("The object store does not hold this artefact.", code="evidence_missing")
        async for _ in self._checked(link):
            pass
        log.info("evidence_read", tenant=link.tenant, kind=link.kind, sha256=link.sha256)
        await send({"type": "http.response.start", "status": 200, "headers": _headers(link)})
        async for part in self._checked(link):
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _checked(self, link: Link) -> AsyncIterator[bytes]:
        """The object's parts, the last one only once all of it is what its name says."""
        digest, length, held = hashlib.sha256(), 0, b""
        async for part in self._store.chunks(key_of(link.tenant, link.kind, link.sha256)):
            digest.update(part)
            length += len(part)
            if held:
                yield held
            held = part
        if (digest.hexdigest(), length) != (link.sha256, link.length):
            swapped(link.tenant, link.kind, link.sha256)
            raise Swapped("What the object store holds under this hash is something else.")
        yield held


def _headers(link: Link) -> list[tuple[bytes, bytes]]:
    return [
        (b"content-type", b"application/octet-stream"),
        (b"content-length", str(link.length).encode()),
        (b"content-disposition", f'attachment; filename="{link.filename}"'.encode()),
    ]
