"""What people say of incidents, and incidents without an alert.

Everything here widens: what ran before reads and writes as it did. A person's incidents have no fingerprint, and there
may be any number of them open; an execution's fact may come before the incident that the execution opens.
"""

from libs.common.migrations import run

revision = "0002"
down_revision = "0001"

_WIDER = """
ALTER TABLE incident ADD COLUMN description text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX uq_incident_problem ON incident (tenant_id, fingerprint)
  WHERE status <> 'closed' AND fingerprint <> '';
DROP INDEX uq_incident_open;
CREATE INDEX ix_incident_severity ON incident (tenant_id, severity, incident_id);
ALTER TABLE execution DROP CONSTRAINT fk_execution_incident;
CREATE TABLE incident_runbook (
  tenant_id text NOT NULL,
  incident_id uuid NOT NULL,
  runbook_id text NOT NULL,
  linked_by text NOT NULL,
  linked_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, incident_id, runbook_id),
  CONSTRAINT fk_incident_runbook FOREIGN KEY (tenant_id, incident_id) REFERENCES incident (tenant_id, incident_id));
"""


def upgrade() -> None:
    run(_WIDER)
