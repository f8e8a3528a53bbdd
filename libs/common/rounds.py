"""Work that is done again and again: every so often, or when the next timer of a schema is due.

An outage of a server delays it and nothing else; any other error is the process's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from libs.common.database import TRANSIENT, Database
from libs.common.telemetry import log

if TYPE_CHECKING:
    from libs.common.pulse import Pulse

AT_MOST_SECONDS: Final = 1.0
AT_LEAST_SECONDS: Final = 0.01
EARLY_SECONDS: Final = 0.005
"""By so much may a loop's timer be early: then the round that is just due is not done twice."""
_NEXT: Final = "SELECT extract(epoch FROM min(due_at) - clock_timestamp()) FROM timer WHERE state = 'set'"


def until_next(seconds: float) -> float:
    """How long it is to the next multiple of so many seconds on the loop's clock: at most that, and a few milliseconds.

    Whatever a process does every so often, it does at the same wake-up then.
    """
    now = asyncio.get_running_loop().time()
    return ((now + EARLY_SECONDS) // seconds + 1) * seconds - now


async def every(seconds: float, what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, wait, and again, until cancelled."""
    while True:
        try:
            await work()
        except TRANSIENT as error:
            log.warning("round_waits", what=what, error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(until_next(seconds))


async def whenever_due(database: Database, pulse: "Pulse", fire_due: Callable[[], Awaitable[int]]) -> None:
    """Fire the timers of a schema until cancelled; `fire_due` fires one group and returns how many there were.

    The pulse tells at least once a second how far off the next one is, by the database's clock: a timer that is set
    meanwhile may be sooner. What is due within the second is slept for.
    """
    near = asyncio.Event()

    def hear(seconds: float | None) -> None:
        if seconds is not None and seconds < AT_MOST_SECONDS:
            near.set()

    pulse.ask(_NEXT, hear, within=AT_MOST_SECONDS)
    while True:
        await near.wait()
        near.clear()
        try:
            while (seconds := await _next(database)) < AT_MOST_SECONDS:
                if seconds > 0 or not await fire_due():
                    await asyncio.sleep(max(AT_LEAST_SECONDS, seconds))
        except TRANSIENT as error:
            log.warning("timers_wait", error=f"{type(error).__name__}: {error}")


async def _next(database: Database) -> float:
    """Seconds until the next timer is due; one that is overdue is below zero."""
    found = await database.pool.fetchval(_NEXT)
    return AT_MOST_SECONDS if found is None else float(found)
