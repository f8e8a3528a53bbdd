"""What whoever copies the log may read: leaves, payloads, how they are marked, checkpoints and tiles. Nothing else.

Only widens. Provisioning makes the role with its password; where it has not yet, it is made here without either.
"""

from alembic import op

from libs.common.migrations import run

revision = "0010"
down_revision = "0009"

_ROLE = """
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'rr_exporter') THEN CREATE ROLE rr_exporter NOLOGIN; END IF;
END $$
"""
_GRANTS = """
GRANT USAGE ON SCHEMA timeline TO rr_exporter;
GRANT SELECT ON leaf, payload, entry, checkpoint, tile TO rr_exporter;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    op.execute(_ROLE)
    run(_GRANTS)
    run("SET LOCAL ROLE rr_timeline")
    run("GRANT SELECT ON alembic_version TO rr_exporter")  # which is the service's own
