"""Counts open approvals by risk, for the gauge, and forgets ended executions whose facts cannot come again."""

from typing import Final, get_args

from libs.common import rounds
from libs.common.contracts.execution import Risk
from libs.common.database import Database
from libs.common.inbox import KEEP
from services.approvals import metrics
from services.approvals.lifecycle import INITIAL

_COUNT: Final = f"SELECT risk, count(*) AS n FROM approval WHERE state = '{INITIAL}' GROUP BY risk"
_FORGET: Final = "DELETE FROM execution WHERE ended AND seen_at < clock_timestamp() - $1::interval"


class Census:
    """A part of the process that looks every so often; an outage delays it and nothing else."""

    def __init__(self, database: Database, *, every_seconds: float) -> None:
        self._database = database
        self._every = every_seconds

    async def run(self) -> None:
        """Count until cancelled."""
        await rounds.every(self._every, "census", self.look)

    async def look(self) -> None:
        """Count once; a risk without open approvals shows zero."""
        rows = await self._database.pool.fetch(_COUNT)
        found = {row["risk"]: row["n"] for row in rows}
        for risk in get_args(Risk):
            metrics.OPEN.labels(risk).set(found.get(risk, 0))
        await self._database.pool.execute(_FORGET, KEEP)
