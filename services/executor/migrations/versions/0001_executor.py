"""The executor's first schema."""

from libs.common.migrations import run, substrate_v1

revision = "0001"
down_revision = None

_TABLES = """
CREATE SEQUENCE fence;
CREATE TABLE spec (
  tenant_id text NOT NULL,
  spec_hash text NOT NULL,
  runbook_id text NOT NULL,
  runbook_version integer NOT NULL,
  body jsonb NOT NULL,
  PRIMARY KEY (tenant_id, spec_hash));
CREATE TABLE alert_state (
  tenant_id text NOT NULL,
  incident_id text NOT NULL,
  firing boolean NOT NULL,
  version bigint NOT NULL,
  PRIMARY KEY (tenant_id, incident_id));
CREATE TABLE execution (
  execution_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  match_id uuid UNIQUE,
  incident_id text NOT NULL,
  runbook_id text NOT NULL,
  runbook_version integer NOT NULL,
  spec_hash text NOT NULL,
  plan_hash text NOT NULL,
  initiator text NOT NULL,
  correlation text NOT NULL,
  traceparent text NOT NULL,
  inputs jsonb NOT NULL,
  alert jsonb,
  version bigint NOT NULL,
  state text NOT NULL,
  phase text NOT NULL,
  blocked_reason text,
  reason text NOT NULL DEFAULT '',
  frame jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  ended_at timestamptz);
CREATE INDEX ix_execution_incident ON execution (tenant_id, incident_id);
CREATE INDEX ix_execution_live ON execution (execution_id) WHERE ended_at IS NULL;
CREATE TABLE step_run (
  step_run_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  execution_id uuid NOT NULL REFERENCES execution (execution_id),
  path text NOT NULL,
  visit integer NOT NULL,
  state text NOT NULL,
  CONSTRAINT uq_step_run_visit UNIQUE (execution_id, path, visit));
CREATE TABLE action_log (
  action_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  step_run_id uuid NOT NULL REFERENCES step_run (step_run_id),
  execution_id uuid NOT NULL,
  incident_id text NOT NULL,
  path text NOT NULL,
  visit integer NOT NULL,
  attempt integer NOT NULL,
  idem_key text NOT NULL,
  action text NOT NULL,
  effect text NOT NULL,
  action_hash text NOT NULL,
  rendered bytea NOT NULL,
  resource_id text,
  tags_url text,
  timeout_seconds double precision NOT NULL,
  requires_firing boolean NOT NULL,
  stream text NOT NULL,
  traceparent text NOT NULL,
  state text NOT NULL,
  held_reason text,
  cancel_requested boolean NOT NULL DEFAULT false,
  worker_id text,
  fence bigint,
  kill_epoch bigint,
  lease_until timestamptz,
  ready_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  hinted_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz,
  finished_at timestamptz,
  error_code text,
  message text,
  result jsonb,
  evidence jsonb,
  late jsonb,
  CONSTRAINT uq_action_attempt UNIQUE (step_run_id, attempt));
CREATE INDEX ix_action_ready ON action_log (hinted_at) WHERE state = 'ready';
CREATE INDEX ix_action_lease ON action_log (lease_until) WHERE state = 'running';
CREATE INDEX ix_action_execution ON action_log (execution_id);
CREATE INDEX ix_action_waiting ON action_log (tenant_id, resource_id) WHERE state = 'ready';
CREATE TABLE resource_lock (
  tenant_id text NOT NULL,
  resource_id text NOT NULL,
  execution_id uuid NOT NULL,
  fence bigint NOT NULL,
  state text NOT NULL,
  acquired_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  lease_until timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, resource_id));
CREATE INDEX ix_resource_lock_execution ON resource_lock (execution_id);
CREATE TABLE kill_switch (
  scope text PRIMARY KEY,
  engaged boolean NOT NULL,
  epoch bigint NOT NULL,
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL,
  reason text NOT NULL);
CREATE TABLE timer (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  kind text NOT NULL,
  ref_id uuid NOT NULL,
  ref_version text NOT NULL,
  due_at timestamptz NOT NULL,
  state text NOT NULL,
  fired_at timestamptz,
  CONSTRAINT uq_timer_ref UNIQUE (kind, ref_id, ref_version));
CREATE INDEX ix_timer_due ON timer (due_at) WHERE state = 'set';
"""


def upgrade() -> None:
    """Make the shared tables, then the executor's own."""
    substrate_v1()
    run(_TABLES)
