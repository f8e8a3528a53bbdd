"""The months ahead of the searched events: made long before the first event of a month is stored.

An event of a month that nobody has made goes to the default partition; whoever makes the month later moves it there.
So a process that was down, or a stream's clock that is wrong, refuses nothing.
"""

from typing import Final

import asyncpg

from libs.common.database import Database
from libs.common.rounds import every
from libs.common.telemetry import log

AHEAD: Final = 3
"""Months beyond the current one."""
_MAKE: Final = "SELECT make_entry_partitions((now() AT TIME ZONE 'UTC')::date, $1)"


class Partitions:
    """Runs in every timeline process: whoever comes second finds nothing to do."""

    def __init__(self, database: Database, *, seconds: float) -> None:
        self._database = database
        self._seconds = seconds

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        await every(self._seconds, "timeline partitions", self.make)

    async def make(self) -> int:
        """Make what is missing up to `AHEAD` months; returns how many there were, none if something is in the way.

        Readers may be, for more than 2 s. Whatever it is, the log goes on: there is the default partition.
        """
        try:
            made: int = await self._database.pool.fetchval(_MAKE, AHEAD)
        except asyncpg.PostgresError as error:
            log.warning("timeline_partitions_wait", error=f"{type(error).__name__}: {error}")
            return 0
        if made:
            log.info("timeline_partitions_made", count=made)
        return made
