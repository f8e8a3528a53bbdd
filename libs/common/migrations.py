"""Shared tables as migrations make them. A version here never changes; a change is a new function and a new revision.

A service's first revision calls `substrate_v1` and creates its own tables after it; the drift test compares the result
with `libs.common.tables`.
"""

from typing import Final

from alembic import op

_SUBSTRATE_V1: Final = """
CREATE TABLE outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  event_id uuid NOT NULL UNIQUE,
  aggregate_type text NOT NULL,
  aggregate_id text NOT NULL,
  aggregate_version bigint NOT NULL,
  subject text NOT NULL,
  payload bytea NOT NULL,
  salt bytea NOT NULL,
  headers jsonb NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  published_at timestamptz,
  epoch bigint,
  stream_seq bigint,
  attempts integer NOT NULL DEFAULT 0,
  last_error text,
  CONSTRAINT uq_outbox_aggregate UNIQUE (aggregate_id, aggregate_version));
CREATE INDEX ix_outbox_unpublished ON outbox (id) WHERE published_at IS NULL;
CREATE INDEX ix_outbox_published ON outbox (epoch, stream_seq) WHERE published_at IS NOT NULL;
CREATE TABLE inbox (
  consumer text NOT NULL,
  event_id uuid NOT NULL,
  epoch bigint NOT NULL,
  stream_seq bigint NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer, event_id));
CREATE INDEX ix_inbox_position ON inbox (epoch, stream_seq);
CREATE TABLE inbox_failure (
  consumer text NOT NULL,
  event_id uuid NOT NULL,
  count integer NOT NULL,
  last_error text NOT NULL,
  state text NOT NULL DEFAULT 'retrying',
  updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (consumer, event_id));
CREATE TABLE dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  consumer text NOT NULL,
  event_id uuid NOT NULL,
  tenant_id text NOT NULL,
  subject text NOT NULL,
  aggregate_id text NOT NULL DEFAULT '',
  headers jsonb NOT NULL,
  payload bytea NOT NULL,
  stream text NOT NULL,
  epoch bigint NOT NULL,
  stream_seq bigint NOT NULL,
  reason text NOT NULL,
  state text NOT NULL DEFAULT 'open',
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at timestamptz,
  resolved_by text,
  resolution text,
  CONSTRAINT uq_dead_letter_event UNIQUE (consumer, event_id));
CREATE INDEX ix_dead_letter_open ON dead_letter (consumer, aggregate_id) WHERE state = 'open';
"""
_COMMANDS_V1: Final = """
CREATE TABLE command (
  request_key text NOT NULL,
  tenant_id text NOT NULL,
  verb text NOT NULL,
  body_sha256 bytea NOT NULL,
  response bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (request_key, tenant_id));
CREATE INDEX ix_command_created ON command (created_at);
"""


def substrate_v1() -> None:
    """Outbox, inbox, failures, dead letters and answered commands, in the schema of the search path."""
    run(_SUBSTRATE_V1)
    run(_COMMANDS_V1)


def commands_v1() -> None:
    """Answered commands alone, for a service that publishes and applies no facts."""
    run(_COMMANDS_V1)


_DECISIONS_V2: Final = """
CREATE TABLE decision (
  decision_id uuid PRIMARY KEY,
  decided_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  tenant_id text NOT NULL,
  actor text NOT NULL,
  action text NOT NULL,
  resource_kind text NOT NULL,
  resource_id text NOT NULL,
  allow boolean NOT NULL,
  reasons jsonb NOT NULL,
  engine text NOT NULL,
  revision text NOT NULL,
  request_key text NOT NULL);
CREATE INDEX ix_decision_page ON decision (tenant_id, decided_at);
CREATE INDEX ix_decision_denied ON decision (tenant_id, actor, decided_at) WHERE NOT allow;
"""


def decisions_v2() -> None:
    """The log of what policy decided about people's commands."""
    run(_DECISIONS_V2)


_ARTEFACTS_V1: Final = """
CREATE TABLE artefact_waiting (
  tenant_id text NOT NULL,
  kind text NOT NULL,
  sha256 bytea NOT NULL,
  data bytea NOT NULL,
  added_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, kind, sha256));
CREATE INDEX ix_artefact_waiting ON artefact_waiting (added_at);
"""


def artefacts_v1() -> None:
    """What waits to be taken to the object store."""
    run(_ARTEFACTS_V1)
    guard_rows_v2("artefact_waiting")


_TENANT: Final = "(SELECT current_setting('rr.tenant', true))"
_ENVIRONMENTS: Final = "(SELECT current_setting('rr.environments', true))"
_CLEARANCE: Final = "(SELECT nullif(current_setting('rr.clearance', true), '')::smallint)"
_OF_TENANT: Final = f"({_TENANT} = '*' OR tenant_id = {_TENANT})"
_OF_MARKING: Final = (
    f"(environment = '' OR {_ENVIRONMENTS} = '*' OR environment = ANY (string_to_array({_ENVIRONMENTS}, ',')))"
    f" AND clearance <= {_CLEARANCE}"
)


def guard_rows_v2(*tables: str, marked: tuple[str, ...] = ()) -> None:
    """Row-level security by tenant; on `marked` tables, which have the columns, by environment and clearance too.

    The service's role owns its tables, so that it takes FORCE for the rules to bind it. Settings are read once a
    statement, not once a row: that is what the subselects are for.
    """
    rules = {**dict.fromkeys(tables, _OF_TENANT), **dict.fromkeys(marked, f"{_OF_TENANT} AND {_OF_MARKING}")}
    for table, rule in rules.items():
        run(
            f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\nALTER TABLE {table} FORCE ROW LEVEL SECURITY;\n"
            f"CREATE POLICY seen ON {table} USING ({rule}) WITH CHECK ({_OF_TENANT});\n"
        )


def seen_view_v2(view: str, table: str) -> None:
    """A view of what `guard_rows_v2` lets through of a marked table that the service's role does not own.

    Behind row-level security Postgres takes no condition to an index whose operator might tell of a row that it then
    leaves out, text search among them. A view has no such scruple. It reads with its owner's rights, so the table's
    rules must not be forced on that owner; whoever asks is narrowed by the view's own condition, which is the same.
    """
    run(
        f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY;\n"
        f"CREATE VIEW {view} AS SELECT * FROM {table} WHERE {_OF_TENANT} AND {_OF_MARKING};\n"
    )


def run(statements: str) -> None:
    """Run DDL statements one by one (asyncpg prepares each)."""
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)
