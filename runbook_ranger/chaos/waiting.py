"""Waiting for a condition."""

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Final

STEP_SECONDS: Final = 0.05


async def until(condition: Callable[[], bool | Awaitable[bool]], timeout: float, step: float = STEP_SECONDS) -> None:
    """Return once `condition` holds.

    Raises:
        TimeoutError: it did not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = condition()
        if await found if inspect.isawaitable(found) else found:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s")
        await asyncio.sleep(step)
