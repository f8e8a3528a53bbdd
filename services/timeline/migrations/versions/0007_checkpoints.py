"""What the log has signed, the tiles that proofs are made of, and what contradicts what was signed.

Only widens. The service may add checkpoints and forks, and cannot change or delete one; tiles are computed from leaves
and grow until they are full.
"""

from libs.common.migrations import run

revision = "0007"
down_revision = "0006"

_TABLES = """
CREATE TABLE checkpoint (
  size bigint PRIMARY KEY,
  root bytea NOT NULL,
  note bytea NOT NULL,
  made_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT ck_checkpoint_root CHECK (octet_length(root) = 32));
CREATE TABLE tile (
  level smallint NOT NULL,
  n bigint NOT NULL,
  hashes bytea NOT NULL,
  PRIMARY KEY (level, n),
  CONSTRAINT ck_tile_level CHECK (level > 0),
  CONSTRAINT ck_tile_hashes CHECK (octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192));
ALTER TABLE tile ALTER COLUMN hashes SET STORAGE EXTERNAL;
CREATE TABLE fork (
  size bigint NOT NULL,
  root bytea NOT NULL,
  note bytea NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (size, root));
GRANT SELECT, INSERT ON checkpoint, fork TO rr_timeline;
GRANT SELECT, INSERT, UPDATE (hashes) ON tile TO rr_timeline;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_TABLES)
    run("SET LOCAL ROLE rr_timeline")
