"""The tables of guards across executions: places and rates, changes of resources, breakers."""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.tables import MOMENT


def guards(metadata: MetaData) -> None:
    """Add them to the executor's `metadata`."""
    Table(
        "admission",
        metadata,
        Column("execution_id", Uuid, ForeignKey("execution.execution_id"), primary_key=True),
        Column("tenant_id", Text, nullable=False),
        Column("arrival", BigInteger, Identity(always=True), nullable=False),
        Column("slot_key", Text),
        Column("slot_limit", Integer),
        Column("policy", Text),
        Column("rate_key", Text),
        Column("state", Text, nullable=False),
        Column("begins", JSONB, nullable=False),
        Column("asked_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Column("admitted_at", MOMENT),
        Index(
            "ix_admission_slot",
            "tenant_id",
            "slot_key",
            "arrival",
            postgresql_where=text("state IN ('queued', 'admitted')"),
        ),
        Index("ix_admission_queued", "tenant_id", "slot_key", "arrival", postgresql_where=text("state = 'queued'")),
        Index("ix_admission_rate", "tenant_id", "rate_key", "asked_at", postgresql_where=text("rate_key IS NOT NULL")),
    )

    Table(
        "guarded_change",
        metadata,
        Column("action_id", Uuid, ForeignKey("action_log.action_id"), primary_key=True),
        Column("tenant_id", Text, nullable=False),
        Column("execution_id", Uuid, nullable=False),
        Column("runbook_id", Text, nullable=False),
        Column("resource_id", Text, nullable=False),
        Column("budget_key", Text),
        Column("changed_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Index("ix_guarded_change_resource", "tenant_id", "runbook_id", "resource_id", "changed_at"),
        Index(
            "ix_guarded_change_budget",
            "tenant_id",
            "budget_key",
            "changed_at",
            postgresql_where=text("budget_key IS NOT NULL"),
        ),
        Index("ix_guarded_change_execution", "execution_id"),
    )

    Table(
        "breaker",
        metadata,
        Column("breaker_id", Uuid, primary_key=True),
        Column("tenant_id", Text, nullable=False),
        Column("runbook_id", Text, nullable=False),
        Column("resource_id", Text, nullable=False),
        Column("state", Text, nullable=False),
        Column("version", BigInteger, nullable=False),
        Column("failures", Integer, nullable=False),
        Column("execution_id", Uuid, nullable=False),
        Column("opened_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Column("reset_at", MOMENT),
        Column("reset_by", Text),
        Column("rationale", Text),
        UniqueConstraint("tenant_id", "runbook_id", "resource_id", name="uq_breaker"),
    )
