"""The breaker of a runbook on a resource: after too many failures it opens, and only a person closes it again.

Failures are counted from executions that ended, since the last reset; an end and a claim both look. A claim holds the
resource's lock by then, which the execution that failed has let go of in the transaction that ended it: so whoever
comes next sees that failure.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from libs.common.contracts.execution import BreakerOpened, BreakerReset
from libs.common.database import Tx
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from services.executor import metrics
from services.executor.errors import BreakerNotOpen
from services.executor.guards.hold import Hold
from services.executor.guards.terms import BreakerTerms, breaker_terms, spoken
from services.executor.model import ACTOR, Execution, Hint
from services.executor.storage import to_hint

LOOK_AGAIN: Final = timedelta(minutes=5)
"""A step that an open breaker holds is looked at this often, should the word of its reset be lost."""

FIX: Final = "find out why, then reset the breaker (`rangerctl execution reset-breaker`)"
_STATE: Final = "SELECT state, failures, opened_at FROM breaker WHERE breaker_id = $1 FOR SHARE"
_FAILURES: Final = """
WITH failed AS (
  SELECT e.execution_id, e.ended_at
  FROM guarded_change c JOIN execution e ON e.execution_id = c.execution_id
    JOIN action_log a ON a.action_id = c.action_id
  WHERE c.tenant_id = $1 AND c.runbook_id = $2 AND c.resource_id = $3 AND a.started_at IS NOT NULL
    AND e.ended_at > coalesce((SELECT reset_at FROM breaker WHERE breaker_id = $4), '-infinity')
    AND (e.state = 'failed' OR (e.state = 'completed' AND a.state = 'failed' AND NOT EXISTS (
      SELECT 1 FROM action_log l WHERE l.step_run_id = a.step_run_id AND l.attempt > a.attempt)))
  GROUP BY e.execution_id, e.ended_at),
spaced AS (
  SELECT execution_id, ended_at, lag(ended_at, $5 - 1) OVER (ORDER BY ended_at, execution_id) AS first FROM failed)
SELECT e.execution_id, e.correlation, e.incident_id, e.traceparent FROM spaced s JOIN execution e USING (execution_id)
WHERE s.first >= s.ended_at - make_interval(secs => $6) ORDER BY s.ended_at DESC LIMIT 1
"""
_OPEN: Final = """
INSERT INTO breaker (breaker_id, tenant_id, runbook_id, resource_id, state, version, failures, execution_id)
VALUES ($1, $2, $3, $4, 'open', 1, $5, $6)
ON CONFLICT (breaker_id) DO UPDATE SET state = 'open', version = breaker.version + 1, failures = EXCLUDED.failures,
  execution_id = EXCLUDED.execution_id, opened_at = clock_timestamp() WHERE breaker.state = 'closed'
RETURNING version
"""
_RESET: Final = """
UPDATE breaker SET state = 'closed', version = version + 1, reset_at = clock_timestamp(), reset_by = $2, rationale = $3
WHERE breaker_id = $1 AND state = 'open' RETURNING version
"""
# An action that is locked is being claimed: whoever claims it either waits for the reset and sees it, or has made the
# reset wait for the commit that this statement sees.
_LET_GO: Final = """
UPDATE action_log SET held_until = clock_timestamp() WHERE action_id IN (
  SELECT a.action_id FROM action_log a JOIN execution e ON e.execution_id = a.execution_id
  WHERE a.tenant_id = $1 AND a.resource_id = $2 AND a.state = 'ready' AND a.held_reason = 'breaker'
    AND e.runbook_id = $3 ORDER BY a.action_id FOR UPDATE OF a SKIP LOCKED)
RETURNING action_id, stream, traceparent
"""


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """What a breaker is of."""

    tenant_id: str
    runbook_id: str
    resource_id: str

    @property
    def breaker_id(self) -> str:
        """The breaker's id, the same in every process."""
        return derived_id("breaker", self.tenant_id, self.runbook_id, self.resource_id)


async def hold(tx: Tx, outbox: Outbox, place: Place, terms: BreakerTerms, now: datetime) -> Hold | None:
    """Why a change must not begin; None when it may. The lock of its resource is held by its execution."""
    row = await tx.fetchrow(_STATE, uuid.UUID(place.breaker_id))
    if row is None or row["state"] == "closed":
        if not await _open(tx, outbox, place, terms, now):
            return None
        row = await tx.fetchrow(_STATE, uuid.UUID(place.breaker_id))
        assert row is not None
    return Hold("breaker", now + LOOK_AGAIN, f"{_told(place, row['failures'], terms)}: {FIX}, or abort")


async def standing(tx: Tx, place: Place, terms: BreakerTerms) -> str:
    """Why a change to come would be held, read without a lock; empty when it would not."""
    row = await tx.fetchrow("SELECT state, failures FROM breaker WHERE breaker_id = $1", uuid.UUID(place.breaker_id))
    return _told(place, row["failures"], terms) if row is not None and row["state"] == "open" else ""


def _told(place: Place, failures: int, terms: BreakerTerms) -> str:
    times = "once" if failures == 1 else f"{failures} times"
    return f"runbook {place.runbook_id} has failed {times} on {place.resource_id} within {spoken(terms.window)}"


async def judge(tx: Tx, outbox: Outbox, ended: Sequence[Execution], *, now: datetime) -> None:
    """Open the breakers of what these executions changed, where that was one failure too many."""
    places: dict[Place, BreakerTerms] = {}
    for execution in ended:
        terms = breaker_terms(execution.spec)
        for resource in await _changed(tx, execution.execution_id):
            if terms is not None:
                places[Place(execution.tenant_id, execution.runbook_id, resource)] = terms
    for place, terms in sorted(places.items(), key=lambda item: item[0]):
        await _open(tx, outbox, place, terms, now)


async def _changed(tx: Tx, execution_id: str) -> list[str]:
    rows = await tx.fetch(
        "SELECT DISTINCT resource_id FROM guarded_change WHERE execution_id = $1", uuid.UUID(execution_id)
    )
    return [row["resource_id"] for row in rows]


async def _open(tx: Tx, outbox: Outbox, place: Place, terms: BreakerTerms, now: datetime) -> bool:
    """Open it if it has failed too often; whether it has. One that is open stays as it is."""
    at = (place.tenant_id, place.runbook_id, place.resource_id)
    breaker_id = uuid.UUID(place.breaker_id)
    last = await tx.fetchrow(_FAILURES, *at, breaker_id, terms.failures, terms.window)
    if last is None:
        return False
    version = await tx.fetchval(_OPEN, breaker_id, *at, terms.failures, last["execution_id"])
    if version is None:
        return True
    metrics.GUARDS.labels("breaker", "opened").inc()
    fact = BreakerOpened(
        breaker_id=place.breaker_id,
        runbook_id=place.runbook_id,
        resource_id=place.resource_id,
        execution_id=str(last["execution_id"]),
        failures=terms.failures,
    )
    cause = Cause(
        tenant=place.tenant_id,
        actor=ACTOR,
        correlation=last["correlation"],
        incident_id=last["incident_id"],
        execution_id=fact.execution_id,
        runbook_id=place.runbook_id,
        traceparent=last["traceparent"],
    )
    event = outbox.event(fact, aggregate_id=fact.breaker_id, aggregate_version=version, cause=cause, now=now)
    await outbox.add(tx, [event])
    return True


async def reset(tx: Tx, outbox: Outbox, place: Place, *, rationale: str, cause: Cause, now: datetime) -> list[Hint]:
    """Close it by a person's word; returns the actions that it held.

    Raises:
        BreakerNotOpen: it is not open.
    """
    version = await tx.fetchval(_RESET, uuid.UUID(place.breaker_id), cause.actor, rationale)
    if version is None:
        raise BreakerNotOpen(place.runbook_id, place.resource_id)
    metrics.GUARDS.labels("breaker", "reset").inc()
    fact = BreakerReset(
        breaker_id=place.breaker_id, runbook_id=place.runbook_id, resource_id=place.resource_id, rationale=rationale
    )
    about = cause.about(runbook_id=place.runbook_id)
    event = outbox.event(fact, aggregate_id=fact.breaker_id, aggregate_version=version, cause=about, now=now)
    await outbox.add(tx, [event])
    rows = await tx.fetch(_LET_GO, place.tenant_id, place.resource_id, place.runbook_id)
    return [to_hint(row) for row in rows]
