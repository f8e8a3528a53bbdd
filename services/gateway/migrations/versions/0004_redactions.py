"""What is asked of the timeline, until the log is told of it: so that no crash loses why an event was redacted."""

from libs.common.migrations import run

revision = "0004"
down_revision = "0003"

_ASKED = """
CREATE TABLE redaction_asked (
  asking_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  request_key text NOT NULL,
  actor text NOT NULL,
  method text NOT NULL,
  question bytea NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp());
"""


def upgrade() -> None:
    run(_ASKED)
