"""Guards across executions: who may begin, what changed what and when, breakers, and what a held step waits for.

Expands only.
"""

from libs.common.migrations import run

revision = "0003"
down_revision = "0002"

_EXPAND = """
ALTER TABLE execution ADD COLUMN guards jsonb;
ALTER TABLE action_log ADD COLUMN held_until timestamptz;
ALTER TABLE action_log ADD COLUMN held_detail text;
CREATE TABLE admission (
  execution_id uuid PRIMARY KEY REFERENCES execution (execution_id),
  tenant_id text NOT NULL,
  arrival bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
  slot_key text,
  slot_limit integer,
  policy text,
  rate_key text,
  state text NOT NULL,
  begins jsonb NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  admitted_at timestamptz);
CREATE INDEX ix_admission_slot ON admission (tenant_id, slot_key, arrival) WHERE state IN ('queued', 'admitted');
CREATE INDEX ix_admission_queued ON admission (tenant_id, slot_key, arrival) WHERE state = 'queued';
CREATE INDEX ix_admission_rate ON admission (tenant_id, rate_key, asked_at) WHERE rate_key IS NOT NULL;
CREATE TABLE guarded_change (
  action_id uuid PRIMARY KEY REFERENCES action_log (action_id),
  tenant_id text NOT NULL,
  execution_id uuid NOT NULL,
  runbook_id text NOT NULL,
  resource_id text NOT NULL,
  budget_key text,
  changed_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ix_guarded_change_resource ON guarded_change (tenant_id, runbook_id, resource_id, changed_at);
CREATE INDEX ix_guarded_change_budget ON guarded_change (tenant_id, budget_key, changed_at)
  WHERE budget_key IS NOT NULL;
CREATE INDEX ix_guarded_change_execution ON guarded_change (execution_id);
CREATE TABLE breaker (
  breaker_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  runbook_id text NOT NULL,
  resource_id text NOT NULL,
  state text NOT NULL,
  version bigint NOT NULL,
  failures integer NOT NULL,
  execution_id uuid NOT NULL,
  opened_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  reset_at timestamptz,
  reset_by text,
  rationale text,
  CONSTRAINT uq_breaker UNIQUE (tenant_id, runbook_id, resource_id));
"""


def upgrade() -> None:
    """Add the guards' tables."""
    run(_EXPAND)
