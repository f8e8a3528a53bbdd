"""Redaction: what an event said is deleted with the statement that appends the leaf which says so.

Only widens. The service still may delete no payload: it gives the request its leaf's index, whichever version's writer
does, and the deletion follows from that in the same statement. So at no moment is there the one without the other. The
objects that are to go are written down there as well, since the store knows no transactions.
"""

from alembic import op

from libs.common.migrations import guard_rows_v2, run

revision = "0009"
down_revision = "0008"

_TABLES = """
CREATE UNIQUE INDEX uq_control_redaction ON control ((body ->> 'of')) WHERE body ->> 'type' = 'redaction';
CREATE TABLE shredding (
  tenant_id text NOT NULL,
  kind text NOT NULL,
  sha256 bytea NOT NULL,
  asked_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (tenant_id, kind, sha256));
GRANT SELECT, INSERT, DELETE ON shredding TO rr_timeline;
"""
_REDACT = """
CREATE FUNCTION redact() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timeline, pg_temp AS $$
DECLARE
  redacted bigint := (NEW.body ->> 'of')::bigint;
  whose text;
  incident text;
BEGIN
  DELETE FROM payload WHERE index = redacted RETURNING tenant_id, incident_id INTO whose, incident;
  UPDATE entry SET words = '' WHERE tenant_id = whose AND index = redacted;
  -- what no other event names that is not redacted itself
  INSERT INTO shredding (tenant_id, kind, sha256)
  SELECT tenant_id, kind, sha256 FROM artefact AS a WHERE index = redacted AND NOT EXISTS (
    SELECT FROM artefact AS other
    WHERE (other.sha256, other.kind, other.tenant_id) = (a.sha256, a.kind, a.tenant_id) AND NOT EXISTS (
      SELECT FROM control
      WHERE body ->> 'type' = 'redaction' AND body ->> 'of' = other.index::text AND control.index IS NOT NULL))
  ON CONFLICT (tenant_id, kind, sha256) DO UPDATE SET asked_at = excluded.asked_at;
  -- bundles that hold it
  INSERT INTO shredding (tenant_id, kind, sha256)
  SELECT DISTINCT whose, 'bundle', decode(body ->> 'sha256', 'hex') FROM control
  WHERE body ->> 'type' = 'bundle_sealed' AND body ->> 'incident' = incident AND (body ->> 'size')::bigint > redacted
    AND whose IS NOT NULL
  ON CONFLICT (tenant_id, kind, sha256) DO UPDATE SET asked_at = excluded.asked_at;
  UPDATE artefact AS a SET deleted_at = clock_timestamp() FROM shredding AS s
  WHERE (a.sha256, a.kind, a.tenant_id) = (s.sha256, s.kind, s.tenant_id) AND a.deleted_at IS NULL
    AND s.asked_at <= clock_timestamp();
  RETURN NULL;
END $$
"""
_TRIGGER = """
CREATE TRIGGER redact AFTER UPDATE OF index ON control FOR EACH ROW
WHEN (NEW.body ->> 'type' = 'redaction' AND OLD.index IS NULL AND NEW.index IS NOT NULL) EXECUTE FUNCTION redact();
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_TABLES)
    guard_rows_v2("shredding")
    op.execute(_REDACT)
    run(_TRIGGER)
    run("SET LOCAL ROLE rr_timeline")
