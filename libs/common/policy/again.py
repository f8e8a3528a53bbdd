"""Answers that stand for a moment: the same question about the same thing, of an actor with the same rights."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")
TTL_MS: Final = 5_000
MAX_KEPT: Final = 10_000


class Kept(Generic[T]):
    """Answers by their question's key, for five seconds each; the oldest go first where there are too many."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._found: dict[bytes, tuple[float, T]] = {}

    def get(self, key: bytes) -> tuple[T, int] | None:
        """The answer, and for how many milliseconds it still stands."""
        kept = self._found.get(key)
        if kept is None:
            return None
        left = int((kept[0] - self._monotonic()) * 1000)
        if left <= 0:
            del self._found[key]
            return None
        return kept[1], left

    def put(self, key: bytes, answer: T) -> None:
        """Keep it from now on."""
        self._found.pop(key, None)
        while len(self._found) >= MAX_KEPT:
            del self._found[next(iter(self._found))]
        self._found[key] = (self._monotonic() + TTL_MS / 1000, answer)
