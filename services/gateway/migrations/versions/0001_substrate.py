"""The shared tables."""

from libs.common.migrations import substrate_v1

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    substrate_v1()
