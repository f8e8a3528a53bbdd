"""Changing a flag: one transaction with its fact, so that nobody has a part of the product without a trace of why."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.access import FlagChanged
from libs.common.database import Database, Tx
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from services.gateway.flags.book import CHANNEL, FlagBook
from services.gateway.flags.model import Flag, State

SERVICE: Final = "gateway"
_HELD: Final = "SELECT name, state, tenants, version FROM feature_flag WHERE name = $1 FOR UPDATE"
_NEW: Final = """
INSERT INTO feature_flag (name, state, tenants, version, changed_by, changed_at, rationale)
VALUES ($1, 'on', '{}', 0, '', $2, '') ON CONFLICT DO NOTHING
"""
_SET: Final = f"""
WITH changed AS (
  UPDATE feature_flag SET state = $2, tenants = $3, version = version + 1, changed_by = $4, changed_at = $5,
    rationale = $6 WHERE name = $1 RETURNING 1)
SELECT pg_notify('{CHANNEL}', '') FROM changed
"""


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody wants of a flag, and why."""

    state: State
    tenants: frozenset[str]
    rationale: str


class FlagDesk:
    """Carries out what the route let through."""

    def __init__(self, database: Database, book: FlagBook, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._book = book
        self._outbox = Outbox(SERVICE, database.schema)
        self._clock = clock

    async def change(self, name: str, change: Change, *, actor: str, tenant: str, request_key: str) -> Flag:
        """The flag as it is now. What says what is so already changes nothing and tells nothing."""
        now = self._clock()
        async with self._database.transaction("change_flag") as tx:
            await tx.execute(_NEW, name, now)
            row = await tx.fetchrow(_HELD, name)
            assert row is not None
            same = (row["state"], frozenset(row["tenants"])) == (change.state, change.tenants)
            if not same:
                cause = Cause(tenant=tenant, actor=actor, correlation=request_key)
                await self._set(tx, name, change, cause, row["version"] + 1, now)
        await self._book.read()
        return self._book.flag(name)

    async def _set(self, tx: Tx, name: str, change: Change, cause: Cause, version: int, now: datetime) -> None:
        await tx.fetchval(_SET, name, change.state, sorted(change.tenants), cause.actor, now, change.rationale)
        fact = FlagChanged(
            flag=name,
            state=change.state,
            tenants=sorted(change.tenants),
            rationale=change.rationale,
            changed_at=rfc3339(now),
        )
        aggregate = derived_id("flag", name)
        event = self._outbox.event(fact, aggregate_id=aggregate, aggregate_version=version, cause=cause, now=now)
        await self._outbox.add(tx, [event])
