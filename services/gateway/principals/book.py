"""API tokens as requests meet them: looked up by id, kept for two seconds at most, forgotten at once when one changes.

So a revocation takes effect within `FRESH_SECONDS` in every gateway, whatever becomes of the notification that tells
of it, and a database that is away makes tokens unknown after that, not eternal. That somebody used a token is
remembered here and written once a minute; a crash loses at most that minute.
"""

import asyncio
import contextlib
import time
from datetime import UTC, datetime
from typing import Final

from libs.common.database import TRANSIENT, Database
from libs.common.errors import Unavailable
from libs.common.outbox import listen
from libs.common.telemetry import log
from services.gateway.principals import token_rows
from services.gateway.principals.token_rows import CHANNEL, Row

FRESH_SECONDS: Final = 2.0
WRITE_SECONDS: Final = 60.0
MOST: Final = 10_000
LOOKUPS: Final = 2
"""Connections that looking up tokens may hold at once: whoever guesses ids does not take the pool from the others."""


class TokenBook:
    """Which tokens there are; the same for all requests of a process."""

    def __init__(
        self, database: Database, *, fresh_seconds: float = FRESH_SECONDS, write_seconds: float = WRITE_SECONDS
    ) -> None:
        self._database = database
        self._fresh = fresh_seconds
        self._write = write_seconds
        self._known: dict[str, tuple[float, Row | None]] = {}
        self._asked: dict[str, asyncio.Task[Row | None]] = {}
        self._turns = asyncio.Semaphore(LOOKUPS)
        self._used: dict[str, datetime] = {}

    async def find(self, token_id: str) -> Row | None:
        """The token with this id, as it was `FRESH_SECONDS` ago or later.

        Raises:
            Unavailable: the database does not answer.
        """
        now = time.monotonic()
        at, row = self._known.get(token_id, (-self._fresh, None))
        if now - at < self._fresh:
            return row
        task = self._asked.get(token_id)
        if task is None:
            task = self._asked[token_id] = asyncio.create_task(self._ask(token_id))
            task.add_done_callback(lambda done: self._answered(token_id, done))
        return await asyncio.shield(task)

    def used(self, token_id: str) -> None:
        """Remember that it was used now."""
        self._used[token_id] = datetime.now(UTC)

    def forget(self) -> None:
        """Something changed: ask anew, also where an answer is just on its way."""
        self._known.clear()
        self._asked.clear()

    async def run(self) -> None:
        """Hear of changes, and write down what was used, for as long as the process lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, CHANNEL, self.forget))
            group.create_task(self._write_forever())

    async def write(self) -> None:
        """Write down which tokens were used since the last time."""
        used, self._used = self._used, {}
        if used:
            await token_rows.mark_used(self._database, used)

    async def _write_forever(self) -> None:
        while True:
            await asyncio.sleep(self._write)
            try:
                await self.write()
            except TRANSIENT as error:
                log.warning("token_use_unwritten", error=type(error).__name__)

    def _answered(self, token_id: str, done: "asyncio.Task[Row | None]") -> None:
        if self._asked.get(token_id) is done:
            del self._asked[token_id]

    async def _ask(self, token_id: str) -> Row | None:
        began = time.monotonic()
        try:
            async with self._turns:
                row = await token_rows.by_id(self._database, token_id)
        except TRANSIENT as error:
            log.warning("token_unread", error=type(error).__name__)
            raise Unavailable("Tokens cannot be looked up now.", fix="Try again.") from None
        if self._asked.get(token_id) is asyncio.current_task():  # nothing changed meanwhile
            if len(self._known) >= MOST:
                self._known.clear()
            self._known[token_id] = (began, row)
        return row

    async def last_words(self) -> None:
        """At the process's end: what is remembered and not written yet."""
        with contextlib.suppress(*TRANSIENT):
            await self.write()
