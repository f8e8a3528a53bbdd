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
from libs.common.together import Write
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

_SAVED: Final = ("tenant", "approval_id", *_MOVING)

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
# By the id, which names the tenant as well: of two columns in an equality a planner that knows no statistics yet takes
# the tenant's index, and reads all that the tenant ever asked. What is not an equality is no reason to take an index.
_LOCK: Final = "SELECT * FROM approval WHERE approval_id = $2 AND tenant_id IS NOT DISTINCT FROM $1 FOR UPDATE"
_LOCK_DUE: Final = """
SELECT a.* FROM timer t JOIN approval a ON a.approval_id = t.ref_id
WHERE t.state = 'set' AND t.due_at <= clock_timestamp()
ORDER BY t.due_at LIMIT $1 FOR UPDATE OF a SKIP LOCKED
"""
_ADD: Final = f"""
INSERT INTO approval ({", ".join(_COLUMNS)})
SELECT {", ".join(_COLUMNS)} FROM jsonb_populate_recordset(NULL::approval, $1::text::jsonb)
"""
_SAVE: Final = f"""
UPDATE approval a SET {", ".join(f"{name} = t.{name}" for name in _MOVING)}
FROM jsonb_populate_recordset(NULL::approval, $1::text::jsonb) AS t
WHERE a.approval_id = t.approval_id AND a.tenant_id IS NOT DISTINCT FROM t.tenant_id
"""
_SET_TIMERS: Final = """
INSERT INTO timer (kind, ref_id, ref_version, due_at, state)
SELECT kind, ref_id, ref_version, due_at, 'set'
FROM unnest($1::text[], $2::uuid[], $3::text[], $4::timestamptz[]) AS t(kind, ref_id, ref_version, due_at)
ON CONFLICT DO NOTHING
"""
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


async def lock(tx: Tx, tenant: str, approval_id: str) -> tuple[Approval, datetime] | None:
    """One approval with its votes, locked, and the moment after that; None when the tenant has none of this id."""
    row = await tx.fetchrow(_LOCK, tenant, Uuid(approval_id))
    if row is None:
        return None
    now, cast = await votes.standing_now(tx, tenant, approval_id)
    return replace(to_approval(row), votes=cast), now


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


def adding(approvals: Sequence[Approval]) -> list[Write]:
    """What stores new approvals and sets their timers."""
    new = {(a.tenant, a.approval_id): a for a in approvals if a.version == 1}
    if not new:
        return []
    timers = [timer for approval in new.values() for timer in _timers(approval)]
    whole = [_row(approval, _FIELDS) for approval in new.values()]
    return [Write(_ADD, (_text(whole),)), Write(_SET_TIMERS, list(map(list, zip(*timers, strict=True))))]


def moving(approvals: Sequence[Approval]) -> list[Write]:
    """What stores approvals as they became; one that is no longer open loses its timers."""
    last = {(a.tenant, a.approval_id): a for a in approvals}
    moved = [approval for approval in last.values() if approval.version > 1]
    if not moved:
        return []
    closed = [Uuid(a.approval_id) for a in moved if a.state not in OPEN]
    rows = [_row(approval, _SAVED) for approval in moved]
    return [Write(_SAVE, (_text(rows),)), *([Write(_CANCEL, (closed,))] if closed else [])]


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


def _row(approval: Approval, names: Sequence[str]) -> dict[str, Any]:
    """Fields of an approval by column, as JSON has them."""
    return {_COLUMN.get(name, name): _stored(approval, name) for name in names}


def _text(rows: Sequence[Mapping[str, Any]]) -> str:
    return orjson.dumps(rows).decode()


def _stored(approval: Approval, name: str) -> Any:
    value = getattr(approval, name)
    return [level.model_dump() for level in value] if name == "escalation" else value
