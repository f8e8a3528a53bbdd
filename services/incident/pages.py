"""Lists of incidents, page by page, newest first: ids are made in the order of time.

A search for words reads at most `SCANNED` incidents for one page. A page may therefore hold fewer than were asked for,
or none, and still name where the next one goes on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from libs.common.contracts.incident import IncidentStatus, Severity
from libs.common.database import Tx, Uuid
from libs.common.policy import Scope
from libs.common.sight import filters, seen
from services.incident.views import BRIEF, shown

SCANNED: Final = 20_000

_ASKED: Final = {"after": "incident_id < $2::uuid", "status": "status = $3::text", "severity": "severity = $4::text"}
_FREE: Final = {"after": "$2::uuid IS NULL", "status": "$3::text IS NULL", "severity": "$4::text IS NULL"}
_SEARCH: Final = f"""
WITH recent AS ({{recent}})
SELECT {BRIEF} FROM recent
WHERE $8::text IS NULL OR position(lower($8) IN lower(title)) > 0 OR position(lower($8) IN lower(alert_name)) > 0
ORDER BY incident_id DESC LIMIT $9
"""
_LAST: Final = "WITH recent AS ({recent}) SELECT incident_id FROM recent OFFSET $5 - 1 LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which incidents: of those that are `seen`, the ones older than `after` that are all that is named.

    `text` is part of a title or of an alert's name.
    """

    seen: Scope
    limit: int
    after: str | None = None
    status: IncidentStatus | None = None
    severity: Severity | None = None
    text: str | None = None
    scanned: int = SCANNED


@dataclass(frozen=True, slots=True)
class Page:
    """Incidents, JSON-ready, and the id to go on after; None on the last page."""

    items: Sequence[Mapping[str, Any]]
    next: str | None


async def page(tx: Tx, tenant: str, wanted: Wanted) -> Page:
    """One page of the tenant's incidents; one round trip, and another where a search may have ended at its bound."""
    recent = f"SELECT * FROM incident WHERE {_conditions(wanted)} ORDER BY incident_id DESC LIMIT $5"
    bound = wanted.limit + 1 if wanted.text is None else wanted.scanned
    after = wanted.after and Uuid(wanted.after)
    values = (tenant, after, wanted.status, wanted.severity, bound, *filters(wanted.seen))
    found = await tx.fetch(_SEARCH.format(recent=recent), *values, wanted.text, wanted.limit + 1)
    items = [shown(row) for row in found]
    if len(items) > wanted.limit:
        return Page(items[: wanted.limit], items[wanted.limit - 1]["incident_id"])
    last = None if wanted.text is None else await tx.fetchval(_LAST.format(recent=recent), *values)
    return Page(items, None if last is None else str(last))


def _conditions(wanted: Wanted) -> str:
    """Only what is asked for, so that the plan takes the index of it; the others only name their parameter's type."""
    asked = {"after": wanted.after, "status": wanted.status, "severity": wanted.severity}
    return " AND ".join(
        ["tenant_id = $1", seen("$6", "$7"), *(_ASKED[k] if v is not None else _FREE[k] for k, v in asked.items())]
    )
