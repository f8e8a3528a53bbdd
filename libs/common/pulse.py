"""The pulse: one question that a process asks its database every so often, for all who have to look there.

Relays, timers and sweeps are woken by what happens; behind each stands a look that finds what nobody was told of, after
a crash or a lost notification. Each look by itself is a statement, a round trip and a wake-up, most of what an idle
process does. Here each is a column of one statement, and who gets a telling answer goes to work.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any, Final, TypeAlias

import asyncpg

from libs.common.database import TRANSIENT, Database
from libs.common.rounds import until_next
from libs.common.telemetry import log

Hear: TypeAlias = Callable[[Any], None]
"""Gets the value of an expression. It must neither wait nor raise."""

HOUR: Final = 3600.0


class Pulse:
    """The looks of one process into one schema. While the database is away nobody hears anything."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._asked: dict[str, list[Hear]] = {}
        self._within = HOUR
        self._new = asyncio.Event()

    def ask(self, expression: str, hear: Hear, *, within: float) -> None:
        """Have `hear` told the value of an SQL expression, at least once in so many seconds.

        It is part of one statement, so it must find its rows by an index; the most impatient sets the pace for all.
        """
        self._asked.setdefault(expression, []).append(hear)
        self._within = min(self._within, within)
        self._new.set()

    async def run(self, connection: "asyncpg.Connection[asyncpg.Record] | None" = None) -> None:
        """Ask until cancelled: over the pool, or over this connection, whose session then is never idle for long."""
        while True:
            self._new.clear()
            try:
                await self.look(connection)
            except TRANSIENT as error:
                log.warning("pulse_waits", schema=self._database.schema, error=f"{type(error).__name__}: {error}")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(until_next(self._within)):
                    await self._new.wait()

    async def look(self, connection: "asyncpg.Connection[asyncpg.Record] | None" = None) -> None:
        """Ask once, and tell everybody.

        Raises:
            asyncpg.PostgresError, OSError: nobody was told anything.
        """
        asked = dict(self._asked)
        if not asked:
            return
        statement = f"SELECT {', '.join(f'({each})' for each in asked)}"
        answers = await (connection or self._database.pool).fetchrow(statement) or ()
        for hears, value in zip(asked.values(), answers, strict=True):
            for hear in hears:
                hear(value)
