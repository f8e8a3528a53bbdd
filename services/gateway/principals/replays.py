"""Which signed posts were taken: each is good once. Kept as long as its signature could be good, and a while longer."""

from typing import Final

from libs.common.database import TRANSIENT, Database
from libs.common.errors import Conflict, Unavailable
from libs.common.telemetry import log

KEEP_SECONDS: Final = 900
"""A signature is good for at most twice the skew of 300 s."""


class Replays:
    """Remembers signed posts in the database, so that another gateway knows them too."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enter(self, sender: str, digest: bytes) -> None:
        """Note that a post was taken.

        Raises:
            Conflict: it was taken before.
            Unavailable: the database does not answer; nothing was taken.
        """
        try:
            fresh = await self._database.pool.fetchval(
                "INSERT INTO signed_post (sender, digest) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING true",
                sender,
                digest,
            )
        except TRANSIENT as error:
            log.warning("replays_unread", error=type(error).__name__)
            raise Unavailable("Whether this was posted before cannot be told now.", fix="Send it again.") from None
        if not fresh:
            raise Conflict(
                "This signed post was taken before.", fix="Sign each post anew, with the time it is.", code="replayed"
            )

    async def release(self, sender: str, digest: bytes) -> None:
        """It was not taken after all: the very same post may come again."""
        try:
            await self._database.pool.execute(
                "DELETE FROM signed_post WHERE sender = $1 AND digest = $2", sender, digest
            )
        except TRANSIENT as error:
            log.warning("replay_unreleased", error=type(error).__name__, fix="the sender signs its post anew")
