"""The catalog's tables, as SQLAlchemy describes them; migrations make them, a test compares the two."""

from sqlalchemy import Boolean, CheckConstraint, Column, Integer, MetaData, Table, Text, UniqueConstraint, Uuid, func
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.tables import MOMENT, artefacts, decisions, substrate

metadata = MetaData()
substrate(metadata)
decisions(metadata)
artefacts(metadata)

runbook = Table(
    "runbook",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("runbook_id", Text, primary_key=True),
    Column("version", Integer, nullable=False),  # the latest; 0 while the first is being published
    Column("triggered", Boolean, nullable=False),
)

runbook_version = Table(
    "runbook_version",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("runbook_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("spec_hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("tags", JSONB, nullable=False),
    Column("published_by", Text, nullable=False),
    Column("published_at", MOMENT, nullable=False),
    Column("spec", JSONB, nullable=False),
    Column("source", Text, nullable=False),
    Column("author", Text),  # none in versions from before drafts: then it is who published it
    CheckConstraint("version > 0", name="ck_runbook_version_counts"),
)

runbook_draft = Table(
    "runbook_draft",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("runbook_id", Text, primary_key=True),
    Column("spec_hash", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("mode", Text, nullable=False),
    Column("tags", JSONB, nullable=False),
    Column("author", Text, nullable=False),
    Column("saved_at", MOMENT, nullable=False),
    Column("source", Text, nullable=False),
)

match = Table(
    "match",
    metadata,
    Column("match_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text, nullable=False),
    Column("runbook_id", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("spec_hash", Text, nullable=False),
    Column("conditions", Integer, nullable=False),
    Column("exact", Integer, nullable=False),
    Column("matched_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    UniqueConstraint("tenant_id", "incident_id", name="uq_match_incident"),
)
