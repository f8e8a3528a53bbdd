"""Which artefacts the log names, so that a hash can be asked about, and what retention has deleted of them.

Everything here widens. As leaves and payloads, its rows are not the service's to change: it may add them, and say when
an object was deleted. What the log named before is read out of its leaves.
"""

from libs.common.migrations import guard_rows_v2, run

revision = "0005"
down_revision = "0003"

_TABLES = """
CREATE TABLE artefact (
  sha256 bytea NOT NULL,
  index bigint NOT NULL,
  kind text NOT NULL,
  length bigint NOT NULL,
  type text NOT NULL,
  time timestamptz NOT NULL,
  tenant_id text NOT NULL,
  incident_id text,
  execution_id text,
  environment text NOT NULL DEFAULT '',
  clearance smallint NOT NULL DEFAULT 0,
  deleted_at timestamptz,
  PRIMARY KEY (sha256, index, kind),
  CONSTRAINT ck_artefact_hash CHECK (octet_length(sha256) = 32));
CREATE INDEX ix_artefact_incident ON artefact (incident_id, index) WHERE incident_id IS NOT NULL;
CREATE INDEX ix_artefact_execution ON artefact (execution_id, index) WHERE execution_id IS NOT NULL;
CREATE INDEX ix_artefact_tenant ON artefact (tenant_id, index);
"""
_FROM_BEFORE = """
INSERT INTO artefact (sha256, index, kind, length, type, time, tenant_id, incident_id, execution_id, environment,
  clearance)
SELECT decode(ref ->> 'sha256', 'hex'), index, ref ->> 'k', (ref ->> 'len')::bigint, type, time, tenant_id, incident_id,
  execution_id, environment, clearance
FROM leaf JOIN payload USING (index), jsonb_array_elements(convert_from(leaf.leaf, 'UTF8')::jsonb -> 'refs') AS ref
WHERE leaf.kind = 'event' AND position('"refs":[]'::bytea IN leaf.leaf) = 0
"""
_ALL = """
SELECT set_config('rr.tenant', '*', true), set_config('rr.environments', '*', true),
  set_config('rr.clearance', '3', true)
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_ALL)  # an administrator who is no superuser is bound by the rules of `payload`, too
    run(_TABLES)
    run(_FROM_BEFORE)
    run("GRANT SELECT, INSERT, UPDATE (deleted_at) ON artefact TO rr_timeline")
    guard_rows_v2(marked=("artefact",))
    run("SET LOCAL ROLE rr_timeline")
