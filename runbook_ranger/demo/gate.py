"""A gate that holds calls at a named point, so that a test decides what has happened when it kills a worker."""

from __future__ import annotations

import asyncio
from enum import StrEnum


class GateMode(StrEnum):
    """Where calls are held."""

    OPEN = "open"
    HOLD_BEFORE_EFFECT = "hold_before_effect"
    HOLD_AFTER_EFFECT = "hold_after_effect"


class Gate:
    """Holds calls at one point until it is opened; with `count` only that many, the next ones pass."""

    def __init__(self) -> None:
        self.mode = GateMode.OPEN
        self.held: list[int] = []
        self._left: int | None = None
        self._opened = asyncio.Event()

    def set(self, mode: GateMode, count: int | None = None) -> None:
        """Change the mode; opening lets everybody through, another mode leaves held calls where they are."""
        self.mode = mode
        self._left = count
        if mode is GateMode.OPEN:
            self._opened.set()
            self._opened = asyncio.Event()

    async def pass_point(self, point: GateMode, call: int) -> None:
        """Come to a point as call number `call`; return when it is free."""
        if self.mode is not point or self._left == 0:
            return
        if self._left is not None:
            self._left -= 1
        self.held.append(call)
        try:
            await self._opened.wait()
        finally:
            self.held.remove(call)
