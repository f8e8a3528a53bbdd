"""Branches and iterations as frames of their own, what loops go over, and how changes are taken back. Expands only."""

from libs.common.migrations import run

revision = "0005"
down_revision = "0004"

_EXPAND = """
CREATE TABLE frame (
  execution_id uuid NOT NULL REFERENCES execution (execution_id),
  path text NOT NULL,
  frame jsonb NOT NULL,
  PRIMARY KEY (execution_id, path));
CREATE TABLE loop_items (
  execution_id uuid NOT NULL REFERENCES execution (execution_id),
  path text NOT NULL,
  items jsonb NOT NULL,
  PRIMARY KEY (execution_id, path));
CREATE TABLE kept_rollback (
  execution_id uuid NOT NULL REFERENCES execution (execution_id),
  number integer NOT NULL,
  path text NOT NULL,
  visit integer NOT NULL,
  action text NOT NULL,
  effect text NOT NULL,
  action_hash text NOT NULL,
  rendered bytea NOT NULL,
  resource_id text,
  tags_url text,
  timeout_seconds double precision NOT NULL,
  refusal text NOT NULL DEFAULT '',
  PRIMARY KEY (execution_id, number));
"""


def upgrade() -> None:
    """Add the tables."""
    run(_EXPAND)
