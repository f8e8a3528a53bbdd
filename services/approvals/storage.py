"""The approvals store in Postgres, inside one open transaction.

Locks are taken in one order: executions by key, approvals by key, timers. Every moment is the database's.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import asyncpg
import orjson

from libs.common.contracts.levels import Level
from libs.common.database import Tx, Uuid
from services.approvals import votes
from services.approvals.docket import Docket, Known
from services.approvals.lifecycle import INITIAL, OPEN
from services.approvals.model import Approval

ExecutionKey = tuple[str, str]
"""(tenant, execution id)."""
EXPIRY: Final = "expiry"
REMINDER: Final = "reminder"
ESCALATION: Final = "escalation"

_COLUMN: Final = {"tenant": "tenant_id", "of": "approval_of"}
_FIELDS: Final = tuple(field.name for field in fields(Approval) if field.name != "votes")
_JSON: Final = frozenset({"escalation", "form", "arguments", "filled"})
_COLUMNS: Final = tuple(_COLUMN.get(name, name) for name in _FIELDS)
_MOVING: Final = (
    "state", "version", "approver", "rationale", "channel", "decided_at", "valid_until", "revoked_by",
    "revoke_rationale", "revoked_at", "level", "filled", "method", "decision_id", "policy_revision",
)  # fmt: skip

_LOCK_EXECUTIONS: Final = """
INSERT INTO execution (tenant_id, execution_id, ended)
SELECT tenant_id, execution_id, false FROM unnest($1::text[], $2::text[]) AS t(tenant_id, execution_id)
ORDER BY tenant_id, execution_id
ON CONFLICT (tenant_id, execution_id) DO UPDATE SET seen_at = clock_timestamp()
RETURNING tenant_id, execution_id, ended
"""
_KNOWN: Final = """
SELECT tenant_id, execution_id, approval_id, step_run_id, asked_version FROM approval
JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, execution_id) USING (tenant_id, execution_id)
"""
_OPEN: Final = f"""
SELECT a.* FROM approval a
JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, execution_id) USING (tenant_id, execution_id)
WHERE a.state = '{INITIAL}' ORDER BY a.tenant_id, a.approval_id FOR UPDATE OF a
"""
_END_EXECUTIONS: Final = """
UPDATE execution e SET ended = true
FROM unnest($1::text[], $2::text[]) AS t(tenant_id, execution_id)
WHERE e.tenant_id = t.tenant_id AND e.execution_id = t.execution_id AND NOT e.ended
"""
_LOCK: Final = "SELECT * FROM approval WHERE tenant_id = $1 AND approval_id = $2 FOR UPDATE"
_LOCK_DUE: Final = """
SELECT a.* FROM timer t JOIN approval a ON a.approval_id = t.ref_id
WHERE t.state = 'set' AND t.due_at <= clock_timestamp()
ORDER BY t.due_at LIMIT $1 FOR UPDATE OF a SKIP LOCKED
"""
_ADD: Final = (
    f"INSERT INTO approval ({', '.join(_COLUMNS)}) VALUES ({', '.join(f'${n}' for n in range(1, len(_COLUMNS) + 1))})"
)
_SAVE: Final = (
    f"UPDATE approval SET {', '.join(f'{name} = ${n}' for n, name in enumerate(_MOVING, 3))}"
    " WHERE tenant_id = $1 AND approval_id = $2"
)
_SET_TIMER: Final = (
    "INSERT INTO timer (kind, ref_id, ref_version, due_at, state) VALUES ($1, $2, $3, $4, 'set') ON CONFLICT DO NOTHING"
)
_CANCEL: Final = "UPDATE timer SET state = 'cancelled' WHERE ref_id = ANY($1::uuid[]) AND state = 'set'"
_FIRE: Final = """
UPDATE timer SET state = 'fired', fired_at = clock_timestamp()
WHERE ref_id = ANY($1::uuid[]) AND state = 'set' AND due_at <= clock_timestamp()
RETURNING ref_id, kind, ref_version, due_at
"""


class Fired(NamedTuple):
    """A timer that has fired: of which approval, what for, the how manieth of its kind."""

    approval_id: str
    kind: str
    number: int
    due_at: datetime


async def moment(tx: Tx) -> datetime:
    """What the database's clock shows now, not when the transaction began."""
    found: datetime = await tx.fetchval("SELECT clock_timestamp()")
    return found


async def dockets(tx: Tx, executions: Iterable[ExecutionKey]) -> Mapping[ExecutionKey, Docket]:
    """These executions, locked until the transaction ends, with what they asked for. Three round trips.

    The reads are statements of their own: these see what a lock was waited for.
    """
    keys = sorted(set(executions))
    columns = [tenant for tenant, _ in keys], [execution_id for _, execution_id in keys]
    locked = await tx.fetch(_LOCK_EXECUTIONS, *columns)
    found = {_key(row): Docket(row["ended"]) for row in locked}
    for row in await tx.fetch(_KNOWN, *columns):
        known = Known(str(row["approval_id"]), row["step_run_id"], row["asked_version"])
        found[_key(row)].known[known.approval_id] = known
    for row in await tx.fetch(_OPEN, *columns):
        approval = to_approval(row)
        found[_key(row)].open[approval.approval_id] = approval
    return found


async def end(tx: Tx, executions: Collection[ExecutionKey]) -> None:
    """Remember that locked executions have ended."""
    keys = sorted(executions)
    await tx.execute(_END_EXECUTIONS, [tenant for tenant, _ in keys], [execution_id for _, execution_id in keys])


async def lock(tx: Tx, tenant: str, approval_id: str) -> Approval | None:
    """One approval with its votes, locked; None when the tenant has none of this id."""
    row = await tx.fetchrow(_LOCK, tenant, Uuid(approval_id))
    return None if row is None else (await with_votes(tx, [to_approval(row)]))[0]


async def lock_due(tx: Tx, limit: int) -> list[Approval]:
    """Approvals of which a timer is due, with their votes, locked; those that somebody decides just now are left out.

    Of at most `limit` timers; the number of approvals is lower where one has several.
    """
    rows = {row["approval_id"]: row for row in await tx.fetch(_LOCK_DUE, limit)}
    return await with_votes(tx, [to_approval(row) for row in rows.values()])


async def with_votes(tx: Tx, approvals: Sequence[Approval]) -> list[Approval]:
    """The approvals with the votes that were not taken back; one round trip."""
    found = await votes.standing(tx, [approval.approval_id for approval in approvals])
    return [replace(approval, votes=found.get((approval.tenant, approval.approval_id), ())) for approval in approvals]


async def fire(tx: Tx, approvals: Sequence[Approval]) -> list[Fired]:
    """Fire the timers of locked approvals that were still set, and due; in the order in which they became due."""
    rows = await tx.fetch(_FIRE, [Uuid(a.approval_id) for a in approvals])
    fired = [Fired(str(row["ref_id"]), row["kind"], int(row["ref_version"]), row["due_at"]) for row in rows]
    return sorted(fired, key=lambda timer: (timer.due_at, timer.kind, timer.number))


async def write(tx: Tx, approvals: Sequence[Approval]) -> None:
    """Store approvals as they became; a new one gets its timers, and one that is no longer open loses them."""
    last = {(approval.tenant, approval.approval_id): approval for approval in approvals}
    new = {(a.tenant, a.approval_id): a for a in approvals if a.version == 1}
    if new:
        await tx.executemany(_ADD, [_whole(approval) for approval in new.values()])
        await tx.executemany(_SET_TIMER, [timer for approval in new.values() for timer in _timers(approval)])
    moved = [approval for approval in last.values() if approval.version > 1]
    if moved:
        await tx.executemany(_SAVE, [(a.tenant, Uuid(a.approval_id), *_moving(a)) for a in moved])
        closed = [Uuid(a.approval_id) for a in moved if a.state not in OPEN]
        await tx.execute(_CANCEL, closed)


def _timers(approval: Approval) -> list[tuple[Any, ...]]:
    """Its end, its reminders and its levels, each counted from 1."""
    key, asked = Uuid(approval.approval_id), approval.requested_at
    levels = [level.after_seconds for level in approval.escalation]
    later = [(REMINDER, approval.reminders), (ESCALATION, levels)]
    return [
        (EXPIRY, key, "1", approval.expires_at),
        *(
            (kind, key, str(number), asked + timedelta(seconds=seconds))
            for kind, times in later
            for number, seconds in enumerate(times, 1)
        ),
    ]


def to_approval(row: asyncpg.Record) -> Approval:
    """An approval from its row, without its votes."""
    values: dict[str, Any] = {name: row[column] for name, column in zip(_FIELDS, _COLUMNS, strict=True)}
    read: dict[str, Any] = {name: orjson.loads(values[name]) for name in _JSON}
    read["escalation"] = tuple(Level.model_validate(level) for level in read["escalation"])
    lists = {name: tuple(values[name]) for name in ("approvers", "groups", "reminders")}
    return Approval(**values | read | lists | {"approval_id": str(row["approval_id"])})


def _key(row: asyncpg.Record) -> ExecutionKey:
    return row["tenant_id"], row["execution_id"]


def _whole(approval: Approval) -> tuple[Any, ...]:
    stored = {name: _stored(approval, name) for name in _FIELDS}
    return tuple((stored | {"approval_id": Uuid(approval.approval_id)}).values())


def _moving(approval: Approval) -> tuple[Any, ...]:
    return tuple(_stored(approval, name) for name in _MOVING)


def _stored(approval: Approval, name: str) -> Any:
    value = getattr(approval, name)
    if name == "escalation":
        value = [level.model_dump() for level in value]
    return orjson.dumps(value).decode() if name in _JSON else value
