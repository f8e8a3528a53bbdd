"""Which artefacts the log names: by an incident or an execution, or one by its hash."""

from typing import Any, Final

from libs.common.clock import rfc3339
from libs.common.contracts.envelope import MAX_REFS
from libs.common.database import Tx
from libs.common.policy import Scope
from libs.common.sight import filters, seen

_COLUMNS: Final = (
    "sha256, index, kind, length, type, time, incident_id, execution_id, environment, clearance, deleted_at"
)
_ONE: Final = f"""
SELECT {_COLUMNS} FROM artefact WHERE sha256 = $1 AND tenant_id = $2 AND {seen("$3", "$4")}
ORDER BY deleted_at IS NOT NULL, index DESC LIMIT 1
"""
_PAGE: Final = """
SELECT {columns} FROM artefact WHERE {about} = $1 AND tenant_id = $2 AND {seen} AND index > $5
ORDER BY index, kind, sha256 LIMIT $6
"""


async def named(tx: Tx, sha256: str, *, tenant: str, scope: Scope) -> dict[str, Any] | None:
    """An artefact, and the newest event that names it which `scope` covers; None where there is none."""
    row = await tx.fetchrow(_ONE, bytes.fromhex(sha256), tenant, *filters(scope))
    return None if row is None else _shown(row)


async def page(
    tx: Tx, *, column: str, about: str, tenant: str, scope: Scope, after: int, limit: int
) -> list[dict[str, Any]]:
    """What the events of one incident or execution name, in the log's order, after index `after`; without a `column`
    those of the whole tenant.

    A page ends with an event: it may be longer than `limit` by what that one names besides.
    """
    statement = _PAGE.format(columns=_COLUMNS, about=column or "''", seen=seen("$3", "$4"))
    rows = await tx.fetch(statement, about, tenant, *filters(scope), after, limit + MAX_REFS)
    whole = rows if len(rows) <= limit else [row for row in rows if row["index"] <= rows[limit - 1]["index"]]
    return [_shown(row) for row in whole]


def _shown(row: Any) -> dict[str, Any]:
    deleted = row["deleted_at"]
    return {
        "sha256": row["sha256"].hex(),
        "kind": row["kind"],
        "length": row["length"],
        "index": row["index"],
        "type": row["type"],
        "time": rfc3339(row["time"]),
        "incident_id": row["incident_id"] or None,
        "execution_id": row["execution_id"] or None,
        "environment": row["environment"],
        "clearance": row["clearance"],
        "deleted_at": rfc3339(deleted) if deleted is not None else None,
    }
