"""Renews the leases of what runs here, and stops what has lost its lease or was withdrawn.

Towards the action, a lease ends earlier than in the database: it counts from before the request that renewed it, less a
margin, so that an action is stopped here before anybody there may start it again.
"""

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import Final

from libs.actions import Lease
from libs.common.database import TRANSIENT, Database, Uuid
from libs.common.outbox import listen
from libs.common.telemetry import log
from services.executor.model import Attempt
from services.executor.settings import ExecutorSettings

CANCEL_CHANNEL: Final = "executor_cancel"
MARGIN: Final = 0.1
"""Part of a lease that is kept in hand for stopping."""

_RENEW: Final = """
UPDATE action_log SET lease_until = clock_timestamp() + make_interval(secs => $3)
FROM unnest($1::uuid[], $2::bigint[]) AS t(id, fence)
WHERE action_id = t.id AND action_log.fence = t.fence AND state = 'running'
RETURNING action_id, cancel_requested
"""


@dataclass(frozen=True, slots=True)
class Running:
    """An attempt that runs here, and the lease that its action watches."""

    attempt: Attempt
    lease: Lease


class Leases:
    """The leases of one worker."""

    def __init__(self, database: Database, settings: ExecutorSettings) -> None:
        self._database = database
        self._seconds = settings.lease_seconds
        self._every = settings.lease_renew_seconds
        self._running: dict[str, Running] = {}
        self._look = asyncio.Event()

    @property
    def idle(self) -> bool:
        """Whether nothing runs here."""
        return not self._running

    def begin(self, attempt: Attempt, claimed_before: float) -> Lease:
        """Watch over an attempt that was claimed in a request sent at `claimed_before` (monotonic seconds)."""
        lease = Lease(claimed_before + self._seconds * (1 - MARGIN))
        self._running[attempt.action_id] = Running(attempt, lease)
        return lease

    def end(self, attempt: Attempt) -> None:
        """The attempt is settled."""
        self._running.pop(attempt.action_id, None)

    async def run(self) -> None:
        """Renew until cancelled; a withdrawal is noticed at once, by notification."""
        async with asyncio.TaskGroup() as group:
            group.create_task(listen(self._database, CANCEL_CHANNEL, self._look.set))
            group.create_task(self._renew_forever())

    async def _renew_forever(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every):
                    await self._look.wait()
            self._look.clear()
            if self._running:
                await self._renew()

    async def _renew(self) -> None:
        asked = list(self._running.values())
        before = time.monotonic()
        try:
            rows = await self._database.pool.fetch(
                _RENEW,
                [Uuid(r.attempt.action_id) for r in asked],
                [r.attempt.fence for r in asked],
                self._seconds,
            )
        except TRANSIENT as error:
            # The leases run out by themselves if this goes on; each action watches its own.
            log.warning("leases_not_renewed", count=len(asked), error=type(error).__name__)
            self._look.set()
            await asyncio.sleep(min(1.0, self._every / 4))
            return
        kept = {str(row["action_id"]): row["cancel_requested"] for row in rows}
        for running in asked:
            withdrawn = kept.get(running.attempt.action_id)
            if withdrawn is None:
                running.lease.cancel("lease_lost")
            elif withdrawn:
                running.lease.cancel("cancelled")
            else:
                running.lease.extend(before + self._seconds * (1 - MARGIN))
