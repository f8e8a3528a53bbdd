"""Who may see a runbook, and what policy decided.

Everything here widens. What is from before belongs to no environment and is open to everyone of its tenant, as it was.
"""

from libs.common.migrations import decisions_v2, guard_rows_v2, run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    decisions_v2()
    guard_rows_v2("runbook", "runbook_draft", "match")
    run("SET LOCAL ROLE NONE")  # published versions are not the service's to change, nor is the rule about them
    guard_rows_v2("runbook_version")
    run("SET LOCAL ROLE rr_catalog")
