"""Counts open incidents by severity, for the gauge: from the table, so that every process shows the same number."""

from typing import Final, get_args

from libs.common import rounds
from libs.common.contracts.incident import Severity
from libs.common.database import Database
from services.incident import metrics
from services.incident.lifecycle import ACTIVE

_COUNT: Final = "SELECT severity, count(*) AS n FROM incident WHERE status = ANY($1::text[]) GROUP BY severity"


class Census:
    """A part of the process that looks every so often; an outage delays it and nothing else."""

    def __init__(self, database: Database, *, every_seconds: float) -> None:
        self._database = database
        self._every = every_seconds

    async def run(self) -> None:
        """Count until cancelled."""
        await rounds.every(self._every, "census", self.look)

    async def look(self) -> None:
        """Count once; a severity without incidents shows zero."""
        rows = await self._database.pool.fetch(_COUNT, sorted(ACTIVE))
        found = {row["severity"]: row["n"] for row in rows}
        for severity in get_args(Severity):
            metrics.OPEN.labels(severity).set(found.get(severity, 0))
