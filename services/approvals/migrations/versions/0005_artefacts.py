"""What was shown and decided, on its way to the object store.

Everything here widens. What was from before has no artefact.
"""

from libs.common.migrations import artefacts_v1

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    artefacts_v1()
