"""Every change of every row that the invariants look at, noted by triggers in the transaction that makes it.

A bystander that polls would miss states; a trigger sees all of them, in order, and forgets what is rolled back. The
product knows nothing of it: its roles may not even read the notes.
"""

from typing import Any, Final

import asyncpg
import orjson

from runbook_ranger.chaos.evidence import Change

SCHEMAS: Final = ("incident", "catalog", "executor", "approvals", "gateway")
WATCHED: Final = (
    *(f"{schema}.outbox" for schema in SCHEMAS),
    *(f"{schema}.inbox" for schema in SCHEMAS),
    "executor.execution", "executor.step_run", "executor.action_log", "executor.resource_lock", "executor.timer",
    "executor.kill_switch", "executor.approval", "executor.alert_state",
    "approvals.approval", "approvals.timer",
    "incident.incident", "incident.execution", "incident.alert",
    "timeline.log_state",
)  # fmt: skip
BULKY: Final = (
    "payload", "salt", "headers", "frame", "rendered", "result", "evidence", "frontier", "root", "prompt", "asked",
    "inputs", "alert", "labels", "annotations", "severity_history", "tags", "description", "tags_url",
)  # fmt: skip
"""Columns that no invariant looks at, and that would make the notes large."""

_INSTALL: Final = """
CREATE SCHEMA IF NOT EXISTS chaos;
CREATE TABLE IF NOT EXISTS chaos.change (
  number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL, place text NOT NULL,
  old jsonb, new jsonb);
CREATE OR REPLACE FUNCTION chaos.note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $note$
BEGIN
  INSERT INTO chaos.change (at, place, old, new) VALUES (
    clock_timestamp(), TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME,
    CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) - TG_ARGV[0]::text[] END,
    CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) - TG_ARGV[0]::text[] END);
  RETURN NULL;
END $note$;
"""


async def install(url: str) -> None:
    """Begin to watch; tables that this version does not have are left out."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(_INSTALL)
        for table in WATCHED:
            if await connection.fetchval("SELECT to_regclass($1)", table) is not None:
                await connection.execute(
                    f"CREATE OR REPLACE TRIGGER chaos_note AFTER INSERT OR UPDATE OR DELETE ON {table} FOR EACH ROW"
                    f" EXECUTE FUNCTION chaos.note('{{{','.join(BULKY)}}}')"
                )
    finally:
        await connection.close()


async def read(connection: "asyncpg.Connection[asyncpg.Record]") -> list[Change]:
    """All that was noted, in the order of the notes."""
    rows = await connection.fetch(
        "SELECT number, extract(epoch FROM at)::float8 AS at, place, old, new FROM chaos.change ORDER BY number"
    )
    return [Change(row["number"], row["at"], row["place"], _row(row["old"]), _row(row["new"])) for row in rows]


def _row(text: str | None) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(text) if text else {}
    return found
