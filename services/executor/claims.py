"""A worker's first commit: *running*, before the first byte of any effect.

One transaction for a batch. It shares the kill switch's lock, re-computes the action's hash, asks policy, looks whether
the alert still fires, takes the resource's lock and a new fence, and sets the lease by the database's clock. What is
turned away stays ready (held by a lock, a guard or the switch), has failed without effect, or is not needed any more;
that is folded in a second transaction, which takes the execution's lock first, as every fold does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import asyncpg
from msgspec.structs import replace

from libs.common.clock import Clock
from libs.common.crash import crash_point
from libs.common.database import Database, Tx, Uuid
from libs.common.outbox import Outbox
from libs.runbook import hashing
from libs.runbook.facts import Fact, StepFailed, StepHeld, StepNotNeeded, StepStarted
from libs.runbook.frame import PAUSED, HoldReason
from services.executor import approvals, kill_switch, permits, storage
from services.executor.fold import Because, Change, fold, merged
from services.executor.grants import BEGIN_AGAIN
from services.executor.guards import changes
from services.executor.kill_switch import Switches
from services.executor.model import Attempt, Execution, Hint
from services.executor.settings import ExecutorSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """An attempt that a worker wants to carry out; `refusal` is (code, text) when its target said no beforehand."""

    attempt: Attempt
    refusal: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """Turned away for now; it stays ready."""

    reason: HoldReason


@dataclass(frozen=True, slots=True)
class Refused:
    """Not to be done; nothing was."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class NotNeeded:
    """The alert has ended before the first effect, or before a step that requires it."""


Turned: TypeAlias = Held | Refused | NotNeeded
OTHER_PLAN: Final = Refused(
    "approval_other_plan", f"The plan that was approved is not the plan that would be carried out. {BEGIN_AGAIN}"
)

LOCK_READY: Final = f"""
SELECT a.*, e.plan_hash, e.initiator, e.rights, e.environment, e.clearance, e.state AS execution_state, e.paused,
  e.guards, {kill_switch.SEEN},
  (SELECT bool_or(p.plan_hash = e.plan_hash) FROM approval p WHERE p.execution_id = a.execution_id
    AND p.state = 'granted' AND p.action_hash = '' AND p.used_at IS NOT NULL) AS plan_stands
FROM action_log a JOIN execution e USING (execution_id)
WHERE a.action_id = ANY($1::uuid[]) AND a.state = 'ready' ORDER BY a.action_id FOR UPDATE OF a SKIP LOCKED
"""

_TAKE_LOCKS: Final = """
INSERT INTO resource_lock (tenant_id, resource_id, execution_id, fence, state, lease_until)
SELECT tenant_id, resource_id, execution_id, nextval('fence'), 'held', clock_timestamp() + make_interval(secs => $4)
FROM unnest($1::text[], $2::text[], $3::uuid[]) AS t(tenant_id, resource_id, execution_id)
ORDER BY tenant_id, resource_id
ON CONFLICT (tenant_id, resource_id) DO UPDATE SET fence = EXCLUDED.fence, state = 'held',
  lease_until = EXCLUDED.lease_until WHERE resource_lock.execution_id = EXCLUDED.execution_id
RETURNING tenant_id, resource_id, execution_id
"""

_RUN: Final = """
UPDATE action_log SET state = 'running', worker_id = $2, fence = nextval('fence'), kill_epoch = t.kill_epoch,
  lease_until = clock_timestamp() + make_interval(secs => $3), started_at = clock_timestamp(), held_reason = NULL
FROM unnest($1::uuid[], $4::bigint[]) AS t(id, kill_epoch)
WHERE action_id = t.id AND state = 'ready'
RETURNING action_id, fence, started_at
"""


class Claims:
    """Claims batches of attempts for one worker."""

    def __init__(
        self, database: Database, outbox: Outbox, settings: ExecutorSettings, *, worker_id: str, clock: Clock
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._settings = settings
        self._worker_id = worker_id
        self._clock = clock

    async def claim(self, asked: Sequence[Asked]) -> tuple[dict[str, Attempt], list[Hint]]:
        """The attempts that run now, by action id (the others must not be done), and hints for what follows.

        Raises:
            Exception: the database did not commit; nothing runs.
        """
        crash_point("before_claim")
        parent = next((item.attempt.traceparent for item in asked if item.attempt.traceparent), "")
        async with self._database.begun("claim", kill_switch.SHARE, parent=parent) as (tx, _):
            running, turned = await self._decide(tx, {item.attempt.action_id: item for item in asked})
        crash_point("after_claim")
        released = [attempt for attempt in running.values() if attempt.held_reason]
        hints = await self._fold(turned, released) if turned or released else []
        return running, hints

    async def _decide(
        self, tx: Tx, asked: Mapping[str, Asked]
    ) -> tuple[dict[str, Attempt], list[tuple[Attempt, Turned]]]:
        # Alerts before actions, as everyone locks them who hears of an alert's end: the two cannot wait in a circle.
        firing = await storage.alerts_fire(
            tx, {(a.tenant_id, a.incident_id) for a in (item.attempt for item in asked.values()) if a.requires_firing}
        )
        rows = await tx.fetch(LOCK_READY, [Uuid(i) for i in sorted(asked)])
        switches = kill_switch.seen(rows, forced=self._settings.kill_switch)
        attempts = [(storage.to_attempt(row), row) for row in rows]
        refused = await permits.refusals(attempts)
        turned: list[tuple[Attempt, Turned]] = []
        passed: list[Attempt] = []
        for attempt, row in attempts:
            refusal = asked[attempt.action_id].refusal or refused.get(attempt.action_id)
            held = row["paused"] or attempt.held_reason == PAUSED  # a pause marks what it meets before it is told
            found = Held("paused") if held else verdict(attempt, refusal, switches)
            if found is None and row["plan_stands"] is False:
                found = OTHER_PLAN
            if found is None and attempt.requires_firing:
                fires = firing.get((attempt.tenant_id, attempt.incident_id))
                found = NotNeeded() if fires is False else None
            if found is None:
                passed.append(attempt)
            else:
                turned.append((attempt, found))
        free, busy = await self._take_locks(tx, passed)
        turned += [(attempt, Held("lock")) for attempt in busy]
        free, guarded = await changes.check(tx, self._outbox, free, rows, now=self._clock())
        turned += [(attempt, Held(reason)) for attempt, reason in guarded]
        free, unapproved = await self._use_approvals(tx, free, {str(row["action_id"]): row for row in rows})
        turned += unapproved
        await _note_holds(tx, turned)
        running = await run(tx, free, switches, worker_id=self._worker_id, lease_seconds=self._settings.lease_seconds)
        return running, turned

    async def _take_locks(self, tx: Tx, attempts: Sequence[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
        """Those whose resource their execution holds now, and those whose resource somebody else holds.

        Reading needs no lock. Of several executions that want one resource in this batch, the first gets it.
        """
        wanted: dict[tuple[str, str], str] = {}
        for attempt in attempts:
            if attempt.mutating and attempt.resource_id is not None:
                wanted.setdefault((attempt.tenant_id, attempt.resource_id), attempt.execution_id)
        if not wanted:
            return list(attempts), []
        rows = await tx.fetch(
            _TAKE_LOCKS,
            [tenant for tenant, _ in wanted],
            [resource for _, resource in wanted],
            [Uuid(execution_id) for execution_id in wanted.values()],
            self._settings.lock_seconds,
        )
        got = {(row["tenant_id"], row["resource_id"], str(row["execution_id"])) for row in rows}
        free = [
            a
            for a in attempts
            if not a.mutating or a.resource_id is None or (a.tenant_id, a.resource_id, a.execution_id) in got
        ]
        return free, [a for a in attempts if a not in free]

    async def _use_approvals(
        self, tx: Tx, attempts: Sequence[Attempt], rows: Mapping[str, asyncpg.Record]
    ) -> tuple[list[Attempt], list[tuple[Attempt, Refused]]]:
        """Those that need no approval or whose grant stands for exactly this plan and action, and why others do not.

        Policy has the last word on what was approved: it sees the grant.
        """
        faults = await approvals.use(tx, [a for a in attempts if a.needs_approval])
        refused = {a.action_id: Refused(f.code, f.text) for a in attempts if (f := faults.get(a.action_id)) is not None}
        approved = [(a, rows[a.action_id]) for a in attempts if a.needs_approval and a.action_id not in refused]
        refused |= {key: Refused(*why) for key, why in (await permits.refusals_of_approved(tx, approved)).items()}
        return (
            [a for a in attempts if a.action_id not in refused],
            [(a, refused[a.action_id]) for a in attempts if a.action_id in refused],
        )

    async def _fold(self, turned: Sequence[tuple[Attempt, Turned]], released: Sequence[Attempt]) -> list[Hint]:
        """Tell the executions why they do not go on, or that they do. The actions' rows are looked at again."""
        async with self._database.transaction("fold claim") as tx:
            ids = [attempt.execution_id for attempt, _ in turned] + [a.execution_id for a in released]
            executions = await storage.lock(tx, ids)
            changes: list[Change] = []
            for attempt, verdict in turned:
                if attempt.execution_id in executions and await _still_so(tx, attempt, verdict):
                    changes.append(_change(executions, attempt, _fact(attempt, verdict)))
            changes += [
                _change(executions, a, StepStarted(a.path, a.visit)) for a in released if a.execution_id in executions
            ]
            return await fold(tx, self._outbox, merged(changes), now=self._clock())


async def run(
    tx: Tx, attempts: Sequence[Attempt], switches: Switches, *, worker_id: str, lease_seconds: float
) -> dict[str, Attempt]:
    """Those of the attempts that were ready still and run now, by action id: each under a new fence and a lease."""
    if not attempts:
        return {}
    epochs = [switches.epoch(a.tenant_id) for a in attempts]
    rows = await tx.fetch(_RUN, [Uuid(a.action_id) for a in attempts], worker_id, lease_seconds, epochs)
    marks = {str(row["action_id"]): row for row in rows}
    return {
        a.action_id: replace(a, worker_id=worker_id, fence=mark["fence"], started_at=mark["started_at"])
        for a in attempts
        if (mark := marks.get(a.action_id)) is not None
    }


def verdict(attempt: Attempt, refusal: tuple[str, str] | None, switches: Switches) -> Turned | None:
    """What speaks against an attempt, as far as that takes no look at the database."""
    if attempt.mutating and switches.holds(attempt.tenant_id):
        return Held("kill_switch")
    if refusal is not None:
        return Refused(*refusal)
    if hashing.action_hash(attempt.rendered) != attempt.action_hash:
        return Refused("action_drift", "the stored action is not the one that was planned")
    return None


def _fact(attempt: Attempt, verdict: Turned) -> Fact:
    match verdict:
        case Held(reason):
            return StepHeld(attempt.path, attempt.visit, reason)
        case Refused(code, message):
            return StepFailed(attempt.path, attempt.visit, code, message)
        case NotNeeded():
            return StepNotNeeded(attempt.path, attempt.visit)


def _change(executions: Mapping[str, Execution], attempt: Attempt, fact: Fact) -> Change:
    because = Because(traceparent=attempt.traceparent)
    return Change.of_attempt(executions[attempt.execution_id], fact, because, attempt)


async def _note_holds(tx: Tx, turned: Sequence[tuple[Attempt, Turned]]) -> None:
    held = [(Uuid(a.action_id), verdict.reason) for a, verdict in turned if isinstance(verdict, Held)]
    if held:
        ids, reasons = map(list, zip(*held, strict=True))
        await tx.execute(
            "UPDATE action_log SET held_reason = t.reason, hinted_at = clock_timestamp()"
            " FROM unnest($1::uuid[], $2::text[]) AS t(id, reason) WHERE action_id = t.id",
            ids,
            reasons,
        )


async def _still_so(tx: Tx, attempt: Attempt, verdict: Turned) -> bool:
    """Whether the action is still ready, now that its execution is locked; a refused one ends here."""
    if isinstance(verdict, Held):
        state = await tx.fetchval("SELECT state FROM action_log WHERE action_id = $1", Uuid(attempt.action_id))
        return bool(state == "ready")
    state, code, message = (
        ("failed", verdict.code, verdict.message)
        if isinstance(verdict, Refused)
        else ("cancelled", "not_needed", "the alert had ended")
    )
    done = await tx.execute(
        "UPDATE action_log SET state = $2, error_code = $3, message = $4, finished_at = clock_timestamp()"
        " WHERE action_id = $1 AND state = 'ready'",
        Uuid(attempt.action_id),
        state,
        code,
        message[:2000],
    )
    return done == "UPDATE 1"
