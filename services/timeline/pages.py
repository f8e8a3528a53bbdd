"""A page of events: those that fit any combination of conditions and that its reader may see, in the log's order.

Conditions stand in the statement only where they are given, and each execution is planned with their values: so each
finds its index (`tables.py`), whichever of them is the rarest. A page goes on behind an index and fits into a reply.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import orjson
from msgspec import Struct

from libs.common.clock import rfc3339
from libs.common.database import Tx
from libs.common.policy import Scope
from libs.common.sight import filters, seen
from services.timeline.queries import PAGE_BYTES

ANY_REST: Final = "*"
LAST: Final = "\U0010ffff"
_SHOWN: Final = (
    *("index", "event_id", "type", "actor", "time", "stored_at", "incident_id", "execution_id", "runbook_id"),
    *("environment", "clearance", "dataschema", "traceparent"),
)
_PLAN_EACH: Final = "SELECT set_config('plan_cache_mode', 'force_custom_plan', true)"
_PAGE: Final = """
SELECT {shown}, event_hash, stream, epoch, seq, length, CASE WHEN cost <= $1 THEN payload END AS payload
FROM (
  SELECT {shown}, event_hash, stream, epoch, seq, payload, octet_length(payload) AS length, cost,
    sum(cost) OVER (ORDER BY index {way}) AS total, row_number() OVER (ORDER BY index {way}) AS n
  FROM (
    SELECT {found}, l.event_hash, l.stream, l.epoch, l.seq, p.payload,
      coalesce(octet_length(p.payload), 0) + octet_length(l.leaf) + 800 AS cost
    FROM ({entries}) AS found JOIN leaf AS l USING (index) LEFT JOIN payload AS p USING (index)) AS measured) AS page
WHERE total <= $1 OR n = 1 ORDER BY index {way}
"""
_ENTRIES: Final = "SELECT {shown} FROM entry_seen WHERE {conditions} ORDER BY index {way} LIMIT {limit}"


class Wanted(Struct, frozen=True, kw_only=True):
    """Which events, of which tenant, and as far as whose scope covers them. What is None is no condition.

    `type` may end in a star, for all that begin so. Times are when the stream stored an event, which no producer's
    clock can shift: from `since` on, before `until`. `words` is a question that `words.query` made. `after` is the
    index behind which the page begins, downwards where the newest come first.
    """

    tenant: str
    scope: Scope
    incident_id: str | None = None
    execution_id: str | None = None
    runbook_id: str | None = None
    actor: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    words: str | None = None
    newest: bool = False
    after: int | None = None
    limit: int = 100


class _Statement:
    """Conditions, and the values of their parameters; the first is the page's bytes."""

    def __init__(self, wanted: Wanted) -> None:
        self.values: list[Any] = [PAGE_BYTES]
        self.conditions = list(self._conditions(wanted))

    def place(self, value: Any) -> str:
        """A parameter of this value."""
        self.values.append(value)
        return f"${len(self.values)}"

    def _conditions(self, wanted: Wanted) -> Iterator[str]:
        yield f"tenant_id = {self.place(wanted.tenant)}"
        yield seen(*map(self.place, filters(wanted.scope)))
        for name in ("incident_id", "execution_id", "runbook_id", "actor"):
            value = getattr(wanted, name)
            if value is not None:
                yield f"{name} = {self.place(value)}"
        if wanted.type is not None and wanted.type.endswith(ANY_REST):
            start = wanted.type.removesuffix(ANY_REST)
            yield f"type >= {self.place(start)} AND type < {self.place(start + LAST)}"
        elif wanted.type is not None:
            yield f"type = {self.place(wanted.type)}"
        if wanted.since is not None:
            yield f"stored_at >= {self.place(wanted.since)}"
        if wanted.until is not None:
            yield f"stored_at < {self.place(wanted.until)}"
        if wanted.words is not None:
            yield f"words @@ {self.place(wanted.words)}::text::tsquery"
        if wanted.after is not None:
            yield f"index {'<' if wanted.newest else '>'} {self.place(wanted.after)}"


def statement(wanted: Wanted) -> tuple[str, list[Any]]:
    """The page as SQL, and its parameters."""
    built = _Statement(wanted)
    way = "DESC" if wanted.newest else "ASC"
    shown = ", ".join(_SHOWN)
    entries = _ENTRIES.format(
        shown=shown, conditions=" AND ".join(built.conditions), way=way, limit=built.place(wanted.limit)
    )
    found = ", ".join(f"found.{name}" for name in _SHOWN)
    return _PAGE.format(shown=shown, found=found, entries=entries, way=way), built.values


async def entries(tx: Tx, wanted: Wanted) -> list[dict[str, Any]]:
    """The page's events, at most `limit` of them.

    `payload` is the payload as JSON; null where it is not JSON, too long for a page (`payload_length` says so), or
    redacted (`payload_length` is null).
    """
    await tx.execute(_PLAN_EACH)
    text, values = statement(wanted)
    return [_shown(row) for row in await tx.fetch(text, *values)]


def _shown(row: Any) -> dict[str, Any]:
    return {
        **{name: row[name] for name in _SHOWN},
        "time": rfc3339(row["time"]),
        "stored_at": rfc3339(row["stored_at"]),
        "payload": _json(row["payload"]),
        "payload_length": row["length"],
        "event_hash": row["event_hash"].hex(),
        "stream": row["stream"],
        "epoch": row["epoch"],
        "seq": row["seq"],
    }


def _json(raw: bytes | None) -> orjson.Fragment | None:
    if raw is None:
        return None
    try:
        orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return orjson.Fragment(raw)
