"""Verifies the log where it is stored, in one snapshot, while the writer goes on.

`python -m services.timeline.audit` reads `RR_POSTGRES_URL`, prints what it found, and ends with 1 when the log is
broken.
"""

import asyncio
import sys
from typing import Final

import asyncpg

from libs.common.database import Database
from libs.common.settings import ProcessSettings
from libs.tlog.chain import ChainKey, Head
from libs.tlog.errors import BrokenLog
from libs.tlog.verify import Report, StoredEntry, StoredState, Verifier
from services.timeline import storage
from services.timeline.errors import Frozen
from services.timeline.tables import SCHEMA

PAGE: Final = 1000
_ENTRIES: Final = """
SELECT index, leaf, event_hash, payload, salt FROM leaf LEFT JOIN payload USING (index) ORDER BY index
"""
_HEADS: Final = "SELECT kind, id, n, event_hash FROM chain_head"
_STRAYS: Final = """
SELECT p.index FROM payload AS p LEFT JOIN leaf AS l ON l.index = p.index AND l.kind = 'event'
WHERE l.index IS NULL ORDER BY 1 LIMIT 1
"""
_SHOWN_OTHERWISE: Final = """
SELECT coalesce(told.index, e.index) AS index FROM (
  SELECT index, body #>> '{ev,id}' AS id, body #>> '{ev,type}' AS type, body #>> '{ev,actor}' AS actor,
    body #>> '{ev,tenant}' AS tenant, (body #>> '{ev,time}')::timestamptz AS time,
    (left(body #>> '{src,ts}', 26) || 'Z')::timestamptz AS stored_at,
    jsonb_path_query_first(body, '$.chains[*] ? (@.k == "incident").id') #>> '{}' AS incident,
    jsonb_path_query_first(body, '$.chains[*] ? (@.k == "execution").id') #>> '{}' AS execution,
    jsonb_path_query_first(body, '$.chains[*] ? (@.k == "runbook").id') #>> '{}' AS runbook
  FROM (SELECT index, convert_from(leaf, 'UTF8')::jsonb AS body FROM leaf WHERE kind = 'event') AS leaves) AS told
FULL JOIN (SELECT *, count(*) OVER (PARTITION BY index) AS times FROM entry) AS e ON e.index = told.index
WHERE (1, told.id, told.type, told.actor, told.tenant, told.time, told.stored_at, told.incident, told.execution,
  told.runbook) IS DISTINCT FROM (e.times, e.event_id, e.type, e.actor, e.tenant_id, e.time, e.stored_at, e.incident_id,
  e.execution_id, e.runbook_id)
ORDER BY 1 LIMIT 1
"""


async def audit(database: Database) -> Report | None:
    """Verify the whole log of a snapshot, and that lists show it; None where no writer has ever started.

    Raises:
        BrokenLog: the first thing that does not hold.
    """
    async with database.pool.acquire() as tx, tx.transaction(isolation="repeatable_read", readonly=True):
        try:
            state = await storage.read_state(tx)
        except Frozen as contradiction:
            raise BrokenLog(contradiction.reason) from None
        if state is None:
            return None
        stored = StoredState(state.origin, state.tree.size, state.tree.root(), state.stream, state.epoch, state.seq)
        verifier = Verifier(stored)
        async for row in tx.cursor(_ENTRIES, prefetch=PAGE):
            verifier.add(StoredEntry(*row))
        report = verifier.finish({_key(row): Head(row["n"], row["event_hash"]) for row in await tx.fetch(_HEADS)})
        stray = await tx.fetchval(_STRAYS)
        if stray is not None:
            raise BrokenLog("a payload is stored for it, but no event stands there", index=stray)
        otherwise = await tx.fetchval(_SHOWN_OTHERWISE)
        if otherwise is not None:
            raise BrokenLog("lists show another event there than the leaf tells of", index=otherwise)
        return report


def _key(row: asyncpg.Record) -> ChainKey:
    return row["kind"], row["id"]


async def _main() -> str:
    settings = ProcessSettings.read()
    database = Database(settings.postgres_url.get_secret_value(), schema=SCHEMA, instance="timeline audit", pool_size=1)
    await database.open()
    try:
        report = await audit(database)
    finally:
        await database.close()
    if report is None:
        return "there is no log yet"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(report.kinds.items()))
    return (
        f"the log verifies: {report.size} leaves ({kinds}), {len(report.redacted)} redacted, root {report.root.hex()}"
    )


def main() -> None:
    """Print the outcome; end with 1 when the log is broken."""
    try:
        sys.stdout.write(f"{asyncio.run(_main())}\n")
    except BrokenLog as finding:
        sys.exit(f"the log is broken: {finding}")


if __name__ == "__main__":
    main()
