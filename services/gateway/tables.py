"""The gateway's schema: the shared tables and nothing else."""

from sqlalchemy import MetaData

from libs.common.tables import substrate

metadata = MetaData()
substrate(metadata)
