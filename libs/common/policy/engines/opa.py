"""OPA over HTTP: its data API at constant paths, each answer with the version and revision that gave it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import httpx

from libs.common.policy.engines.base import EngineFailed, Evaluated
from libs.common.policy.inputs import Document, canonical

OLDEST: Final = (1, 4)
"""Earlier ones have known holes in what paths and policies they let through."""
TIMEOUT: Final = httpx.Timeout(1.0, connect=0.5)
MAX_ANSWER_BYTES: Final = 65_536
_VERSION: Final = re.compile(r"v?(\d{1,6})\.(\d{1,6})\b")
_HEADERS: Final = {"content-type": "application/json", "accept": "application/json"}


class OpaHttp:
    """An OPA beside the process; `url` is its root. No answer in time, or none that can be read, allows nothing."""

    name = "opa"

    def __init__(self, url: str, *, timeout: httpx.Timeout = TIMEOUT) -> None:
        limits = httpx.Limits(max_connections=16, max_keepalive_connections=16)
        self._client = httpx.AsyncClient(
            base_url=url, timeout=timeout, limits=limits, headers=_HEADERS, trust_env=False, follow_redirects=False
        )
        self._revision = ""

    @property
    def revision(self) -> str:
        """Of the bundle that answered last; empty where OPA was started without one."""
        return self._revision

    async def evaluate(self, entrypoint: str, document: Document) -> Evaluated:
        """As the protocol says."""
        body = f'{{"input":{canonical(document)}}}'.encode()
        try:
            answer = await self._client.post(f"/v1/data/{entrypoint}", params={"provenance": "true"}, content=body)
        except httpx.HTTPError as error:
            raise EngineFailed(f"OPA did not answer: {type(error).__name__}") from error
        found = _content(answer)
        self._revision = _origin(found)
        if "result" not in found:
            raise EngineFailed(f"{entrypoint} is undefined in OPA")
        return Evaluated(found["result"], self._revision)

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _content(answer: httpx.Response) -> Mapping[str, Any]:
    if answer.status_code != httpx.codes.OK or len(answer.content) > MAX_ANSWER_BYTES:
        raise EngineFailed(f"OPA answered {answer.status_code} with {len(answer.content)} bytes")
    try:
        found = answer.json()
    except ValueError as error:
        raise EngineFailed("OPA answered something else than JSON") from error
    if not isinstance(found, dict):
        raise EngineFailed("OPA answered something else than an object")
    return found


def _origin(found: Mapping[str, Any]) -> str:
    """The revision of the one bundle that answered.

    Raises:
        EngineFailed: OPA does not say what it is, or is too old.
    """
    provenance = found.get("provenance")
    if not isinstance(provenance, dict):
        raise EngineFailed("OPA does not say which version it is")
    version = _VERSION.match(str(provenance.get("version", "")))
    if version is None or (int(version[1]), int(version[2])) < OLDEST:
        raise EngineFailed(f"OPA is older than {OLDEST[0]}.{OLDEST[1]}, or does not say which version it is")
    bundles = provenance.get("bundles") or {}
    revisions = sorted(str(bundle.get("revision", "")) for bundle in bundles.values())
    return revisions[0] if len(revisions) == 1 else "+".join(revisions)
