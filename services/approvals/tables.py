"""The approvals service's tables: the substrate."""

from sqlalchemy import MetaData

from libs.common.tables import substrate

metadata = MetaData()
substrate(metadata)
