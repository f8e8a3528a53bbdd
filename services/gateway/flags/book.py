"""The flags as requests meet them: read once in two seconds, and at once when one changes.

A database that is away leaves the flags as they were last known: a part that was off does not come on by an outage.
Until they were read for the first time, the process is not ready.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from libs.common.clock import rfc3339
from libs.common.database import TRANSIENT, Database
from libs.common.errors import Denied, Unavailable
from libs.common.outbox import listen
from libs.common.rounds import until_next
from libs.common.telemetry import log
from services.gateway.flags.model import FLAGS, Flag

CHANNEL: Final = "feature_flag"
"""Notified in the transaction that changes a flag."""
FRESH_SECONDS: Final = 2.0
_ALL: Final = "SELECT name, state, tenants, version, changed_by, changed_at, rationale FROM feature_flag"


class FlagBook:
    """Which flags there are and how they stand."""

    def __init__(self, database: Database, *, fresh_seconds: float = FRESH_SECONDS) -> None:
        self._database = database
        self._fresh = fresh_seconds
        self._known: Mapping[str, Flag] | None = None
        self._stale = asyncio.Event()

    def flag(self, name: str) -> Flag:
        """A flag as it was `FRESH_SECONDS` ago or later.

        Raises:
            Unavailable: they were never read.
        """
        if self._known is None:
            raise Unavailable("Feature flags were not read yet.", fix="Try again.")
        return self._known.get(name, Flag(name))

    def require(self, name: str, tenant: str) -> None:
        """Let a tenant pass that has it.

        Raises:
            Denied: it has not.
        """
        if not self.flag(name).enabled(tenant):
            raise Denied(
                f"This part of the product is switched off for {tenant}: {FLAGS[name]}.",
                fix=f"Ask whoever runs the installation to switch on `{name}` for the tenant.",
                code="feature_disabled",
                flag=name,
            )

    async def ready(self) -> None:
        """For the health page.

        Raises:
            Unavailable: they were never read.
        """
        self.flag(next(iter(FLAGS)))

    async def run(self) -> None:
        """Keep the flags fresh for as long as the process lives."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, CHANNEL, self._stale.set))
            group.create_task(self._read_forever())

    async def read(self) -> None:
        """Read all of them."""
        rows = await self._database.pool.fetch(_ALL)
        self._known = {
            row["name"]: Flag(
                row["name"],
                row["state"],
                frozenset(row["tenants"]),
                row["version"],
                row["changed_by"],
                rfc3339(row["changed_at"]),
                row["rationale"],
            )
            for row in rows
            if row["name"] in FLAGS
        }

    async def _read_forever(self) -> None:
        while True:
            self._stale.clear()
            try:
                await self.read()
            except TRANSIENT as error:
                log.warning("flags_unread", error=type(error).__name__)
            try:
                async with asyncio.timeout(until_next(self._fresh)):
                    await self._stale.wait()
            except TimeoutError:
                continue
