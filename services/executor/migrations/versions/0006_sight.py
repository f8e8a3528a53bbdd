"""Who may see an execution, and what policy decided.

Everything here widens. What is from before belongs to no environment and is open to everyone of its tenant, as it was.
"""

from libs.common.migrations import decisions_v2, guard_rows_v2, run

revision = "0006"
down_revision = "0005"

_MARKED = """
ALTER TABLE execution ADD COLUMN environment text NOT NULL DEFAULT '', ADD COLUMN clearance smallint NOT NULL DEFAULT 0,
  ADD COLUMN rights jsonb;
ALTER TABLE action_log ADD COLUMN risk text NOT NULL DEFAULT 'low';
"""


def upgrade() -> None:
    run(_MARKED)
    decisions_v2()
    guard_rows_v2(
        "spec",
        "alert_state",
        "step_run",
        "action_log",
        "admission",
        "guarded_change",
        "breaker",
        "resource_lock",
        "approval",
        marked=("execution",),
    )
