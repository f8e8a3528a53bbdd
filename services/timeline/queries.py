"""What is read from the log, a page at a time, each page within a reply's limit.

A payload that would not fit into a reply by itself is left out of its page and read in slices.
"""

from binascii import b2a_base64
from typing import Any, Final

import orjson

from libs.common.clock import rfc3339
from libs.common.database import Tx
from libs.common.policy import Scope
from libs.common.sight import filters, seen

PAGE_BYTES: Final = 440 * 1024  # base64 and names included; a reply holds 512 KiB
SLICE_BYTES: Final = 256 * 1024

_ENTRIES: Final = """
SELECT index, event_id, type, actor, time, dataschema, event_hash, stream, epoch, seq,
  CASE WHEN cost <= $5 THEN payload END AS payload, length
FROM (
  SELECT index, e.event_id, e.type, e.actor, e.time, e.dataschema, e.payload, octet_length(e.payload) AS length,
    event_hash, stream, epoch, seq, octet_length(e.payload) + 900 AS cost,
    sum(octet_length(e.payload) + 900) OVER (ORDER BY index) AS total, row_number() OVER (ORDER BY index) AS n
  FROM payload AS e JOIN leaf USING (index)
  WHERE e.{column} = $1 AND e.tenant_id = $2 AND {seen} AND index > $3 ORDER BY index LIMIT $4) AS page
WHERE total <= $5 OR n = 1 ORDER BY index
"""
_LEAVES: Final = """
SELECT index, leaf, event_hash, salt, length, CASE WHEN cost <= $3 THEN payload END AS payload
FROM (
  SELECT index, leaf, event_hash, salt, payload, octet_length(payload) AS length, cost,
    sum(cost) OVER (ORDER BY index) AS total, row_number() OVER (ORDER BY index) AS n
  FROM (
    SELECT index, l.leaf, l.event_hash, p.salt, p.payload,
      (octet_length(l.leaf) + coalesce(octet_length(p.payload), 0)) * 4 / 3 + 400 AS cost
    FROM leaf AS l LEFT JOIN payload AS p USING (index)
    WHERE index >= $1 ORDER BY index LIMIT $2) AS stored) AS page
WHERE total <= $3 OR n = 1 ORDER BY index
"""
_SLICE: Final = "SELECT substring(payload FROM $2 FOR $3) AS part, octet_length(payload) FROM payload WHERE index = $1"
_HEADS: Final = """
SELECT kind, id, n, event_hash FROM chain_head WHERE (kind, id) > ($1, $2) ORDER BY kind, id LIMIT $3
"""


async def entries(
    tx: Tx, *, column: str, about: str, tenant: str, scope: Scope, after: int, limit: int
) -> list[dict[str, Any]]:
    """The events of one incident or execution that `scope` covers, in the log's order, after index `after`.

    `payload` is the payload as JSON; null where it is not JSON or too long for a page (`payload_length` says so).
    """
    statement = _ENTRIES.format(column=column, seen=seen("$6", "$7"))
    rows = await tx.fetch(statement, about, tenant, after, limit, PAGE_BYTES, *filters(scope))
    return [
        {
            "index": row["index"],
            "event_id": row["event_id"],
            "type": row["type"],
            "actor": row["actor"],
            "time": rfc3339(row["time"]),
            "dataschema": row["dataschema"],
            "payload": _json(row["payload"]),
            "payload_length": row["length"],
            "event_hash": row["event_hash"].hex(),
            "stream": row["stream"],
            "epoch": row["epoch"],
            "seq": row["seq"],
        }
        for row in rows
    ]


async def leaves(tx: Tx, *, first: int, limit: int) -> list[dict[str, Any]]:
    """The log as it is stored, from index `first`; leaf, payload and salt as standard base64.

    A payload too long for a page is null although `payload_length` is not: read it in slices.
    """
    rows = await tx.fetch(_LEAVES, first, limit, PAGE_BYTES)
    return [
        {
            "index": row["index"],
            "leaf": _base64(row["leaf"]),
            "event_hash": row["event_hash"].hex(),
            "payload": _base64(row["payload"]),
            "payload_length": row["length"],
            "salt": _base64(row["salt"]),
        }
        for row in rows
    ]


async def payload_slice(tx: Tx, *, index: int, offset: int) -> dict[str, Any] | None:
    """A part of one payload from byte `offset`; None when there is no such payload."""
    row = await tx.fetchrow(_SLICE, index, offset + 1, SLICE_BYTES)
    return None if row is None else {"part": _base64(row["part"]), "payload_length": row["octet_length"]}


async def heads(tx: Tx, *, kind: str, chain_id: str, limit: int) -> list[dict[str, Any]]:
    """Chain heads after (kind, id), in that order."""
    rows = await tx.fetch(_HEADS, kind, chain_id, limit)
    return [
        {"kind": row["kind"], "id": row["id"], "n": row["n"], "event_hash": row["event_hash"].hex()} for row in rows
    ]


def _json(raw: bytes | None) -> orjson.Fragment | None:
    if raw is None:
        return None
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(raw)


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else b2a_base64(raw, newline=False).decode()
