"""A cancellation that got lost, noticed afterwards.

Before Python 3.12 `asyncio.wait_for`, by which the bus's client waits for answers, swallows a cancellation that meets
the answer. Whoever goes on in a loop would never end then: a task group cancels its tasks once.
"""

import asyncio


def heed() -> None:
    """To be called in a loop, after the bus has answered.

    Raises:
        CancelledError: this task was cancelled, and nobody told it.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
