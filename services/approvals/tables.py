"""The approvals service's tables: the substrate."""

from typing import Final

from sqlalchemy import MetaData

from libs.common.tables import substrate

SCHEMA: Final = "approvals"

metadata = MetaData()
substrate(metadata)
