"""Who may begin: decided when an execution is planned, under the locks of its keys, in the transaction that stores it.

One that is let in begins at once. One that is queued stays pending until `queue` lets it begin. One that is rejected
has failed, and says why. Places are counted from executions that live, or of which something still runs: what an
execution held is free when it is gone, whoever died meanwhile.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Final, Literal, TypeAlias, cast

import orjson
from msgspec.structs import replace

from libs.common.contracts.execution import ExecutionFailed
from libs.common.database import Tx
from libs.common.outbox import Outbox
from libs.runbook.facts import Started
from libs.runbook.limits import Policy
from services.executor import metrics, storage
from services.executor.fold import Change, cause_of
from services.executor.guards import rate, turns
from services.executor.guards.endings import WAKE
from services.executor.guards.moves import Place
from services.executor.guards.terms import Terms
from services.executor.model import Execution
from services.executor.storage import Writes
from services.executor.storage.columns import columns, uuids

State: TypeAlias = Literal["queued", "admitted", "rejected"]
Keys: TypeAlias = Mapping[str, Mapping[str, str]]
"""The keys of executions' limits, by the name of the limit, by execution."""
NAMED: Final = 3
"""Executions that a rejection names."""

_TIDY: Final = """
UPDATE admission a SET state = 'left' FROM execution e
WHERE a.tenant_id = $1 AND a.slot_key = $2 AND a.state IN ('queued', 'admitted') AND e.execution_id = a.execution_id
  AND e.ended_at IS NOT NULL
  AND NOT EXISTS (SELECT 1 FROM action_log r WHERE r.execution_id = a.execution_id AND r.state = 'running')
"""
_PLACES: Final = """
SELECT a.execution_id, a.state, a.slot_limit, a.policy, e.ended_at IS NOT NULL AS ended
FROM admission a JOIN execution e USING (execution_id)
WHERE a.tenant_id = $1 AND a.slot_key = $2 AND a.state IN ('queued', 'admitted') ORDER BY a.arrival
"""
_KEEP: Final = """
INSERT INTO admission (execution_id, tenant_id, slot_key, slot_limit, policy, rate_key, state, begins, admitted_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8::jsonb, CASE WHEN $7 = 'admitted' THEN clock_timestamp() END)
"""
_GUARD: Final = """
UPDATE execution SET guards = t.guards::jsonb FROM unnest($1::uuid[], $2::text[]) AS t(id, guards)
WHERE execution_id = t.id
"""


async def admit(tx: Tx, outbox: Outbox, changes: Sequence[Change], keys: Keys, *, now: datetime) -> list[Change]:
    """Those of the beginnings that may be folded now; the others are queued, or have failed.

    Call it with executions that this transaction has stored, each with its `Started`. Several processes may: of all
    that ask for a key at once, one decides after the other.
    """
    await _set_terms(tx, changes, keys)
    limited = [change for change in changes if _limited(change.execution)]
    if not limited:
        return list(changes)
    asked = {change.execution.execution_id: _Asked.of(change, keys) for change in limited}
    await turns.take(tx, (name for each in asked.values() for name in each.locks))
    waits: set[str] = set()
    for execution_id, each in asked.items():
        if await _judge(tx, outbox, each, now) != "admitted":
            waits.add(execution_id)
    return [change for change in changes if change.execution.execution_id not in waits]


@dataclass(frozen=True, slots=True)
class _Asked:
    """A beginning that needs a place, or must not come too often."""

    change: Change
    place: str | None
    rate: str | None

    @classmethod
    def of(cls, change: Change, keys: Keys) -> "_Asked":
        execution = change.execution
        named = keys.get(execution.execution_id, {})
        limit = execution.spec.rate_limit
        counted = rate.key_of(execution.runbook_id, named.get("rate_limit")) if limit else None
        return cls(change, named.get("concurrency"), counted)

    @property
    def execution(self) -> Execution:
        """The execution that would begin."""
        return self.change.execution

    @property
    def locks(self) -> list[str]:
        """The locks under which it is decided."""
        tenant = self.execution.tenant_id
        found = [turns.place(tenant, self.place)] if self.place is not None else []
        return [*found, turns.rate(tenant, self.rate)] if self.rate is not None else found


def _limited(execution: Execution) -> bool:
    """Whether it needs a place, or must not come too often; a dry run changes nothing, and needs neither."""
    named = execution.spec.concurrency is not None or execution.spec.rate_limit is not None
    return named and not execution.dry_run


async def _set_terms(tx: Tx, changes: Sequence[Change], keys: Keys) -> None:
    """What claims will ask stands in the execution's row: a claim does not read the runbook."""
    real = [change.execution for change in changes if not change.execution.dry_run]
    found = ((each.execution_id, Terms.of(each.spec, keys.get(each.execution_id, {}))) for each in real)
    rows = [(execution_id, terms.to_json()) for execution_id, terms in found if terms is not None]
    if rows:
        ids, texts = columns(rows)
        await tx.execute(_GUARD, uuids(ids), texts)


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What becomes of it, by which guard, and why it is rejected, if it is."""

    state: State = "admitted"
    guard: str = "concurrency"
    why: str = ""


async def _judge(tx: Tx, outbox: Outbox, asked: _Asked, now: datetime) -> State:
    verdict = await _verdict(tx, asked)
    await _keep(tx, asked, verdict.state)
    metrics.GUARDS.labels(verdict.guard, verdict.state).inc()
    if verdict.state == "rejected":
        await _reject(tx, outbox, asked, verdict.why, now)
    elif verdict.state == "queued":
        await tx.execute(WAKE)  # one that replaces others does not wait until somebody ends
    return verdict.state


async def _verdict(tx: Tx, asked: _Asked) -> _Verdict:
    """First whether there is a place, then whether it comes too often: what is rejected costs nothing of the rate."""
    execution, wanted = asked.execution, asked.execution.spec.concurrency
    found = _Verdict(guard="concurrency" if wanted else "rate")
    if wanted is not None and asked.place is not None:
        places = await places_of(tx, execution.tenant_id, asked.place)
        if len(places) >= wanted.limit or any(not place.holds for place in places):
            if wanted.policy == "reject":
                return _Verdict("rejected", why=_taken(asked.place, wanted.limit, places))
            found = _Verdict("queued")
    if execution.spec.rate_limit is not None and asked.rate is not None:
        why = await rate.refusal(tx, execution.tenant_id, asked.rate, execution.spec.rate_limit)
        if why:
            return _Verdict("rejected", "rate", why)
    return found


def _taken(key: str, limit: int, places: Sequence[Place]) -> str:
    held = [place.execution_id for place in places if place.holds]
    waiting = len(places) - len(held)
    names = ", ".join(held[:NAMED]) + (f" and {len(held) - NAMED} more" if len(held) > NAMED else "")
    text = f"no place is free under '{key}' (limit {limit}): held by {names or 'nobody'}"
    return f"{text}; {waiting} waiting" if waiting else text


async def places_of(tx: Tx, tenant_id: str, key: str) -> list[Place]:
    """Who holds a place under a key, and who waits for one, by arrival. The key's lock is held."""
    await tx.execute(_TIDY, tenant_id, key)
    rows = await tx.fetch(_PLACES, tenant_id, key)
    return [
        Place(
            str(row["execution_id"]),
            row["state"] == "admitted",
            row["slot_limit"],
            cast("Policy", row["policy"]),
            row["ended"],
        )
        for row in rows
    ]


async def _keep(tx: Tx, asked: _Asked, state: State) -> None:
    execution, wanted = asked.execution, asked.execution.spec.concurrency
    await tx.execute(
        _KEEP,
        *uuids([execution.execution_id]),
        execution.tenant_id,
        asked.place,
        wanted.limit if wanted else None,
        wanted.policy if wanted else None,
        asked.rate,
        state,
        beginning(asked.change),
    )


def beginning(change: Change) -> str:
    """How it begins, once it does: what `Started` says, but for the alert, which may have ended by then."""
    [fact] = change.facts
    assert isinstance(fact, Started)
    said = {name: value for name, value in asdict(fact).items() if name != "alert_firing"}
    return orjson.dumps(said).decode()


async def _reject(tx: Tx, outbox: Outbox, asked: _Asked, why: str, now: datetime) -> None:
    """It has failed before anything of it began."""
    execution = asked.execution
    reason = f"rejected: {why}"[:2000]
    rejected = execution.with_frame(replace(execution.frame, state="failed", reason=reason), facts=1)
    fact = ExecutionFailed(
        execution_id=execution.execution_id,
        incident_id=execution.incident_id,
        runbook_id=execution.runbook_id,
        reason=reason,
    )
    await storage.write(tx, Writes(executions=[(execution, rejected)]))
    event = outbox.event(
        fact,
        aggregate_id=execution.execution_id,
        aggregate_version=rejected.version,
        cause=cause_of(execution, asked.change.because),
        now=now,
    )
    await outbox.add(tx, [event])
