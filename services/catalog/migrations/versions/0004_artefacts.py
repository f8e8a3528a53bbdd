"""Published versions with their provenance, on their way to the object store.

Everything here widens. What was from before has no artefact.
"""

from libs.common.migrations import artefacts_v1

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    artefacts_v1()
