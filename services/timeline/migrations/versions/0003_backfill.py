"""Entries of what was logged before there were any.

One statement, and so one moment: whatever is logged after the table was made has its entry from the trigger or from
its writer. Nobody waits for it; until it is committed, lists begin where the table did.
"""

from alembic import op

from libs.common.migrations import run

revision = "0003"
down_revision = "0003a"

_PARTITIONS = """
SELECT make_entry_partitions(date_trunc('month', entry_stored_at(leaf))::date, 3)
FROM leaf JOIN payload USING (index) ORDER BY index LIMIT 1
"""
_FILL = """
INSERT INTO entry
SELECT index, p.event_id, coalesce(entry_stored_at(leaf), p.time), p.time, p.type, p.actor, p.tenant_id, p.incident_id,
  p.execution_id, p.runbook_id, p.environment, p.clearance, p.dataschema, p.traceparent, entry_words(p.payload)
FROM payload AS p JOIN leaf USING (index)
WHERE index < coalesce((SELECT min(index) FROM entry), 9223372036854775807) ORDER BY index
"""
_ALL = """
SELECT set_config('rr.tenant', '*', true), set_config('rr.environments', '*', true),
  set_config('rr.clearance', '3', true)
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_ALL)  # an administrator who is no superuser is bound by the rules of `payload`, too
    op.execute(_PARTITIONS)
    op.execute(_FILL)
    run("ANALYZE entry")
    run("SET LOCAL ROLE rr_timeline")
