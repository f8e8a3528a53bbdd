"""The breaker of a runbook on a resource: after too many failures it opens, and only a person closes it again.

Failures are counted from executions that ended, since the last reset; an end and a claim both look. A claim holds the
resource's lock by then, which the execution that failed has let go of in the transaction that ended it: so whoever
comes next sees that failure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from libs.common.contracts.execution import BreakerOpened, BreakerReset
from libs.common.contracts.marking import Marking
from libs.common.database import Tx, Uuid
from libs.common.ids import derived_id
from libs.common.outbox import Cause, Outbox
from services.executor import metrics
from services.executor.errors import BreakerNotOpen
from services.executor.guards.hold import Hold
from services.executor.guards.terms import BreakerTerms, breaker_terms, spoken
from services.executor.model import ACTOR, Execution, Hint
from services.executor.storage import to_hint
from services.executor.storage.columns import columns, uuids

LOOK_AGAIN: Final = timedelta(minutes=5)
"""A step that an open breaker holds is looked at this often, should the word of its reset be lost."""

FIX: Final = "find out why, then reset the breaker (`rangerctl execution reset-breaker`)"
_STATE: Final = """
SELECT breaker_id, state, failures FROM breaker WHERE breaker_id = ANY($1::uuid[]) ORDER BY breaker_id FOR SHARE
"""
_FAILURES: Final = """
WITH failed AS (
  SELECT t.n, t.most, t.secs, e.execution_id, e.ended_at
  FROM unnest($1::text[], $2::text[], $3::text[], $4::uuid[], $5::int[], $6::float8[]) WITH ORDINALITY
      AS t(tenant, runbook, resource, breaker, most, secs, n)
    JOIN guarded_change c ON (c.tenant_id, c.runbook_id, c.resource_id) = (t.tenant, t.runbook, t.resource)
    JOIN action_log a ON a.action_id = c.action_id AND a.started_at IS NOT NULL
    JOIN execution e ON e.execution_id = c.execution_id
    LEFT JOIN breaker b ON b.breaker_id = t.breaker
  WHERE e.ended_at > coalesce(b.reset_at, '-infinity')
    AND (e.state = 'failed' OR (e.state = 'completed' AND a.state = 'failed' AND NOT EXISTS (
      SELECT 1 FROM action_log l WHERE l.step_run_id = a.step_run_id AND l.attempt > a.attempt)))
  GROUP BY t.n, t.most, t.secs, e.execution_id, e.ended_at),
spaced AS (
  SELECT n, secs, execution_id, ended_at,
    lag(ended_at, most - 1) OVER (PARTITION BY n ORDER BY ended_at, execution_id) AS first FROM failed)
SELECT DISTINCT ON (s.n) s.n, e.execution_id, e.correlation, e.incident_id, e.traceparent,
  e.environment, e.clearance
FROM spaced s JOIN execution e ON e.execution_id = s.execution_id
WHERE s.first >= s.ended_at - make_interval(secs => s.secs) ORDER BY s.n, s.ended_at DESC
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


async def holds(tx: Tx, outbox: Outbox, asked: Mapping[Place, BreakerTerms], *, now: datetime) -> dict[Place, Hold]:
    """Where changes must not begin, and why. The locks of the resources are held by the executions that ask."""
    if not asked:
        return {}
    rows = await tx.fetch(_STATE, uuids(place.breaker_id for place in asked))
    failures = {str(row["breaker_id"]): row["failures"] for row in rows if row["state"] == "open"}
    closed = {place: terms for place, terms in asked.items() if place.breaker_id not in failures}
    opened = await _open(tx, outbox, closed, now)
    failures |= {place.breaker_id: asked[place].failures for place in opened}
    return {
        place: Hold("breaker", now + LOOK_AGAIN, f"{_told(place, failures[place.breaker_id], terms)}: {FIX}, or abort")
        for place, terms in asked.items()
        if place.breaker_id in failures
    }


async def standing(tx: Tx, place: Place, terms: BreakerTerms) -> str:
    """Why a change to come would be held, read without a lock; empty when it would not."""
    row = await tx.fetchrow("SELECT state, failures FROM breaker WHERE breaker_id = $1", Uuid(place.breaker_id))
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
    await _open(tx, outbox, places, now)


async def _changed(tx: Tx, execution_id: str) -> list[str]:
    rows = await tx.fetch("SELECT DISTINCT resource_id FROM guarded_change WHERE execution_id = $1", Uuid(execution_id))
    return [row["resource_id"] for row in rows]


async def _open(tx: Tx, outbox: Outbox, places: Mapping[Place, BreakerTerms], now: datetime) -> list[Place]:
    """Open those that have failed too often, in their order; which those are. One that is open stays as it is."""
    asked = sorted(places.items(), key=lambda item: item[0])
    if not asked:
        return []
    rows = [
        (p.tenant_id, p.runbook_id, p.resource_id, Uuid(p.breaker_id), terms.failures, terms.window)
        for p, terms in asked
    ]
    found = await tx.fetch(_FAILURES, *columns(rows))
    opened = [(*asked[last["n"] - 1], last) for last in found]
    for place, terms, last in opened:
        await _open_one(tx, outbox, place, terms, last, now)
    return [place for place, _, _ in opened]


async def _open_one(
    tx: Tx, outbox: Outbox, place: Place, terms: BreakerTerms, last: asyncpg.Record, now: datetime
) -> None:
    at = (place.tenant_id, place.runbook_id, place.resource_id)
    version = await tx.fetchval(_OPEN, Uuid(place.breaker_id), *at, terms.failures, last["execution_id"])
    if version is None:
        return
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
        marking=Marking(last["environment"], last["clearance"]),
    )
    event = outbox.event(fact, aggregate_id=fact.breaker_id, aggregate_version=version, cause=cause, now=now)
    await outbox.add(tx, [event])


async def reset(tx: Tx, outbox: Outbox, place: Place, *, rationale: str, cause: Cause, now: datetime) -> list[Hint]:
    """Close it by a person's word; returns the actions that it held.

    Raises:
        BreakerNotOpen: it is not open.
    """
    version = await tx.fetchval(_RESET, Uuid(place.breaker_id), cause.actor, rationale)
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
