"""Who may see an event.

Everything here widens. Events from before belong to no environment and are open to everyone of their tenant, as they
were. Leaves are left alone: they hold commitments and ids, and are read whole or not at all.
"""

from libs.common.migrations import guard_rows_v2, run

revision = "0002"
down_revision = "0001"

_MARKED = """
ALTER TABLE payload ADD COLUMN environment text NOT NULL DEFAULT '', ADD COLUMN clearance smallint NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")  # the log is not the service's to change, nor is the rule about who sees it
    run(_MARKED)
    guard_rows_v2(marked=("payload",))
    run("SET LOCAL ROLE rr_timeline")
