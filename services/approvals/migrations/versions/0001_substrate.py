"""The substrate."""

from libs.common.migrations import substrate_v1

revision = "0001"
down_revision = None


def upgrade() -> None:
    substrate_v1()
