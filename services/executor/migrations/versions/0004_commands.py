"""What people command of executions: pauses that claims read, retries that are linked, dry runs. Expands only."""

from libs.common.migrations import run

revision = "0004"
down_revision = "0003"

_EXPAND = """
ALTER TABLE execution ADD COLUMN paused boolean NOT NULL DEFAULT false;
ALTER TABLE execution ADD COLUMN dry_run boolean NOT NULL DEFAULT false;
ALTER TABLE execution ADD COLUMN retry_of uuid;
ALTER TABLE execution ADD COLUMN retry_from text;
CREATE INDEX ix_execution_retry ON execution (retry_of) WHERE retry_of IS NOT NULL;
"""


def upgrade() -> None:
    """Add the columns of commands."""
    run(_EXPAND)
