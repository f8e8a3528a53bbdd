"""What the service shows of incidents: JSON-ready, and small enough for one reply whatever outsiders posted.

Labels and annotations are shown once, as of the alert that opened the incident, and in full answers only.
"""

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import asyncpg
import orjson

from libs.common.clock import rfc3339
from libs.common.contracts.incident import IncidentStatus
from libs.common.database import Tx

MAX_ALERTS: Final = 100
MAX_EXECUTIONS: Final = 50

_BRIEF: Final = (
    "incident_id, tenant_id, fingerprint, version, title, alert_name, severity, status, owner, sla_deadline, tags,"
    " firing, failed_execution_id, failed_reason, created_at, opened_at, updated_at, acknowledged_at, mitigated_at,"
    " resolved_at, closed_at"
)

_WHOLE: Final = f"""
SELECT {_BRIEF}, rationale, severity_history, labels, annotations,
  (SELECT count(*) FROM alert a WHERE a.tenant_id = i.tenant_id AND a.incident_id = i.incident_id) AS alert_count
FROM incident i WHERE tenant_id = $1 AND incident_id = $2
"""

_ALERTS: Final = """
SELECT alert_id, name, severity, status, starts_at, ends_at, occurrences, first_seen, last_seen
FROM alert WHERE tenant_id = $1 AND incident_id = $2 ORDER BY starts_at DESC LIMIT $3
"""

_EXECUTIONS: Final = """
SELECT execution_id, runbook_id, state, reason, updated_at
FROM execution WHERE tenant_id = $1 AND incident_id = $2 ORDER BY updated_at DESC, execution_id LIMIT $3
"""

_PAGE: Final = f"""
SELECT {_BRIEF} FROM incident
WHERE tenant_id = $1 AND ($2::uuid IS NULL OR incident_id < $2) AND ($3::text IS NULL OR status = $3)
ORDER BY incident_id DESC LIMIT $4
"""

_JSON: Final = frozenset({"tags", "severity_history", "labels", "annotations"})


async def whole(tx: Tx, tenant: str, incident_id: str) -> dict[str, Any] | None:
    """All fields of one incident, its newest alerts and executions, its flags; None when there is none."""
    key = tenant, uuid.UUID(incident_id)
    row = await tx.fetchrow(_WHOLE, *key)
    if row is None:
        return None
    alerts = await tx.fetch(_ALERTS, *key, MAX_ALERTS)
    executions = await tx.fetch(_EXECUTIONS, *key, MAX_EXECUTIONS)
    return {**_shown(row), "alerts": [_plain(item) for item in alerts], "executions": [_plain(e) for e in executions]}


async def page(
    tx: Tx, tenant: str, *, limit: int, after: str | None, status: IncidentStatus | None
) -> Sequence[Mapping[str, Any]]:
    """At most `limit` incidents, newest first: ids are made in the order of time."""
    return [_shown(row) for row in await tx.fetch(_PAGE, tenant, after and uuid.UUID(after), status, limit)]


def _shown(row: asyncpg.Record) -> dict[str, Any]:
    """A row with its flags under one key: `flags.remediation_failed` is null or names the execution and the reason."""
    plain = _plain(row)
    execution_id, reason = plain.pop("failed_execution_id"), plain.pop("failed_reason")
    failed = None if execution_id is None else {"execution_id": execution_id, "reason": reason}
    return {**plain, "flags": {"remediation_failed": failed}}


def _plain(row: asyncpg.Record) -> dict[str, Any]:
    return {key: orjson.loads(value) if key in _JSON else _value(value) for key, value in row.items()}


def _value(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case uuid.UUID():
            return str(value)
        case _:
            return value
