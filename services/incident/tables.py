"""The incident service's tables.

`problem` is what ingestion locks: a row for each (tenant, fingerprint) ever reported, so that two processes fold
reports of one problem one after the other, whether it has an incident or not.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKeyConstraint,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.tables import MOMENT, decisions, substrate

metadata = MetaData()
substrate(metadata)
decisions(metadata)

problem = Table(
    "problem",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("last_seen", MOMENT, nullable=False, server_default=func.clock_timestamp()),
)

incident = Table(
    "incident",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("incident_id", Uuid, primary_key=True),
    Column("fingerprint", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("alert_name", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("severity_history", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("status", Text, nullable=False),
    Column("rationale", Text, nullable=False, server_default=text("''")),
    Column("owner", Text),
    Column("sla_deadline", MOMENT),
    Column("tags", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Column("description", Text, nullable=False, server_default=text("''")),
    Column("labels", JSONB, nullable=False),
    Column("annotations", JSONB, nullable=False),
    Column("firing", Integer, nullable=False),
    Column("failed_execution_id", Text),
    Column("failed_reason", Text),
    Column("created_at", MOMENT, nullable=False),
    Column("opened_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Column("acknowledged_at", MOMENT),
    Column("mitigated_at", MOMENT),
    Column("resolved_at", MOMENT),
    Column("closed_at", MOMENT),
    Column("environment", Text, nullable=False, server_default=text("''")),
    Column("clearance", SmallInteger, nullable=False, server_default=text("0")),
    Column("rotation", Text, nullable=False, server_default=text("''")),
    CheckConstraint("firing >= 0", name="ck_incident_firing"),
    CheckConstraint("version >= 1", name="ck_incident_version"),
    Index(
        "uq_incident_problem",
        "tenant_id",
        "fingerprint",
        unique=True,
        postgresql_where=text("status <> 'closed' AND fingerprint <> ''"),  # a person opens as many as there are
    ),
    Index("ix_incident_status", "tenant_id", "status", "incident_id"),
    Index("ix_incident_severity", "tenant_id", "severity", "incident_id"),
    postgresql_with={"fillfactor": 50},
)

alert = Table(
    "alert",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    Column("starts_at", MOMENT, primary_key=True),
    Column("alert_id", Uuid, nullable=False),
    Column("incident_id", Uuid),  # none where the end came before the firing
    Column("name", Text, nullable=False),
    Column("severity", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("ends_at", MOMENT),
    Column("occurrences", BigInteger, nullable=False),
    Column("first_seen", MOMENT, nullable=False),
    Column("last_seen", MOMENT, nullable=False),
    CheckConstraint("status IN ('firing', 'resolved')", name="ck_alert_status"),
    ForeignKeyConstraint(
        ["tenant_id", "incident_id"], ["incident.tenant_id", "incident.incident_id"], name="fk_alert_incident"
    ),
    Index("ix_alert_incident", "tenant_id", "incident_id", "starts_at"),
)

execution = Table(
    "execution",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("incident_id", Uuid, nullable=False),  # there may be none yet: this execution opens it
    Column("runbook_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("version", BigInteger, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Index("ix_execution_incident", "tenant_id", "incident_id", "updated_at"),
)

incident_runbook = Table(
    "incident_runbook",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("incident_id", Uuid, primary_key=True),
    Column("runbook_id", Text, primary_key=True),
    Column("linked_by", Text, nullable=False),
    Column("linked_at", MOMENT, nullable=False),
    ForeignKeyConstraint(
        ["tenant_id", "incident_id"], ["incident.tenant_id", "incident.incident_id"], name="fk_incident_runbook"
    ),
)
