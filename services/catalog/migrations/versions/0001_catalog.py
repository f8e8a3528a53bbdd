"""Runbooks, their versions and matches.

Versions belong to whoever migrates, and the service's role may only read and add: what was published cannot be changed
with the service's own credentials. So does the schema, whose owner could drop the table and make another in its place.
"""

from libs.common.migrations import run, substrate_v1

revision = "0001"
down_revision = None

_TABLES = """
CREATE TABLE runbook (
  tenant_id text NOT NULL,
  runbook_id text NOT NULL,
  version integer NOT NULL,
  triggered boolean NOT NULL,
  PRIMARY KEY (tenant_id, runbook_id));
CREATE TABLE runbook_version (
  tenant_id text NOT NULL,
  runbook_id text NOT NULL,
  version integer NOT NULL,
  spec_hash text NOT NULL,
  name text NOT NULL,
  risk text NOT NULL,
  mode text NOT NULL,
  tags jsonb NOT NULL,
  published_by text NOT NULL,
  published_at timestamptz NOT NULL,
  spec jsonb NOT NULL,
  source text NOT NULL,
  PRIMARY KEY (tenant_id, runbook_id, version),
  CONSTRAINT ck_runbook_version_counts CHECK (version > 0));
CREATE TABLE match (
  match_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  incident_id text NOT NULL,
  runbook_id text NOT NULL,
  version integer NOT NULL,
  spec_hash text NOT NULL,
  conditions integer NOT NULL,
  exact integer NOT NULL,
  matched_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  CONSTRAINT uq_match_incident UNIQUE (tenant_id, incident_id));
"""

_INSERT_ONLY = """
SET LOCAL ROLE NONE;
ALTER TABLE runbook_version OWNER TO SESSION_USER;
REVOKE ALL ON runbook_version FROM rr_catalog;
ALTER SCHEMA catalog OWNER TO SESSION_USER;
GRANT USAGE, CREATE ON SCHEMA catalog TO rr_catalog;
GRANT SELECT, INSERT ON runbook_version TO rr_catalog;
"""


def upgrade() -> None:
    substrate_v1()
    run(_TABLES)
    run(_INSERT_ONLY)
