"""Problems, incidents, their alerts and the executions that concern them, beside the substrate."""

from libs.common.migrations import run, substrate_v1

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE problem (
  tenant_id text NOT NULL,
  fingerprint text NOT NULL,
  last_seen timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, fingerprint)) WITH (fillfactor = 70);
CREATE TABLE incident (
  tenant_id text NOT NULL,
  incident_id uuid NOT NULL,
  fingerprint text NOT NULL,
  version bigint NOT NULL,
  title text NOT NULL,
  alert_name text NOT NULL,
  severity text NOT NULL,
  severity_history jsonb NOT NULL DEFAULT '[]'::jsonb,
  status text NOT NULL,
  rationale text NOT NULL DEFAULT '',
  owner text,
  sla_deadline timestamptz,
  tags jsonb NOT NULL DEFAULT '[]'::jsonb,
  labels jsonb NOT NULL,
  annotations jsonb NOT NULL,
  firing integer NOT NULL,
  failed_execution_id text,
  failed_reason text,
  created_at timestamptz NOT NULL,
  opened_at timestamptz NOT NULL,
  updated_at timestamptz NOT NULL,
  acknowledged_at timestamptz,
  mitigated_at timestamptz,
  resolved_at timestamptz,
  closed_at timestamptz,
  PRIMARY KEY (tenant_id, incident_id),
  CONSTRAINT ck_incident_firing CHECK (firing >= 0),
  CONSTRAINT ck_incident_version CHECK (version >= 1));
CREATE UNIQUE INDEX uq_incident_open ON incident (tenant_id, fingerprint) WHERE status <> 'closed';
CREATE INDEX ix_incident_status ON incident (tenant_id, status, incident_id);
CREATE TABLE alert (
  tenant_id text NOT NULL,
  fingerprint text NOT NULL,
  starts_at timestamptz NOT NULL,
  alert_id uuid NOT NULL,
  incident_id uuid,
  name text NOT NULL,
  severity text NOT NULL,
  status text NOT NULL,
  ends_at timestamptz,
  occurrences bigint NOT NULL,
  first_seen timestamptz NOT NULL,
  last_seen timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, fingerprint, starts_at),
  CONSTRAINT ck_alert_status CHECK (status IN ('firing', 'resolved')),
  CONSTRAINT fk_alert_incident FOREIGN KEY (tenant_id, incident_id)
    REFERENCES incident (tenant_id, incident_id)) WITH (fillfactor = 70);
CREATE INDEX ix_alert_incident ON alert (tenant_id, incident_id, starts_at);
CREATE TABLE execution (
  tenant_id text NOT NULL,
  execution_id text NOT NULL,
  incident_id uuid NOT NULL,
  runbook_id text NOT NULL,
  state text NOT NULL,
  reason text NOT NULL DEFAULT '',
  version bigint NOT NULL,
  updated_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, execution_id),
  CONSTRAINT fk_execution_incident FOREIGN KEY (tenant_id, incident_id) REFERENCES incident (tenant_id, incident_id));
CREATE INDEX ix_execution_incident ON execution (tenant_id, incident_id, updated_at);
"""


def upgrade() -> None:
    substrate_v1()
    run(_TABLES)
