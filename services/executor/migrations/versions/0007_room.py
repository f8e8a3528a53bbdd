"""Room in pages for what changes at every step: a row's next version fits beside it, and no index hears of it."""

from libs.common.migrations import run

revision = "0007"
down_revision = "0006"

_ROOM = """
ALTER TABLE execution SET (fillfactor = 50);
ALTER TABLE step_run SET (fillfactor = 50);
ALTER TABLE resource_lock SET (fillfactor = 50);
ALTER TABLE alert_state SET (fillfactor = 50);
"""


def upgrade() -> None:
    run(_ROOM)
