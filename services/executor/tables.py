"""The executor's tables, as SQLAlchemy describes them; migrations make them, a test compares the two."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Sequence,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from libs.common.tables import MOMENT, decisions, substrate
from services.executor.guards.tables import guards

metadata = MetaData()
substrate(metadata)
decisions(metadata)
guards(metadata)

fence = Sequence("fence", metadata=metadata)

spec = Table(
    "spec",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("spec_hash", Text, primary_key=True),
    Column("runbook_id", Text, nullable=False),
    Column("runbook_version", Integer, nullable=False),
    Column("body", JSONB, nullable=False),
)

alert_state = Table(
    "alert_state",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("incident_id", Text, primary_key=True),
    Column("firing", Boolean, nullable=False),
    Column("version", BigInteger, nullable=False),
    postgresql_with={"fillfactor": 50},
)

execution = Table(
    "execution",
    metadata,
    Column("execution_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("match_id", Uuid, unique=True),
    Column("incident_id", Text, nullable=False),
    Column("runbook_id", Text, nullable=False),
    Column("runbook_version", Integer, nullable=False),
    Column("spec_hash", Text, nullable=False),
    Column("plan_hash", Text, nullable=False),
    Column("initiator", Text, nullable=False),
    Column("correlation", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("inputs", JSONB, nullable=False),
    Column("alert", JSONB),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("phase", Text, nullable=False),
    Column("blocked_reason", Text),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("frame", JSONB, nullable=False),
    Column("created_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Column("started_at", MOMENT),
    Column("ended_at", MOMENT),
    Column("guards", JSONB),
    Column("paused", Boolean, nullable=False, server_default=text("false")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    Column("retry_of", Uuid),
    Column("retry_from", Text),
    Column("environment", Text, nullable=False, server_default=text("''")),
    Column("clearance", SmallInteger, nullable=False, server_default=text("0")),
    Column("rights", JSONB),
    Index("ix_execution_retry", "retry_of", postgresql_where=text("retry_of IS NOT NULL")),
    Index("ix_execution_incident", "tenant_id", "incident_id"),
    Index("ix_execution_live", "execution_id", postgresql_where=text("ended_at IS NULL")),
    postgresql_with={"fillfactor": 50},
)

step_run = Table(
    "step_run",
    metadata,
    Column("step_run_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("asked", JSONB),
    UniqueConstraint("execution_id", "path", "visit", name="uq_step_run_visit"),
    postgresql_with={"fillfactor": 50},
)

action_log = Table(
    "action_log",
    metadata,
    Column("action_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("step_run_id", Uuid, ForeignKey("step_run.step_run_id"), nullable=False),
    Column("execution_id", Uuid, nullable=False),
    Column("incident_id", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("idem_key", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("effect", Text, nullable=False),
    Column("action_hash", Text, nullable=False),
    Column("rendered", LargeBinary, nullable=False),
    Column("resource_id", Text),
    Column("tags_url", Text),
    Column("timeout_seconds", Float, nullable=False),
    Column("requires_firing", Boolean, nullable=False),
    Column("stream", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("held_reason", Text),
    Column("cancel_requested", Boolean, nullable=False, server_default=text("false")),
    Column("worker_id", Text),
    Column("fence", BigInteger),
    Column("kill_epoch", BigInteger),
    Column("lease_until", MOMENT),
    Column("ready_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Column("hinted_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Column("started_at", MOMENT),
    Column("finished_at", MOMENT),
    Column("error_code", Text),
    Column("message", Text),
    Column("result", JSONB),
    Column("evidence", JSONB),
    Column("late", JSONB),
    Column("needs_approval", Boolean, nullable=False, server_default=text("false")),
    Column("risk", Text, nullable=False, server_default=text("'low'")),
    Column("held_until", MOMENT),
    Column("held_detail", Text),
    UniqueConstraint("step_run_id", "attempt", name="uq_action_attempt"),
    Index("ix_action_ready", "hinted_at", postgresql_where=text("state = 'ready'")),
    Index("ix_action_lease", "lease_until", postgresql_where=text("state = 'running'")),
    Index("ix_action_execution", "execution_id"),
    Index("ix_action_waiting", "tenant_id", "resource_id", postgresql_where=text("state = 'ready'")),
)

resource_lock = Table(
    "resource_lock",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("resource_id", Text, primary_key=True),
    Column("execution_id", Uuid, nullable=False),
    Column("fence", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("acquired_at", MOMENT, nullable=False, server_default=func.clock_timestamp()),
    Column("lease_until", MOMENT, nullable=False),
    Index("ix_resource_lock_execution", "execution_id"),
    postgresql_with={"fillfactor": 50},
)

kill_switch = Table(
    "kill_switch",
    metadata,
    Column("scope", Text, primary_key=True),
    Column("engaged", Boolean, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", MOMENT, nullable=False),
    Column("reason", Text, nullable=False),
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

approval = Table(
    "approval",
    metadata,
    Column("approval_id", Uuid, primary_key=True),
    Column("tenant_id", Text, nullable=False),
    Column("execution_id", Uuid),
    Column("step_run_id", Uuid),
    Column("plan_hash", Text, nullable=False),
    Column("action_hash", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("expires_at", MOMENT),
    Column("used_at", MOMENT),
    Index("ix_approval_step_run", "step_run_id"),
    Index("ix_approval_execution", "execution_id"),
)

frame = Table(
    "frame",
    metadata,
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("frame", JSONB, nullable=False),
)

loop_items = Table(
    "loop_items",
    metadata,
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), primary_key=True),
    Column("path", Text, primary_key=True),
    Column("items", JSONB, nullable=False),
)

kept_rollback = Table(
    "kept_rollback",
    metadata,
    Column("execution_id", Uuid, ForeignKey("execution.execution_id"), primary_key=True),
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("path", Text, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("action", Text, nullable=False),
    Column("effect", Text, nullable=False),
    Column("action_hash", Text, nullable=False),
    Column("rendered", LargeBinary, nullable=False),
    Column("resource_id", Text),
    Column("tags_url", Text),
    Column("timeout_seconds", Float, nullable=False),
    Column("refusal", Text, nullable=False, server_default=text("''")),
)
