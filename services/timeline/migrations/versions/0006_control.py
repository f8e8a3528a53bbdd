"""What the log says of itself, written down before it is appended.

Only widens. Its rows are not the service's to change, except that each is given the index of its leaf.
"""

from libs.common.migrations import run

revision = "0006"
down_revision = "0005"

_TABLES = """
CREATE TABLE control (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  body jsonb NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  index bigint,
  CONSTRAINT uq_control_index UNIQUE (index));
CREATE INDEX ix_control_pending ON control (id) WHERE index IS NULL;
CREATE INDEX ix_control_type ON control ((body ->> 'type'), asked_at);
GRANT SELECT, INSERT, UPDATE (index) ON control TO rr_timeline;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_TABLES)
    run("SET LOCAL ROLE rr_timeline")
