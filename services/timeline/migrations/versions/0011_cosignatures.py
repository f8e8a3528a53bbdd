"""What witnesses have signed: that they saw this log at this size with this root, and when.

Only widens. The service adds cosignatures and cannot change or delete one.
"""

from libs.common.migrations import run

revision = "0011"
down_revision = "0010"

_TABLES = """
CREATE TABLE cosignature (
  size bigint NOT NULL,
  key_id bytea NOT NULL,
  name text NOT NULL,
  line text NOT NULL,
  signed_at bigint NOT NULL,
  handed_in_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (size, key_id));
GRANT SELECT, INSERT ON cosignature TO rr_timeline;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_TABLES)
    run("SET LOCAL ROLE rr_timeline")
