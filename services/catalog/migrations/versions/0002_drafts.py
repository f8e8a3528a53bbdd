"""Drafts, and who wrote what was published.

A draft belongs to the service and is written over; versions stay in the hands of whoever migrates, who adds the column.
"""

from libs.common.migrations import run

revision = "0002"
down_revision = "0001"

_WIDER = """
CREATE TABLE runbook_draft (
  tenant_id text NOT NULL,
  runbook_id text NOT NULL,
  spec_hash text NOT NULL,
  name text NOT NULL,
  risk text NOT NULL,
  mode text NOT NULL,
  tags jsonb NOT NULL,
  author text NOT NULL,
  saved_at timestamptz NOT NULL,
  source text NOT NULL,
  PRIMARY KEY (tenant_id, runbook_id));
SET LOCAL ROLE NONE;
ALTER TABLE runbook_version ADD COLUMN author text;
"""


def upgrade() -> None:
    run(_WIDER)
