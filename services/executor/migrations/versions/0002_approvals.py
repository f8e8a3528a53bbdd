"""Approvals as the executor knows them, which actions need one, and what people are asked. Expands only."""

from libs.common.migrations import run

revision = "0002"
down_revision = "0001"

_EXPAND = """
ALTER TABLE action_log ADD COLUMN needs_approval boolean NOT NULL DEFAULT false;
ALTER TABLE step_run ADD COLUMN asked jsonb;
CREATE TABLE approval (
  approval_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  execution_id uuid,
  step_run_id uuid,
  plan_hash text NOT NULL,
  action_hash text NOT NULL,
  state text NOT NULL,
  actor text NOT NULL,
  expires_at timestamptz,
  used_at timestamptz);
CREATE INDEX ix_approval_step_run ON approval (step_run_id);
CREATE INDEX ix_approval_execution ON approval (execution_id);
"""


def upgrade() -> None:
    """Add the executor's copy of approvals."""
    run(_EXPAND)
