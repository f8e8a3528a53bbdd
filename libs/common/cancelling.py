"""Tasks that are to end, although a cancellation can get lost.

Before Python 3.12 `asyncio.wait_for`, by which the bus's client waits for answers, swallows a cancellation that meets
the answer. Whoever goes on in a loop would never end then: a task group cancels its tasks once.
"""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

AGAIN_SECONDS: Final = 0.5


def heed() -> None:
    """To be called in a loop, after the bus has answered.

    Raises:
        CancelledError: this task was cancelled, and nobody told it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


async def ended(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended, even if cancelled meanwhile. How they ended is nobody's concern any more."""
    all_of = set(tasks)
    cancelled: asyncio.CancelledError | None = None
    while pending := {task for task in all_of if not task.done()}:
        for task in pending:
            task.cancel()
        try:
            await asyncio.wait(pending, timeout=AGAIN_SECONDS)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in all_of:
        if not task.cancelled():
            task.exception()  # or the loop would complain that nobody asked
    if cancelled is not None:
        raise cancelled
