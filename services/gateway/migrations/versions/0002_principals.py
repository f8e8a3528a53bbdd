"""API tokens, uses of the sealed account, signed posts that were taken, and refusals that were told."""

from libs.common.migrations import run

revision = "0002"
down_revision = "0001"

_TABLES = """
CREATE TABLE api_token (
  token_id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  owner text NOT NULL,
  kind text NOT NULL,
  name text NOT NULL,
  digest bytea NOT NULL,
  tenants text[] NOT NULL,
  roles text[] NOT NULL,
  scopes text[] NOT NULL,
  environments text[] NOT NULL,
  groups text[] NOT NULL,
  clearance integer NOT NULL,
  made_with uuid,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz,
  revoked_by text,
  last_used_at timestamptz,
  CONSTRAINT ck_api_token_digest CHECK (length(digest) = 32),
  CONSTRAINT ck_api_token_expiry CHECK (expires_at > created_at));
CREATE INDEX ix_api_token_owner ON api_token (owner, token_id);
CREATE INDEX ix_api_token_tenants ON api_token USING gin (tenants);
CREATE INDEX ix_api_token_made_with ON api_token (made_with) WHERE made_with IS NOT NULL;
CREATE TABLE break_glass (
  activation_id uuid PRIMARY KEY,
  digest bytea NOT NULL,
  actor text NOT NULL,
  tenant_id text NOT NULL,
  rationale text NOT NULL,
  began_at timestamptz NOT NULL,
  until timestamptz NOT NULL);
CREATE INDEX ix_break_glass_digest ON break_glass (digest, until);
CREATE TABLE signed_post (
  sender text NOT NULL,
  digest bytea NOT NULL,
  seen_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (sender, digest));
CREATE INDEX ix_signed_post_seen ON signed_post (seen_at);
CREATE TABLE denial (
  denial_id uuid PRIMARY KEY,
  noted_at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE INDEX ix_denial_noted ON denial (noted_at);
"""


def upgrade() -> None:
    run(_TABLES)
