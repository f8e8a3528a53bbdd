"""Votes, levels, forms, and what would run; and what let whoever decided.

Everything here widens. A question from before takes one yes, of whoever may, and has no vote: its grant has the person.
"""

from libs.common.migrations import guard_rows_v2, run

revision = "0004"
down_revision = "0003"

_TERMS = """
ALTER TABLE approval ADD COLUMN groups text[] NOT NULL DEFAULT '{}', ADD COLUMN quorum smallint NOT NULL DEFAULT 1,
  ADD COLUMN reminders double precision[] NOT NULL DEFAULT '{}', ADD COLUMN escalation jsonb NOT NULL DEFAULT '[]',
  ADD COLUMN level smallint NOT NULL DEFAULT 0, ADD COLUMN form jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN arguments jsonb NOT NULL DEFAULT '{}', ADD COLUMN filled jsonb NOT NULL DEFAULT '{}',
  ADD COLUMN method text NOT NULL DEFAULT '', ADD COLUMN decision_id text NOT NULL DEFAULT '',
  ADD COLUMN policy_revision text NOT NULL DEFAULT '';
CREATE TABLE vote (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  tenant_id text NOT NULL,
  approval_id uuid NOT NULL,
  actor text NOT NULL,
  plan_hash text NOT NULL,
  action_hash text NOT NULL,
  filled jsonb NOT NULL,
  rationale text NOT NULL,
  channel text NOT NULL,
  method text NOT NULL,
  decision_id text NOT NULL,
  policy_revision text NOT NULL,
  voted_at timestamptz NOT NULL,
  withdrawn_at timestamptz,
  withdrawn_why text NOT NULL DEFAULT '');
CREATE UNIQUE INDEX uq_vote_person ON vote (approval_id, tenant_id, actor) WHERE withdrawn_at IS NULL;
"""


def upgrade() -> None:
    run(_TERMS)
    guard_rows_v2("vote")
