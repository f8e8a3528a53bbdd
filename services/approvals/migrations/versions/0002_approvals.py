"""Approvals, the executions that asked for them, and the timers of their expiry."""

from libs.common.migrations import run

revision = "0002"
down_revision = "0001"

_TABLES = """
CREATE TABLE approval (
  approval_id uuid NOT NULL,
  tenant_id text NOT NULL,
  execution_id text NOT NULL,
  incident_id text NOT NULL,
  runbook_id text NOT NULL,
  step_run_id text NOT NULL,
  step text NOT NULL,
  approval_of text NOT NULL,
  plan_hash text NOT NULL,
  action_hash text NOT NULL,
  action text NOT NULL,
  resource_id text NOT NULL,
  risk text NOT NULL,
  prompt text NOT NULL,
  requester text NOT NULL,
  approvers text[] NOT NULL,
  asked_version bigint NOT NULL,
  correlation text NOT NULL,
  traceparent text NOT NULL,
  requested_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  state text NOT NULL,
  version bigint NOT NULL,
  approver text NOT NULL DEFAULT '',
  rationale text NOT NULL DEFAULT '',
  channel text NOT NULL DEFAULT '',
  decided_at timestamptz,
  valid_until timestamptz,
  revoked_by text NOT NULL DEFAULT '',
  revoke_rationale text NOT NULL DEFAULT '',
  revoked_at timestamptz,
  PRIMARY KEY (approval_id, tenant_id),
  CONSTRAINT ck_approval_two_people CHECK (approver <> requester OR state <> 'granted'),
  CONSTRAINT ck_approval_version CHECK (version >= 1));
CREATE INDEX ix_approval_page ON approval (tenant_id, requested_at, approval_id);
CREATE INDEX ix_approval_execution ON approval (tenant_id, execution_id);
CREATE INDEX ix_approval_incident ON approval (tenant_id, incident_id);
CREATE INDEX ix_approval_open ON approval (tenant_id, requested_at, approval_id) WHERE state = 'requested';
CREATE TABLE execution (
  tenant_id text NOT NULL,
  execution_id text NOT NULL,
  ended boolean NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, execution_id));
CREATE INDEX ix_execution_seen ON execution (seen_at) WHERE ended;
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
    run(_TABLES)
