"""What a burst took from the allocator, given back once the process is calm again.

A batch of hundreds of messages takes megabytes for moments. glibc keeps what was freed below the highest thing that is
still used, so a process that worked hard once would be as large for as long as it lives. `malloc_trim` gives whole free
pages back, wherever they are; it takes about a millisecond, so it is called once after each time of work and not
during it. Elsewhere than with glibc nothing is done.
"""

import asyncio
import ctypes
import gc
import sys
import time
from collections.abc import Callable
from typing import Final

from libs.common.rounds import until_next

LOOK_SECONDS: Final = 5.0
CALM: Final = 0.02
"""A core's share below which a process is calm: several times what an idle one takes."""


def _trim() -> Callable[[int], int] | None:
    """`malloc_trim` of glibc; None where there is another C library."""
    if sys.platform != "linux":
        return None
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


class Memory:
    """Gives memory back whenever a time of work is over."""

    def __init__(self, trim: Callable[[int], int] | None = None) -> None:
        self._trim = trim or _trim()
        self._worked = True
        self._spent = time.process_time()
        self._looked = time.monotonic()

    async def run(self) -> None:
        """Look every few seconds until cancelled."""
        while True:
            await asyncio.sleep(until_next(LOOK_SECONDS))
            self.look(time.process_time(), time.monotonic())

    def look(self, spent: float, now: float) -> bool:
        """Whether memory was given back: the first calm look after one that was not. Both are seconds."""
        share = (spent - self._spent) / max(now - self._looked, LOOK_SECONDS / 2)
        self._spent, self._looked = spent, now
        calm = share < CALM
        due, self._worked = calm and self._worked, not calm
        if due and self._trim is not None:
            gc.collect()  # what hangs together in circles would keep its pages
            self._trim(0)
        return due
