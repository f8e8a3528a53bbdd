"""Two engines beside each other: the first one's answers count, and where the second says otherwise it is told."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from libs.common import metrics
from libs.common.policy.engines.base import EngineFailed, Evaluated, PolicyEngine
from libs.common.policy.inputs import Document
from libs.common.telemetry import log

MAX_WAITING: Final = 64
"""Comparisons under way; beyond that a slow second engine is not asked, and that is counted."""


class Shadow:
    """Answers with `first`, as fast as it does; `second` is asked the same behind it."""

    def __init__(self, first: PolicyEngine, second: PolicyEngine) -> None:
        self._first = first
        self._second = second
        self._waiting: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The one whose answers count."""
        return self._first.name

    @property
    def revision(self) -> str:
        """Of the one whose answers count."""
        return self._first.revision

    async def evaluate(self, entrypoint: str, document: Document) -> Evaluated:
        """As the protocol says; neither the second's answer nor its failure shows in it."""
        try:
            found = await self._first.evaluate(entrypoint, document)
        except EngineFailed:
            self._compare(entrypoint, document, None)
            raise
        self._compare(entrypoint, document, found)
        return found

    async def close(self) -> None:
        """Let comparisons that are under way end, then close both."""
        await self.settled()
        await self._first.close()
        await self._second.close()

    async def settled(self) -> None:
        """Wait until every comparison that was begun has ended."""
        while self._waiting:
            await asyncio.wait(self._waiting)

    def _compare(self, entrypoint: str, document: Document, first: Evaluated | None) -> None:
        if len(self._waiting) >= MAX_WAITING:
            metrics.POLICY_SHADOW.labels("skipped").inc()
            return
        task = asyncio.create_task(self._compared(entrypoint, document, first))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _compared(self, entrypoint: str, document: Document, first: Evaluated | None) -> None:
        try:
            second: Evaluated | None = await self._second.evaluate(entrypoint, document)
        except EngineFailed as error:
            second = None
            log.warning("policy_shadow_failed", engine=self._second.name, entrypoint=entrypoint, error=str(error))
        outcome = _outcome(first, second)
        metrics.POLICY_SHADOW.labels(outcome).inc()
        if outcome == "different":
            log.error(
                "policy_engines_disagree",
                entrypoint=entrypoint,
                action=document.get("action", ""),
                first=_gist(first),
                second=_gist(second),
            )


def _outcome(first: Evaluated | None, second: Evaluated | None) -> str:
    if first is None or second is None:
        return "failed"
    return "same" if _gist(first) == _gist(second) else "different"


def _gist(found: Evaluated | None) -> dict[str, Any]:
    """What has to be equal: the order of codes is an engine's own."""
    if found is None or not isinstance(found.value, dict):
        return {"value": None if found is None else found.value}
    value = dict(found.value)
    for codes in ("grants", "denials"):
        if isinstance(value.get(codes), list):
            value[codes] = sorted(map(repr, value[codes]))
    return value
