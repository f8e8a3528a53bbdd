"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar, overload

T = TypeVar("T")


@overload
async def eventually(fn: Callable[[], Coroutine[Any, Any, T]], timeout: float = 10, interval: float = 0.02) -> T: ...


@overload
async def eventually(fn: Callable[[], T], timeout: float = 10, interval: float = 0.02) -> T: ...


async def eventually(fn: Callable[[], Any], timeout: float = 10, interval: float = 0.02) -> Any:
    """The first truthy value of `fn`, plain or async; AssertionError with the last value when the time is over."""
    deadline = time.monotonic() + timeout
    while True:
        found = fn()
        value = await found if inspect.isawaitable(found) else found
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; last value: {value!r}")
        await asyncio.sleep(interval)
