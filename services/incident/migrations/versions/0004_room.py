"""Room in pages for incidents: what changes besides status and severity fits beside the row's last version."""

from libs.common.migrations import run

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    run("ALTER TABLE incident SET (fillfactor = 50)")
