"""The log as it is stored, a page at a time, each page within a reply's limit.

A payload that would not fit into a reply by itself is left out of its page and read in slices.
"""

from binascii import b2a_base64
from typing import Any, Final

from libs.common.database import Tx
from libs.common.policy import Scope
from libs.common.sight import filters, seen

PAGE_BYTES: Final = 440 * 1024  # base64 and names included; a reply holds 512 KiB
SLICE_BYTES: Final = 256 * 1024

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
_PROVENANCE: Final = """
SELECT head.n, place.index, head.event_hash
FROM chain_head AS head, (SELECT max(index) AS index FROM entry_place WHERE {kind}_id = $2) AS place
JOIN leaf USING (index)
WHERE head.kind = $1 AND head.id = $2 AND head.event_hash = leaf.event_hash
  AND EXISTS (SELECT FROM entry_seen WHERE {kind}_id = $2 AND tenant_id = $3 AND {seen})
"""


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


async def provenance(tx: Tx, *, kind: str, chain_id: str, tenant: str, scope: Scope) -> dict[str, Any] | None:
    """The head of an incident's, an execution's or a runbook's chain: its hash, number in the chain and index.

    None for a chain of which `scope` covers no event. The head itself may be one that it does not cover: a hash tells
    nothing of it.
    """
    statement = _PROVENANCE.format(kind=kind, seen=seen("$4", "$5"))
    row = await tx.fetchrow(statement, kind, chain_id, tenant, *filters(scope))
    return None if row is None else {"n": row["n"], "index": row["index"], "provenance_hash": row["event_hash"].hex()}


def _base64(raw: bytes | None) -> str | None:
    return None if raw is None else b2a_base64(raw, newline=False).decode()
