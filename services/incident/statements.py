"""The incident store's statements: one round trip a batch each, rows as arrays, locks in the order of keys."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_KEY: Final = {"tenant_id": "text", "incident_id": "uuid"}
_MOVING: Final = {
    "severity": "text",
    "status": "text",
    "version": "bigint",
    "firing": "int",
    "rationale": "text",
    "owner": "text",
    "sla_deadline": "timestamptz",
    "opened_at": "timestamptz",
    "updated_at": "timestamptz",
    "acknowledged_at": "timestamptz",
    "mitigated_at": "timestamptz",
    "resolved_at": "timestamptz",
    "closed_at": "timestamptz",
    "failed_execution_id": "text",
    "failed_reason": "text",
}
_LASTING: Final = {
    "fingerprint": "text",
    "title": "text",
    "alert_name": "text",
    "severity_history": "jsonb",
    "labels": "jsonb",
    "annotations": "jsonb",
    "description": "text",
    "tags": "jsonb",
    "created_at": "timestamptz",
    "environment": "text",
    "clearance": "smallint",
    "rotation": "text",
}

SAVED: Final[Mapping[str, str]] = MappingProxyType({**_KEY, **_MOVING})
"""Column and type of what `SAVE` takes, in its order."""
OPENED: Final[Mapping[str, str]] = MappingProxyType({**_KEY, **_MOVING, **_LASTING})
"""Column and type of what `OPEN` takes, in its order."""


def _unnest(columns: Mapping[str, str]) -> str:
    """Arrays of these columns as rows `t`; JSON travels as text."""
    arrays = [
        f"${number}::{'text' if kind == 'jsonb' else kind}[]" for number, kind in enumerate(columns.values(), start=1)
    ]
    return f"unnest({', '.join(arrays)}) AS t({', '.join(columns)})"


def _values(columns: Mapping[str, str]) -> str:
    return ", ".join(f"t.{name}::jsonb" if kind == "jsonb" else f"t.{name}" for name, kind in columns.items())


STATE: Final = ", ".join(f"i.{name}" for name in (*SAVED, "fingerprint", "environment", "clearance", "rotation"))

LOCK_PROBLEMS: Final = """
INSERT INTO problem (tenant_id, fingerprint, last_seen)
SELECT tenant_id, fingerprint, $3 FROM unnest($1::text[], $2::text[]) AS t(tenant_id, fingerprint)
ORDER BY tenant_id, fingerprint
ON CONFLICT (tenant_id, fingerprint) DO UPDATE SET last_seen = greatest(problem.last_seen, excluded.last_seen)
"""

ALERTS: Final = """
SELECT a.* FROM alert a
JOIN unnest($1::text[], $2::text[], $3::timestamptz[]) AS t(tenant_id, fingerprint, starts_at)
USING (tenant_id, fingerprint, starts_at)
"""

PROBLEM_INCIDENTS: Final = f"""
WITH wanted AS (
  SELECT i.tenant_id, i.incident_id FROM incident i
  JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, fingerprint) USING (tenant_id, fingerprint)
  WHERE i.status <> 'closed' AND i.fingerprint <> ''
  UNION
  SELECT tenant_id, incident_id FROM unnest($3::text[], $4::uuid[]) AS u(tenant_id, incident_id))
SELECT {STATE} FROM incident i JOIN wanted USING (tenant_id, incident_id)
ORDER BY i.tenant_id, i.incident_id FOR UPDATE OF i
"""

LOCK_INCIDENTS: Final = f"""
SELECT {STATE} FROM incident i
JOIN unnest($1::text[], $2::uuid[]) AS t(tenant_id, incident_id) USING (tenant_id, incident_id)
ORDER BY i.tenant_id, i.incident_id FOR UPDATE OF i
"""

OPEN: Final = f"INSERT INTO incident ({', '.join(OPENED)}) SELECT {_values(OPENED)} FROM {_unnest(OPENED)}"

SAVE: Final = f"""
UPDATE incident i SET {", ".join(f"{name} = t.{name}" for name in _MOVING)} FROM {_unnest(SAVED)}
WHERE i.tenant_id = t.tenant_id AND i.incident_id = t.incident_id
"""

ADD_SEVERITY: Final = """
UPDATE incident SET severity_history = severity_history || $3::jsonb WHERE tenant_id = $1 AND incident_id = $2
"""

SAVE_ALERTS: Final = """
INSERT INTO alert (
  tenant_id, fingerprint, starts_at, alert_id, incident_id, name, severity, status, ends_at, occurrences, first_seen,
  last_seen)
SELECT tenant_id, fingerprint, starts_at, alert_id, incident_id, name, severity, status, ends_at, occurrences,
  last_seen, last_seen
FROM unnest(
  $1::text[], $2::text[], $3::timestamptz[], $4::uuid[], $5::uuid[], $6::text[], $7::text[], $8::text[],
  $9::timestamptz[], $10::bigint[], $11::timestamptz[])
AS t(
  tenant_id, fingerprint, starts_at, alert_id, incident_id, name, severity, status, ends_at, occurrences, last_seen)
ON CONFLICT (tenant_id, fingerprint, starts_at) DO UPDATE SET status = excluded.status, ends_at = excluded.ends_at,
  occurrences = excluded.occurrences, last_seen = excluded.last_seen
"""

EXECUTIONS: Final = """
SELECT * FROM execution e
JOIN unnest($1::text[], $2::text[]) AS t(tenant_id, execution_id) USING (tenant_id, execution_id)
"""

SAVE_EXECUTIONS: Final = """
INSERT INTO execution (tenant_id, execution_id, incident_id, runbook_id, state, reason, version, updated_at)
SELECT * FROM unnest(
  $1::text[], $2::text[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[], $8::timestamptz[])
ON CONFLICT (tenant_id, execution_id) DO UPDATE SET state = excluded.state, reason = excluded.reason,
  version = excluded.version, updated_at = excluded.updated_at
"""

RUNBOOKS: Final = "SELECT runbook_id FROM incident_runbook WHERE tenant_id = $1 AND incident_id = $2"

LINK_RUNBOOK: Final = """
INSERT INTO incident_runbook (tenant_id, incident_id, runbook_id, linked_by, linked_at) VALUES ($1, $2, $3, $4, $5)
"""
