"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar, cast

T = TypeVar("T")


async def eventually(fn: Callable[[], T | Awaitable[T]], timeout: float = 10, interval: float = 0.02) -> T:
    """The first truthy value of `fn`, plain or async; AssertionError with the last value when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        found = fn()
        value = await cast("Awaitable[T]", found) if inspect.isawaitable(found) else cast("T", found)
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; last value: {value!r}")
        await asyncio.sleep(interval)
