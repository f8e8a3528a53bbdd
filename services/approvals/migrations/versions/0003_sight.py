"""Who may see an approval, and what policy decided.

Everything here widens. What is from before belongs to no environment and is open to everyone of its tenant, as it was.
"""

from libs.common.migrations import decisions_v2, guard_rows_v2, run

revision = "0003"
down_revision = "0002"

_MARKED = """
ALTER TABLE approval ADD COLUMN environment text NOT NULL DEFAULT '', ADD COLUMN clearance smallint NOT NULL DEFAULT 0;
"""


def upgrade() -> None:
    run(_MARKED)
    decisions_v2()
    guard_rows_v2("execution", marked=("approval",))
