"""Room in pages for the heads of chains: each leaf moves up to three of them, and no index hears of it."""

from libs.common.migrations import run

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    run("ALTER TABLE chain_head SET (fillfactor = 50)")
