"""Answered commands, and what policy decided about them: until here nobody could ask the log for more than answers.

Only widens. What was decided is not the service's to change.
"""

from libs.common.migrations import commands_v1, decisions_v2, run

revision = "0008"
down_revision = "0007"

_GRANTS = """
GRANT SELECT, INSERT, DELETE ON command TO rr_timeline;
GRANT SELECT, INSERT ON decision TO rr_timeline;
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    commands_v1()
    decisions_v2()
    run(_GRANTS)
    run("SET LOCAL ROLE rr_timeline")
