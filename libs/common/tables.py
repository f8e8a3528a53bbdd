"""The tables that every service's schema has: outbox, inbox, failures, dead letters, answered commands, timers."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

MOMENT: Final = DateTime(timezone=True)


def substrate(metadata: MetaData) -> None:
    """Add the shared tables to a service's `metadata`."""
    Table(
        "outbox",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("event_id", Uuid, nullable=False, unique=True),
        Column("aggregate_type", Text, nullable=False),
        Column("aggregate_id", Text, nullable=False),
        Column("aggregate_version", BigInteger, nullable=False),
        Column("subject", Text, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("salt", LargeBinary, nullable=False),
        Column("headers", JSONB, nullable=False),
        Column("created_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Column("published_at", MOMENT),
        Column("epoch", BigInteger),
        Column("stream_seq", BigInteger),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        Column("last_error", Text),
        UniqueConstraint("aggregate_id", "aggregate_version", name="uq_outbox_aggregate"),
        Index("ix_outbox_unpublished", "id", postgresql_where=text("published_at IS NULL")),
        Index("ix_outbox_published", "epoch", "stream_seq", postgresql_where=text("published_at IS NOT NULL")),
    )
    Table(
        "inbox",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("epoch", BigInteger, nullable=False),
        Column("stream_seq", BigInteger, nullable=False),
        Column("processed_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Index("ix_inbox_position", "epoch", "stream_seq"),
    )
    Table(
        "inbox_failure",
        metadata,
        Column("consumer", Text, primary_key=True),
        Column("event_id", Uuid, primary_key=True),
        Column("count", Integer, nullable=False),
        Column("last_error", Text, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'retrying'")),
        Column("updated_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    )
    Table(
        "dead_letter",
        metadata,
        Column("id", BigInteger, Identity(always=True), primary_key=True),
        Column("consumer", Text, nullable=False),
        Column("event_id", Uuid, nullable=False),
        Column("tenant_id", Text, nullable=False),
        Column("subject", Text, nullable=False),
        Column("aggregate_id", Text, nullable=False, server_default=text("''")),
        Column("headers", JSONB, nullable=False),
        Column("payload", LargeBinary, nullable=False),
        Column("stream", Text, nullable=False),
        Column("epoch", BigInteger, nullable=False),
        Column("stream_seq", BigInteger, nullable=False),
        Column("reason", Text, nullable=False),
        Column("state", Text, nullable=False, server_default=text("'open'")),
        Column("created_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Column("resolved_at", MOMENT),
        Column("resolved_by", Text),
        Column("resolution", Text),
        UniqueConstraint("consumer", "event_id", name="uq_dead_letter_event"),
        Index("ix_dead_letter_open", "consumer", "aggregate_id", postgresql_where=text("state = 'open'")),
    )
    commands(metadata)


def commands(metadata: MetaData) -> None:
    """Add answered commands to a service's `metadata`."""
    Table(
        "command",
        metadata,
        Column("request_key", Text, primary_key=True),
        Column("tenant_id", Text, primary_key=True),
        Column("verb", Text, nullable=False),
        Column("body_sha256", LargeBinary, nullable=False),
        Column("response", LargeBinary, nullable=False),
        Column("created_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Index("ix_command_created", "created_at"),
    )


def decisions(metadata: MetaData) -> None:
    """Add the log of what policy decided to a service's `metadata`."""
    Table(
        "decision",
        metadata,
        Column("decision_id", Uuid, primary_key=True),
        Column("decided_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Column("tenant_id", Text, nullable=False),
        Column("actor", Text, nullable=False),
        Column("action", Text, nullable=False),
        Column("resource_kind", Text, nullable=False),
        Column("resource_id", Text, nullable=False),
        Column("allow", Boolean, nullable=False),
        Column("reasons", JSONB, nullable=False),
        Column("engine", Text, nullable=False),
        Column("revision", Text, nullable=False),
        Column("request_key", Text, nullable=False),
        Index("ix_decision_page", "tenant_id", "decided_at"),
        Index("ix_decision_denied", "tenant_id", "actor", "decided_at", postgresql_where=text("NOT allow")),
    )


def artefacts(metadata: MetaData) -> None:
    """Add what waits to be taken to the object store (`artefacts.py`) to a service's `metadata`."""
    Table(
        "artefact_waiting",
        metadata,
        Column("tenant_id", Text, primary_key=True),
        Column("kind", Text, primary_key=True),
        Column("sha256", LargeBinary, primary_key=True),
        Column("data", LargeBinary, nullable=False),
        Column("added_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
        Index("ix_artefact_waiting", "added_at"),
    )
