"""Dead letters: messages that could not be applied, set aside with the reason, nothing lost.

A dead letter parks its aggregate for that consumer: later facts of the same aggregate are set aside behind it, in
order, so that state never skips a version. `retry` applies an aggregate's letters again in order; `discard` lets them
go, with a rationale. Both are a person's commands.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from libs.common import metrics
from libs.common.database import Tx, Uuid
from libs.common.ids import new_id
from libs.common.telemetry import log

KEPT_HEADERS: Final = frozenset({"Rr-Salt"})
PREVIEW_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """A message set aside. `aggregate_id` is empty where the message does not tell."""

    consumer: str
    event_id: str
    tenant_id: str
    subject: str
    aggregate_id: str
    headers: Mapping[str, str]
    payload: bytes
    stream: str
    epoch: int
    stream_seq: int
    reason: str


_INSERT: Final = """
INSERT INTO dead_letter
  (consumer, event_id, tenant_id, subject, aggregate_id, headers, payload, stream, epoch, stream_seq, reason)
VALUES ($1, $2, $3, $4, $5, $6::jsonb, $7, $8, $9, $10, $11)
ON CONFLICT (consumer, event_id) DO NOTHING RETURNING id
"""

_COPY: Final = """
WITH added AS (
  INSERT INTO outbox (event_id, aggregate_type, aggregate_id, aggregate_version, subject, payload, salt, headers)
  VALUES ($1, 'dead_letter', $2, 1, $3, $4, ''::bytea, $5::jsonb) RETURNING 1)
SELECT pg_notify($6, '') FROM added
"""


async def set_aside(tx: Tx, letter: Letter, *, channel: str) -> None:
    """Store `letter` and a copy for the DLQ stream; a second time for the same message changes nothing."""
    number = await tx.fetchval(
        _INSERT,
        letter.consumer,
        Uuid(letter.event_id),
        _storable(letter.tenant_id),
        letter.subject,
        _storable(letter.aggregate_id),
        orjson.dumps({_storable(name): _storable(value) for name, value in letter.headers.items()}).decode(),
        letter.payload,
        letter.stream,
        letter.epoch,
        letter.stream_seq,
        _storable(letter.reason)[:2000],
    )
    if number is None:
        return
    copy_id = new_id()
    headers = {"Nats-Msg-Id": copy_id, "Rr-Reason": _header_text(letter.reason), "Rr-Subject": letter.subject}
    await tx.fetchval(
        _COPY,
        Uuid(copy_id),
        copy_id,
        f"dlq.{letter.consumer}",
        letter.payload,
        orjson.dumps(headers).decode(),
        channel,
    )
    metrics.DEAD_LETTERS.labels(letter.consumer, letter.reason.split(":", 1)[0][:40]).inc()
    log.error("dead_letter", consumer=letter.consumer, subject=letter.subject, reason=letter.reason, id=number)


def _header_text(text: str) -> str:
    """One line of printable ASCII, as a NATS header must be."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:500]


def _storable(text: str) -> str:
    """What Postgres takes as text: a letter from a hostile sender must not be lost for its bytes."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


async def listing(tx: Tx, *, tenants: Sequence[str] | None, state: str, limit: int) -> list[dict[str, Any]]:
    """Letters in `state`, oldest first, of `tenants` (None: of all), without their payloads."""
    rows = await tx.fetch(
        "SELECT id, consumer, tenant_id, subject, aggregate_id, stream, stream_seq, reason, state, created_at,"
        " octet_length(payload) AS bytes FROM dead_letter"
        " WHERE state = $1 AND ($2::text[] IS NULL OR tenant_id = ANY($2)) ORDER BY id LIMIT $3",
        state,
        tenants,
        limit,
    )
    return [_plain(row) for row in rows]


async def one(tx: Tx, number: int, *, lock: bool = False) -> dict[str, Any] | None:
    """A letter whole; its payload as text where it is text, else base64, cut at 64 KiB."""
    row = await tx.fetchrow(f"SELECT * FROM dead_letter WHERE id = $1{' FOR UPDATE' if lock else ''}", number)
    if row is None:
        return None
    letter = _plain(row)
    letter["headers"] = {k: v for k, v in orjson.loads(row["headers"]).items() if k not in KEPT_HEADERS}
    letter["payload"] = bytes(row["payload"][:PREVIEW_BYTES]).decode("utf-8", "backslashreplace")
    return letter


async def behind(tx: Tx, number: int) -> list[asyncpg.Record]:
    """The open letters that are applied together with letter `number`: it, and its aggregate's others, in order."""
    return await tx.fetch(
        "SELECT d.* FROM dead_letter d JOIN dead_letter head ON head.id = $1"
        " WHERE d.state = 'open' AND d.consumer = head.consumer"
        " AND (d.id = head.id OR (head.aggregate_id <> '' AND d.aggregate_id = head.aggregate_id))"
        " ORDER BY d.epoch, d.stream_seq FOR UPDATE OF d",
        number,
    )


async def resolve(tx: Tx, numbers: Sequence[int], *, state: str, actor: str, why: str) -> None:
    """Close letters as `retried` or `discarded`, naming who and why."""
    await tx.execute(
        "UPDATE dead_letter SET state = $2, resolved_by = $3, resolution = $4, resolved_at = clock_timestamp()"
        " WHERE id = ANY($1::bigint[]) AND state = 'open'",
        list(numbers),
        state,
        actor,
        why,
    )


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {
        key: value.isoformat() if isinstance(value, datetime) else str(value) if isinstance(value, uuid.UUID) else value
        for key, value in row.items()
        if key not in {"payload", "headers"}
    }
