"""What is searched and shown of each event, in a table of its own, by months of stored time.

Expands only. The writer of this version writes both tables; one of the version before, which still runs while the
others are exchanged, writes `payload` alone, and a trigger makes the entry from it. What was logged before is filled in
by the next revision, in a transaction that holds up nobody. A later one takes the trigger and the columns that
`payload` has twice away.

Entries belong to whoever migrates, as leaves do: the service's role adds them and cannot change them. It cannot make
partitions either, except through the one function that makes those of the next months.
"""

from alembic import op

from libs.common.migrations import guard_rows_v2, run, seen_view_v2

revision = "0003a"
down_revision = "0002"

_TABLES = """
CREATE TABLE entry (
  index bigint NOT NULL,
  event_id text NOT NULL,
  stored_at timestamptz NOT NULL,
  time timestamptz NOT NULL,
  type text COLLATE "C" NOT NULL,
  actor text NOT NULL,
  tenant_id text NOT NULL,
  incident_id text,
  execution_id text,
  runbook_id text,
  environment text NOT NULL,
  clearance smallint NOT NULL,
  dataschema text NOT NULL,
  traceparent text NOT NULL,
  words tsvector NOT NULL) PARTITION BY RANGE (stored_at);
CREATE TABLE entry_default PARTITION OF entry DEFAULT;
CREATE INDEX ix_entry_tenant ON entry (tenant_id, index);
CREATE INDEX ix_entry_incident ON entry (incident_id, index) WHERE incident_id IS NOT NULL;
CREATE INDEX ix_entry_execution ON entry (execution_id, index) WHERE execution_id IS NOT NULL;
CREATE INDEX ix_entry_runbook ON entry (runbook_id, index) WHERE runbook_id IS NOT NULL;
CREATE INDEX ix_entry_actor ON entry (tenant_id, actor, index);
CREATE INDEX ix_entry_type ON entry (tenant_id, type, index);
CREATE INDEX ix_entry_stored ON entry USING brin (stored_at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX ix_entry_words ON entry USING gin (words);
CREATE VIEW entry_place AS SELECT index, incident_id, execution_id, runbook_id FROM entry;
"""

_PARTITIONS = """
CREATE FUNCTION make_entry_partitions(first date, ahead integer) RETURNS integer LANGUAGE plpgsql SECURITY DEFINER
SET search_path = timeline, pg_temp SET lock_timeout = '2s' SET timezone = 'UTC' AS $$
DECLARE
  month date;
  name text;
  made integer := 0;
BEGIN
  -- whatever it is asked for, this makes no more than months of some years: everything else has the default partition
  first := greatest(first, (now() - interval '20 years')::date);
  ahead := least(ahead, 12);
  PERFORM pg_advisory_xact_lock(hashtext('timeline_partitions'));
  FOR month IN SELECT generate_series(date_trunc('month', first), date_trunc('month', now()) + ahead * interval
    '1 month', '1 month') LOOP
    name := 'entry_' || to_char(month, 'YYYY_MM');
    CONTINUE WHEN to_regclass('timeline.' || name) IS NOT NULL;
    LOCK TABLE entry_default IN ACCESS EXCLUSIVE MODE;
    EXECUTE format('CREATE TABLE %I (LIKE entry)', name);
    EXECUTE format('WITH moved AS (DELETE FROM entry_default WHERE stored_at >= %L AND stored_at < %L RETURNING *)'
      ' INSERT INTO %I SELECT * FROM moved', month, month + interval '1 month', name);
    EXECUTE format('ALTER TABLE entry ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', name, month,
      month + interval '1 month');
    made := made + 1;
  END LOOP;
  RETURN made;
END $$
"""

_WORDS = r"""
CREATE FUNCTION entry_words(payload bytea) RETURNS tsvector LANGUAGE plpgsql STABLE AS $$
DECLARE
  texts text;
BEGIN
  texts := jsonb_path_query_array(replace(convert_from(payload, 'UTF8'), '\u0000', ' ')::jsonb,
    'strict $.** ? (@.type() == "string")')::text;
  texts := regexp_replace(texts, '"[0-9a-f-]{36}[0-9a-f]*"', '', 'g');  -- ids and hashes
  texts := lower(left(regexp_replace(texts, '\\(u00[0-9a-f]{2}|.)', ' ', 'g'), 4096));
  texts := regexp_replace(texts, '[\x01-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+', ' ', 'g');
  RETURN array_to_tsvector(ARRAY(
    SELECT DISTINCT left(word, 64) AS word FROM string_to_table(texts, ' ') AS word WHERE word <> ''
    ORDER BY word LIMIT 256));
EXCEPTION WHEN others THEN
  RETURN '';
END $$
"""

_STORED = """
CREATE FUNCTION entry_stored_at(leaf bytea) RETURNS timestamptz LANGUAGE sql STABLE AS $$
SELECT (left(convert_from(leaf, 'UTF8')::jsonb #>> '{src,ts}', 26) || 'Z')::timestamptz
$$
"""

_FROM_PAYLOAD = """
CREATE FUNCTION entry_from_payload() RETURNS trigger LANGUAGE plpgsql SET search_path = timeline, pg_temp AS $$
BEGIN
  INSERT INTO entry VALUES (NEW.index, NEW.event_id,
    coalesce((SELECT entry_stored_at(leaf) FROM leaf WHERE index = NEW.index), NEW.time),
    NEW.time, NEW.type, NEW.actor, NEW.tenant_id, NEW.incident_id, NEW.execution_id, NEW.runbook_id, NEW.environment,
    NEW.clearance, NEW.dataschema, NEW.traceparent, entry_words(NEW.payload));
  RETURN NULL;
END $$
"""

_TRIGGER = """
CREATE TRIGGER entry_from_payload AFTER INSERT ON payload FOR EACH ROW
WHEN (current_setting('rr.entries', true) IS DISTINCT FROM 'own') EXECUTE FUNCTION entry_from_payload();
REVOKE ALL ON FUNCTION make_entry_partitions(date, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_entry_partitions(date, integer) TO rr_timeline;
GRANT SELECT, INSERT ON entry TO rr_timeline;
GRANT SELECT ON entry_seen, entry_place TO rr_timeline;
SELECT make_entry_partitions(current_date, 3);
"""


def upgrade() -> None:
    run("SET LOCAL ROLE NONE")
    run(_TABLES)
    guard_rows_v2(marked=("entry",))
    seen_view_v2("entry_seen", "entry")
    for function in (_PARTITIONS, _WORDS, _STORED, _FROM_PAYLOAD):
        op.execute(function)
    run(_TRIGGER)
    run("SET LOCAL ROLE rr_timeline")
