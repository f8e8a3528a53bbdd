"""The log's tables. Payloads lie apart from leaves, so that a payload can be redacted and the log still verifies.

`entry` is what is searched and shown of each event, partitioned by stored time (`partitions.py` makes the months
ahead). It is read through the view `entry_seen`, which shows what row-level security would; `entry_place` shows of all
entries their index and ids. `words` comes from the payload: whoever redacts one empties the other.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, TSVECTOR

from libs.common.tables import MOMENT, commands, decisions

SCHEMA: Final = "timeline"
_OF_REDACTION: Final = "body ->> 'type' = 'redaction'"

metadata = MetaData()
commands(metadata)
decisions(metadata)

log_state = Table(
    "log_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False),
    Column("term", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("frontier", LargeBinary, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("stream", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="ck_log_state_one_row"),
)

leaf = Table(
    "leaf",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    Column("event_hash", LargeBinary, nullable=False),
    Column("stream", Text),
    Column("epoch", BigInteger),
    Column("seq", BigInteger),  # of a gap: its last sequence
    Column("source", Text),
    Column("event_id", Text),
    CheckConstraint("octet_length(leaf) <= 4096", name="ck_leaf_length"),
    CheckConstraint("octet_length(event_hash) = 32", name="ck_leaf_hash"),
    UniqueConstraint("stream", "epoch", "seq", name="uq_leaf_sequence"),
    Index("uq_leaf_event", "event_id", "source", unique=True, postgresql_where=text("kind = 'event'")),
)

payload = Table(
    "payload",
    metadata,
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("event_id", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("salt", LargeBinary, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", MOMENT, nullable=False),
    Column("actor", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text),
    Column("execution_id", Text),
    Column("runbook_id", Text),
    Column("dataschema", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("environment", Text, nullable=False, server_default=text("''")),
    Column("clearance", SmallInteger, nullable=False, server_default=text("0")),
    Index("ix_payload_incident", "incident_id", "index", postgresql_where=text("incident_id IS NOT NULL")),
    Index("ix_payload_execution", "execution_id", "index", postgresql_where=text("execution_id IS NOT NULL")),
)

entry = Table(
    "entry",
    metadata,
    Column("index", BigInteger, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("stored_at", MOMENT, nullable=False),
    Column("time", MOMENT, nullable=False),
    Column("type", Text(collation="C"), nullable=False),  # so that a prefix is a range
    Column("actor", Text, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text),
    Column("execution_id", Text),
    Column("runbook_id", Text),
    Column("environment", Text, nullable=False),
    Column("clearance", SmallInteger, nullable=False),
    Column("dataschema", Text, nullable=False),
    Column("traceparent", Text, nullable=False),
    Column("words", TSVECTOR, nullable=False),
    Index("ix_entry_tenant", "tenant_id", "index"),
    Index("ix_entry_incident", "incident_id", "index", postgresql_where=text("incident_id IS NOT NULL")),
    Index("ix_entry_execution", "execution_id", "index", postgresql_where=text("execution_id IS NOT NULL")),
    Index("ix_entry_runbook", "runbook_id", "index", postgresql_where=text("runbook_id IS NOT NULL")),
    Index("ix_entry_actor", "tenant_id", "actor", "index"),
    Index("ix_entry_type", "tenant_id", "type", "index"),
    Index(
        "ix_entry_stored",
        "stored_at",
        postgresql_using="brin",
        postgresql_with={"pages_per_range": 16, "autosummarize": "on"},
    ),
    Index("ix_entry_words", "words", postgresql_using="gin"),
    postgresql_partition_by="RANGE (stored_at)",
)

chain_head = Table(
    "chain_head",
    metadata,
    Column("kind", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("n", BigInteger, nullable=False),
    Column("event_hash", LargeBinary, nullable=False),
    postgresql_with={"fillfactor": 50},
)

artefact = Table(
    "artefact",
    metadata,
    Column("sha256", LargeBinary, primary_key=True),
    Column("index", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, primary_key=True),
    Column("length", BigInteger, nullable=False),
    Column("type", Text, nullable=False),
    Column("time", MOMENT, nullable=False),
    Column("tenant_id", Text, nullable=False),
    Column("incident_id", Text),
    Column("execution_id", Text),
    Column("environment", Text, nullable=False, server_default=text("''")),
    Column("clearance", SmallInteger, nullable=False, server_default=text("0")),
    Column("deleted_at", MOMENT),
    CheckConstraint("octet_length(sha256) = 32", name="ck_artefact_hash"),
    Index("ix_artefact_incident", "incident_id", "index", postgresql_where=text("incident_id IS NOT NULL")),
    Index("ix_artefact_execution", "execution_id", "index", postgresql_where=text("execution_id IS NOT NULL")),
    Index("ix_artefact_tenant", "tenant_id", "index"),
)

control = Table(
    "control",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("body", JSONB, nullable=False),
    Column("asked_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    Column("index", BigInteger),
    UniqueConstraint("index", name="uq_control_index"),
    Index("ix_control_pending", "id", postgresql_where=text("index IS NULL")),
    Index("uq_control_redaction", text("(body ->> 'of')"), unique=True, postgresql_where=text(_OF_REDACTION)),
    Index("ix_control_type", text("(body ->> 'type')"), "asked_at"),
)

shredding = Table(  # objects that a redaction has doomed; the trigger of `control` writes it
    "shredding",
    metadata,
    Column("tenant_id", Text, primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("sha256", LargeBinary, primary_key=True),
    Column("asked_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("note", LargeBinary, nullable=False),
    Column("made_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("octet_length(root) = 32", name="ck_checkpoint_root"),
)

cosignature = Table(  # what witnesses put beneath checkpoints
    "cosignature",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("key_id", LargeBinary, primary_key=True),
    Column("name", Text, nullable=False),
    Column("line", Text, nullable=False),
    Column("signed_at", BigInteger, nullable=False),
    Column("handed_in_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
)

tile = Table(  # of level 1 and above: level 0 are the leaves' hashes
    "tile",
    metadata,
    Column("level", SmallInteger, primary_key=True, autoincrement=False),
    Column("n", BigInteger, primary_key=True, autoincrement=False),
    Column("hashes", LargeBinary, nullable=False),
    CheckConstraint("level > 0", name="ck_tile_level"),
    CheckConstraint(
        "octet_length(hashes) % 32 = 0 AND octet_length(hashes) BETWEEN 32 AND 8192", name="ck_tile_hashes"
    ),
)

fork = Table(  # both notes of a size that has two roots; while there is one, the log is frozen
    "fork",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, primary_key=True),
    Column("note", LargeBinary, nullable=False),
    Column("seen_at", MOMENT, nullable=False, server_default=text("clock_timestamp()")),
)
