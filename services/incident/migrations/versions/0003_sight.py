"""Who may see an incident, and what policy decided.

Everything here widens. Incidents from before belong to no environment and are open to everyone of their tenant, as
they were.
"""

from libs.common.migrations import decisions_v2, guard_rows_v2, run

revision = "0003"
down_revision = "0002"

_MARKED = """
ALTER TABLE incident ADD COLUMN environment text NOT NULL DEFAULT '', ADD COLUMN clearance smallint NOT NULL DEFAULT 0,
  ADD COLUMN rotation text NOT NULL DEFAULT '';
"""


def upgrade() -> None:
    run(_MARKED)
    decisions_v2()
    guard_rows_v2("problem", "alert", "execution", "incident_runbook", marked=("incident",))
