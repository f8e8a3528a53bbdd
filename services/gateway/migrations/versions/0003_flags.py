"""Feature flags. What has no row is on, as everything was."""

from libs.common.migrations import run

revision = "0003"
down_revision = "0002"

_FLAGS = """
CREATE TABLE feature_flag (
  name text PRIMARY KEY,
  state text NOT NULL CONSTRAINT ck_feature_flag_state CHECK (state IN ('on', 'off', 'listed')),
  tenants text[] NOT NULL,
  version bigint NOT NULL,
  changed_by text NOT NULL,
  changed_at timestamptz NOT NULL,
  rationale text NOT NULL);
"""


def upgrade() -> None:
    run(_FLAGS)
