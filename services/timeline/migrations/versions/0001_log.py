"""The log: its state, leaves, payloads and chain heads.

Leaves and payloads belong to whoever migrates, and the service's role may only read and add: what is logged cannot be
changed with the service's own credentials. So does the schema, whose owner could drop the tables.
"""

from libs.common.migrations import run

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE log_state (
  id smallint PRIMARY KEY,
  origin text NOT NULL,
  term bigint NOT NULL,
  size bigint NOT NULL,
  frontier bytea NOT NULL,
  root bytea NOT NULL,
  stream text NOT NULL,
  epoch bigint NOT NULL,
  seq bigint NOT NULL,
  CONSTRAINT ck_log_state_one_row CHECK (id = 1));
CREATE TABLE leaf (
  index bigint PRIMARY KEY,
  kind text NOT NULL,
  leaf bytea NOT NULL,
  event_hash bytea NOT NULL,
  stream text,
  epoch bigint,
  seq bigint,
  source text,
  event_id text,
  CONSTRAINT ck_leaf_length CHECK (octet_length(leaf) <= 4096),
  CONSTRAINT ck_leaf_hash CHECK (octet_length(event_hash) = 32),
  CONSTRAINT uq_leaf_sequence UNIQUE (stream, epoch, seq));
CREATE UNIQUE INDEX uq_leaf_event ON leaf (event_id, source) WHERE kind = 'event';
CREATE TABLE payload (
  index bigint PRIMARY KEY,
  event_id text NOT NULL,
  payload bytea NOT NULL,
  salt bytea NOT NULL,
  type text NOT NULL,
  time timestamptz NOT NULL,
  actor text NOT NULL,
  tenant_id text NOT NULL,
  incident_id text,
  execution_id text,
  runbook_id text,
  dataschema text NOT NULL,
  traceparent text NOT NULL);
CREATE INDEX ix_payload_incident ON payload (incident_id, index) WHERE incident_id IS NOT NULL;
CREATE INDEX ix_payload_execution ON payload (execution_id, index) WHERE execution_id IS NOT NULL;
CREATE TABLE chain_head (
  kind text NOT NULL,
  id text NOT NULL,
  n bigint NOT NULL,
  event_hash bytea NOT NULL,
  PRIMARY KEY (kind, id));
"""

_INSERT_ONLY = """
SET LOCAL ROLE NONE;
ALTER TABLE leaf OWNER TO SESSION_USER;
ALTER TABLE payload OWNER TO SESSION_USER;
REVOKE ALL ON leaf, payload FROM rr_timeline;
GRANT SELECT, INSERT ON leaf, payload TO rr_timeline;
ALTER SCHEMA timeline OWNER TO SESSION_USER;
GRANT USAGE, CREATE ON SCHEMA timeline TO rr_timeline;
"""


def upgrade() -> None:
    run(_TABLES)
    run(_INSERT_ONLY)


def downgrade() -> None:
    run("DROP TABLE chain_head, payload, leaf, log_state;\n")
