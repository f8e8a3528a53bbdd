"""Work that is done again and again: every so often, or when the next timer of a schema is due.

An outage of a server delays it and nothing else; any other error is the process's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from libs.common.database import TRANSIENT, Database
from libs.common.telemetry import log

AT_MOST_SECONDS: Final = 1.0
AT_LEAST_SECONDS: Final = 0.01
_NEXT: Final = "SELECT extract(epoch FROM min(due_at) - clock_timestamp()) FROM timer WHERE state = 'set'"


async def every(seconds: float, what: str, work: Callable[[], Awaitable[object]]) -> None:
    """Do `work`, wait, and again, until cancelled."""
    while True:
        try:
            await work()
        except TRANSIENT as error:
            log.warning("round_waits", what=what, error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(seconds)


async def whenever_due(database: Database, fire_due: Callable[[], Awaitable[int]]) -> None:
    """Fire the timers of a schema until cancelled; `fire_due` fires one group and returns how many there were.

    Sleeps to the next due time by the database's clock, at most a second: a timer that is set meanwhile may be sooner.
    """
    while True:
        pause = AT_MOST_SECONDS
        try:
            pause = await _next(database)
            while pause <= 0 and await fire_due():
                pause = await _next(database)
        except TRANSIENT as error:
            log.warning("timers_wait", error=f"{type(error).__name__}: {error}")
        await asyncio.sleep(min(AT_MOST_SECONDS, max(AT_LEAST_SECONDS, pause)))


async def _next(database: Database) -> float:
    """Seconds until the next timer is due; one that is overdue is below zero."""
    found = await database.pool.fetchval(_NEXT)
    return AT_MOST_SECONDS if found is None else float(found)
