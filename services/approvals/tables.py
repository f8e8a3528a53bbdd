"""The approvals service's tables.

`execution` is what facts of executions lock: a row for each that was heard of, so that two processes handle its facts
one after the other and a question that comes after the end is not asked. A `vote` is never deleted: one that was taken
back says when and why.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Double,
    Identity,
    Index,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from libs.common.tables import MOMENT, artefacts, decisions, substrate

metadata = MetaData()
substrate(metadata)
decisions(metadata)
artefacts(metadata)

approval = Table(
    "approval",
    metadata,
    Column("approval_id", Uuid, primary_key=True),
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, nullable=False),
    Column("incident_id", Text, nullable=False),
    Column("runbook_id", Text, nullable=False),
    Column("step_run_id", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("approval_of", Text, nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("action_hash", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("resource_id", Text, nullable=False),
    Column("risk", Text, nullable=False),
    Column("prompt", Text, nullable=False),
    Column("requester", Text, nullable=False),
    Column("approvers", ARRAY(Text), nullable=False),
    Column("asked_version", BigInteger, nullable=False),
    Column("correlation", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("requested_at", MOMENT, nullable=False),
    Column("expires_at", MOMENT, nullable=False),
    Column("state", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("approver", Text, nullable=False, server_default=text("''")),
    Column("rationale", Text, nullable=False, server_default=text("''")),
    Column("channel", Text, nullable=False, server_default=text("''")),
    Column("decided_at", MOMENT),
    Column("valid_until", MOMENT),
    Column("revoked_by", Text, nullable=False, server_default=text("''")),
    Column("revoke_rationale", Text, nullable=False, server_default=text("''")),
    Column("revoked_at", MOMENT),
    Column("groups", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("quorum", SmallInteger, nullable=False, server_default=text("1")),
    Column("reminders", ARRAY(Double), nullable=False, server_default=text("'{}'")),
    Column("escalation", JSONB, nullable=False, server_default=text("'[]'")),
    Column("level", SmallInteger, nullable=False, server_default=text("0")),
    Column("form", JSONB, nullable=False, server_default=text("'{}'")),
    Column("arguments", JSONB, nullable=False, server_default=text("'{}'")),
    Column("filled", JSONB, nullable=False, server_default=text("'{}'")),
    Column("method", Text, nullable=False, server_default=text("''")),
    Column("decision_id", Text, nullable=False, server_default=text("''")),
    Column("policy_revision", Text, nullable=False, server_default=text("''")),
    Column("environment", Text, nullable=False, server_default=text("''")),
    Column("clearance", SmallInteger, nullable=False, server_default=text("0")),
    CheckConstraint("approver <> requester OR state <> 'granted'", name="ck_approval_two_people"),
    CheckConstraint("version >= 1", name="ck_approval_version"),
    Index("ix_approval_page", "tenant_id", "requested_at", "approval_id"),
    Index("ix_approval_execution", "tenant_id", "execution_id"),
    Index("ix_approval_incident", "tenant_id", "incident_id"),
    Index("ix_approval_open", "tenant_id", "requested_at", "approval_id", postgresql_where=text("state = 'requested'")),
)

vote = Table(
    "vote",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("approval_id", Uuid, nullable=False),
    Column("actor", Text, nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("action_hash", Text, nullable=False),
    Column("filled", JSONB, nullable=False),
    Column("rationale", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("decision_id", Text, nullable=False),
    Column("policy_revision", Text, nullable=False),
    Column("voted_at", MOMENT, nullable=False),
    Column("withdrawn_at", MOMENT),
    Column("withdrawn_why", Text, nullable=False, server_default=text("''")),
    Index(
        "uq_vote_person",
        "approval_id",
        "tenant_id",
        "actor",
        unique=True,
        postgresql_where=text("withdrawn_at IS NULL"),
    ),
)

execution = Table(
    "execution",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("execution_id", Text, primary_key=True),
    Column("ended", Boolean, nullable=False),
    Column("seen_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Index("ix_execution_seen", "seen_at", postgresql_where=text("ended")),
)

timer = Table(
    "timer",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("ref_id", Uuid, nullable=False),
    Column("ref_version", Text, nullable=False),
    Column("due_at", MOMENT, nullable=False),
    Column("state", Text, nullable=False),
    Column("fired_at", MOMENT),
    UniqueConstraint("kind", "ref_id", "ref_version", name="uq_timer_ref"),
    Index("ix_timer_due", "due_at", postgresql_where=text("state = 'set'")),
)
