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
from libs.common.database import Tx, Uuid
from services.incident.lifecycle import rationale_required

MAX_ALERTS: Final = 100
MAX_EXECUTIONS: Final = 30
MAX_HISTORY: Final = 10

BRIEF: Final = (
    "incident_id, tenant_id, fingerprint, version, title, alert_name, severity, status, owner, sla_deadline, tags,"
    " firing, failed_execution_id, failed_reason, created_at, opened_at, updated_at, acknowledged_at, mitigated_at,"
    " resolved_at, closed_at, environment, clearance, rotation"
)

_WHOLE: Final = f"""
SELECT {BRIEF}, rationale, severity_history, labels, annotations, description,
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

_RUNBOOKS: Final = """
SELECT runbook_id, linked_by, linked_at FROM incident_runbook WHERE tenant_id = $1 AND incident_id = $2
ORDER BY linked_at, runbook_id
"""

_JSON: Final = frozenset({"tags", "severity_history", "labels", "annotations"})


async def whole(tx: Tx, tenant: str, incident_id: str) -> dict[str, Any] | None:
    """All fields of one incident, its newest alerts and executions, its runbooks and flags; None if there is none."""
    key = tenant, Uuid(incident_id)
    row = await tx.fetchrow(_WHOLE, *key)
    if row is None:
        return None
    alerts = [plain(item) for item in await tx.fetch(_ALERTS, *key, MAX_ALERTS)]
    executions = [plain(item) for item in await tx.fetch(_EXECUTIONS, *key, MAX_EXECUTIONS)]
    linked = [plain(item) for item in await tx.fetch(_RUNBOOKS, *key)]
    found = shown(row)
    found["severity_history"] = found["severity_history"][-MAX_HISTORY:]
    return {**found, "alerts": alerts, "executions": executions, "runbooks": _runbooks(linked, executions)}


def _runbooks(linked: Sequence[Mapping[str, Any]], executions: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Those that people linked, then those that are executed for it; each once, `linked_by` null where nobody did."""
    found = {item["runbook_id"]: dict(item) for item in linked}
    for execution in reversed(executions):
        name = execution["runbook_id"]
        found.setdefault(name, {"runbook_id": name, "linked_by": None, "linked_at": None})
    return list(found.values())


def shown(row: asyncpg.Record) -> dict[str, Any]:
    """A row with its flags under one key: `flags.remediation_failed` is null or names the execution and the reason.

    `rationale_required` lists what would need a rationale now: triggers, and `severity`.
    """
    found = plain(row)
    execution_id, reason = found.pop("failed_execution_id"), found.pop("failed_reason")
    failed = None if execution_id is None else {"execution_id": execution_id, "reason": reason}
    wanted = rationale_required(row["status"], mitigated=row["mitigated_at"] is not None)
    return {**found, "rationale_required": wanted, "flags": {"remediation_failed": failed}}


def plain(row: asyncpg.Record) -> dict[str, Any]:
    """A row, JSON-ready."""
    return {key: orjson.loads(value) if key in _JSON else _value(value) for key, value in row.items()}


def _value(value: Any) -> Any:
    match value:
        case datetime():
            return rfc3339(value)
        case uuid.UUID():
            return str(value)
        case _:
            return value
