"""The incident store's statements: one round trip a batch each, rows as arrays, locks in the order of keys."""

from typing import Final

STATE: Final = (
    "i.tenant_id, i.incident_id, i.fingerprint, i.severity, i.status, i.version, i.firing, i.opened_at, i.updated_at,"
    " i.acknowledged_at, i.mitigated_at, i.resolved_at, i.closed_at, i.rationale, i.failed_execution_id,"
    " i.failed_reason"
)

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
  WHERE i.status <> 'closed'
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

OPEN: Final = """
INSERT INTO incident (
  tenant_id, incident_id, fingerprint, version, title, alert_name, severity, severity_history, status, rationale,
  labels, annotations, firing, created_at, opened_at, updated_at, acknowledged_at, mitigated_at, resolved_at)
SELECT tenant_id, incident_id, fingerprint, version, title, alert_name, severity, severity_history::jsonb, status,
  rationale, labels::jsonb, annotations::jsonb, firing, created_at, opened_at, updated_at, acknowledged_at,
  mitigated_at, resolved_at
FROM unnest(
  $1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::text[], $12::text[], $13::int[], $14::timestamptz[], $15::timestamptz[], $16::timestamptz[],
  $17::timestamptz[], $18::timestamptz[], $19::timestamptz[])
AS t(
  tenant_id, incident_id, fingerprint, version, title, alert_name, severity, severity_history, status,
  rationale, labels, annotations, firing, created_at, opened_at, updated_at, acknowledged_at, mitigated_at,
  resolved_at)
"""

SAVE: Final = """
UPDATE incident i SET status = t.status, version = t.version, firing = t.firing, rationale = t.rationale,
  opened_at = t.opened_at, updated_at = t.updated_at, acknowledged_at = t.acknowledged_at,
  mitigated_at = t.mitigated_at, resolved_at = t.resolved_at, closed_at = t.closed_at,
  failed_execution_id = t.failed_execution_id, failed_reason = t.failed_reason
FROM unnest(
  $1::text[], $2::uuid[], $3::text[], $4::bigint[], $5::int[], $6::text[], $7::timestamptz[], $8::timestamptz[],
  $9::timestamptz[], $10::timestamptz[], $11::timestamptz[], $12::timestamptz[], $13::text[], $14::text[])
AS t(
  tenant_id, incident_id, status, version, firing, rationale, opened_at, updated_at, acknowledged_at, mitigated_at,
  resolved_at, closed_at, failed_execution_id, failed_reason)
WHERE i.tenant_id = t.tenant_id AND i.incident_id = t.incident_id
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
