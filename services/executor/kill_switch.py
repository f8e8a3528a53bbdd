"""The kill switch: a row a scope, read under an advisory lock that every claim shares and the toggle takes alone.

Advisory locks queue in order, so a storm of claims cannot starve the toggle; once the toggle has committed, no claim
that has not committed before it can find the switch off. `RR_KILL_SWITCH` engages it for one process, whatever the
rows say. It only holds back and lets go: nothing is aborted by it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg

from libs.common.contracts.execution import KillSwitchChanged
from libs.common.database import Tx
from libs.common.outbox import Cause, Outbox
from services.executor.model import GLOBAL_SCOPE, SERVICE, Hint
from services.executor.storage import to_hint

LOCK_KEY: Final = 0x52414E47
"""Advisory lock of the switch, one for the database."""


@dataclass(frozen=True, slots=True)
class Switches:
    """The switches as one claim sees them."""

    engaged: Mapping[str, bool]
    epochs: Mapping[str, int]
    forced: bool

    def holds(self, tenant_id: str) -> bool:
        """Whether mutations of this tenant are held back."""
        return self.forced or any(self.engaged.get(scope, False) for scope in scopes_of(tenant_id))

    def epoch(self, tenant_id: str) -> int:
        """Counts every toggle that concerns this tenant."""
        return sum(self.epochs.get(scope, 0) for scope in scopes_of(tenant_id))


def scopes_of(tenant_id: str) -> tuple[str, str]:
    """The scopes that concern a tenant: everyone's, and its own."""
    return GLOBAL_SCOPE, f"tenant:{tenant_id}"


SHARE: Final = f"SELECT pg_advisory_xact_lock_shared({LOCK_KEY})"
"""Until its transaction ends the switches stay as a later statement sees them (one that is under way sees older ones).
Takes no parameters, so that it may go out with the transaction's beginning."""

SEEN: Final = """
  (SELECT array_agg((k.scope, k.engaged, k.epoch)) FROM kill_switch k
   WHERE k.scope IN ('global', 'tenant:' || a.tenant_id)) AS switches
"""
"""A column of a query over actions `a`, for `seen`."""


def seen(rows: Iterable[asyncpg.Record], *, forced: bool) -> Switches:
    """The switches that concern the rows of a query with the column `SEEN`."""
    known = {switch[0]: switch for row in rows for switch in row["switches"] or ()}
    return Switches(
        {scope: engaged for scope, engaged, _ in known.values()},
        {scope: epoch for scope, _, epoch in known.values()},
        forced,
    )


_TOGGLE: Final = """
INSERT INTO kill_switch (scope, engaged, epoch, changed_by, changed_at, reason) VALUES ($1, $2, 1, $3, $4, $5)
ON CONFLICT (scope) DO UPDATE SET engaged = EXCLUDED.engaged, epoch = kill_switch.epoch + 1,
  changed_by = EXCLUDED.changed_by, changed_at = EXCLUDED.changed_at, reason = EXCLUDED.reason
  WHERE kill_switch.engaged <> EXCLUDED.engaged
RETURNING epoch
"""


async def toggle(
    tx: Tx, outbox: Outbox, *, scope: str, engaged: bool, reason: str, cause: Cause, now: datetime
) -> tuple[bool, list[Hint]]:
    """Set the switch; returns whether that changed it, and the actions that may go on when it was let go.

    Waits for the claims that are committing. A toggle to the state it is in changes and publishes nothing.
    """
    await tx.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
    epoch = await tx.fetchval(_TOGGLE, scope, engaged, cause.actor, now, reason)
    if epoch is None:
        return False, []
    fact = KillSwitchChanged(scope=scope, engaged=engaged, epoch=epoch, reason=reason)
    event = outbox.event(
        fact, aggregate_id=f"{SERVICE}/kill_switch/{scope}", aggregate_version=epoch, cause=cause, now=now
    )
    await outbox.add(tx, [event])
    return True, [] if engaged else await held_back(tx)


async def held_back(connection: "Tx | asyncpg.Pool[asyncpg.Record]") -> list[Hint]:
    """Ready actions that a switch had turned away."""
    rows = await connection.fetch(
        "SELECT action_id, stream, traceparent FROM action_log WHERE state = 'ready' AND held_reason = 'kill_switch'"
    )
    return [to_hint(row) for row in rows]


async def listing(tx: Tx, tenant_id: str) -> list[dict[str, Any]]:
    """The switches that concern a tenant, as people see them."""
    rows = await tx.fetch(
        "SELECT scope, engaged, epoch, changed_by, changed_at, reason FROM kill_switch WHERE scope = ANY($1::text[])"
        " ORDER BY scope",
        list(scopes_of(tenant_id)),
    )
    return [{**dict(row), "changed_at": row["changed_at"].isoformat()} for row in rows]
