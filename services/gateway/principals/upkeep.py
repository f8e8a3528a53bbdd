"""What nobody can need any more is deleted: signed posts, told refusals, and tokens that ended long ago."""

import asyncio
from typing import Final

from libs.common.database import TRANSIENT, Database
from libs.common.telemetry import log
from services.gateway.principals.replays import KEEP_SECONDS

EVERY_SECONDS: Final = 60.0
_FORGET: Final = (
    f"DELETE FROM signed_post WHERE seen_at < clock_timestamp() - interval '{KEEP_SECONDS} s'",
    "DELETE FROM denial WHERE noted_at < clock_timestamp() - interval '10 min'",
    "DELETE FROM command WHERE created_at < clock_timestamp() - interval '30 days'",
    "DELETE FROM api_token WHERE expires_at < clock_timestamp() - interval '400 days'",
)


class Upkeep:
    """Deletes once a minute; a part of the process. That several processes do it harms nothing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> None:
        """Keep on for as long as the process lives."""
        while True:
            try:
                await self.once()
            except TRANSIENT as error:
                log.warning("upkeep_waits", error=type(error).__name__)
            await asyncio.sleep(EVERY_SECONDS)

    async def once(self) -> None:
        """Delete what is old now."""
        for statement in _FORGET:
            await self._database.pool.execute(statement)
