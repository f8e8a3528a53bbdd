"""Refusals at the door, told once an actor, action, reason and minute: whoever repeats them floods nothing.

Noted in memory while a request is answered, written a second later; a crash loses at most that second. Another gateway
that refused the same in the same minute finds it told.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from libs.common.clock import utc_now
from libs.common.contracts.access import AccessDenied
from libs.common.database import TRANSIENT, Database
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import SYSTEM_TENANTS, Principal
from libs.common.rounds import until_next
from libs.common.telemetry import log
from services.gateway.principals.proof import ANONYMOUS

WRITE_SECONDS: Final = 1.0
MINUTE: Final = 60
MOST: Final = 1000
"""Different refusals that are remembered at a time; more than that in a minute are only counted."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Who was refused what, and why, in which minute."""

    tenant: str
    actor: str
    action: str
    reason: str
    method: str
    minute: int

    @property
    def denial_id(self) -> str:
        """The same in every gateway."""
        return derived_id("denial", self.tenant, self.actor, self.action, self.reason, self.method, str(self.minute))


class Denials:
    """The refusals of one process; a part of it."""

    def __init__(self, database: Database, *, tenant: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._tenant = tenant
        self._clock = clock
        self._outbox = Outbox("gateway", database.schema)
        self._waiting: dict[Refused, str] = {}
        self._told: set[Refused] = set()

    def note(
        self,
        principal: Principal | None,
        action: str,
        reason: str,
        *,
        tenant: str = "",
        data: Mapping[str, object] | None = None,
    ) -> None:
        """Remember a refusal; `principal` is None where nobody proved who asks. Never raises, never waits."""
        refused = Refused(
            tenant or self._tenant_of(principal),
            principal.actor if principal is not None else ANONYMOUS,
            action,
            reason,
            principal.method if principal is not None else "none",
            int(self._clock()) // MINUTE,
        )
        if refused not in self._told and len(self._waiting) + len(self._told) < MOST:
            self._waiting.setdefault(refused, str((data or {}).get("decision_id") or ""))

    async def run(self) -> None:
        """Write them down for as long as the process lives."""
        while True:
            await asyncio.sleep(until_next(WRITE_SECONDS))
            try:
                await self.write()
            except TRANSIENT as error:
                log.warning("denials_unwritten", error=type(error).__name__)

    async def write(self) -> None:
        """Tell what was noted and nobody has told yet."""
        this_minute = int(self._clock()) // MINUTE
        self._told = {refused for refused in self._told if refused.minute >= this_minute}
        waiting = dict(self._waiting)
        if not waiting:
            return
        async with self._database.transaction("denials") as tx:
            ids = sorted(uuid.UUID(refused.denial_id) for refused in waiting)
            rows = await tx.fetch(
                "INSERT INTO denial (denial_id) SELECT unnest($1::uuid[]) ON CONFLICT DO NOTHING RETURNING denial_id",
                ids,
            )
            fresh = {str(row["denial_id"]) for row in rows}
            now = utc_now()
            await self._outbox.add(
                tx,
                [
                    self._outbox.event(
                        _fact(refused, decision_id),
                        aggregate_id=refused.denial_id,
                        aggregate_version=1,
                        cause=Cause(tenant=refused.tenant, actor=refused.actor, correlation=refused.denial_id),
                        now=now,
                    )
                    for refused, decision_id in waiting.items()
                    if refused.denial_id in fresh
                ],
            )
        self._told |= waiting.keys()
        for refused in waiting:
            self._waiting.pop(refused, None)

    async def last_words(self) -> None:
        """At the process's end: what is noted and not written yet."""
        with contextlib.suppress(*TRANSIENT):
            await self.write()

    def _tenant_of(self, principal: Principal | None) -> str:
        """Whose log it goes to: the refused one's own, never that of whom they asked for."""
        if principal is None or principal.tenants == SYSTEM_TENANTS or not principal.tenants:
            return self._tenant
        return min(principal.tenants)


def _fact(refused: Refused, decision_id: str) -> AccessDenied:
    return AccessDenied(
        denial_id=refused.denial_id,
        actor=refused.actor,
        action=refused.action,
        reason=refused.reason,
        method=refused.method,
        decision_id=decision_id or None,
    )
