"""A service reduced to the substrate: `python -m tests.support.probe_service NAME`, as that service.

As `catalog` it consumes EVENTS and tallies each message in a table that the test has made; as any service it relays
its outbox and answers `stall`, which holds the loop for ever.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import NoReturn

import asyncpg

from libs.common.consumer import FactReceived, Received, decode_fact
from libs.common.contracts.choreography import EVENTS
from libs.common.database import Tx
from libs.common.process import Runtime, run
from libs.common.rpc import Caller, Question

TABLES = """
CREATE TABLE catalog.tally (n bigint GENERATED ALWAYS AS IDENTITY, event_id text, aggregate_id text, version bigint);
CREATE TABLE catalog.poison (aggregate_id text, version bigint);
GRANT ALL ON catalog.tally, catalog.poison TO rr_catalog;
"""


class PoisonError(Exception):
    """What the handler says of a message that the test has poisoned."""


async def tally(tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
    """One row a message, in order. There is no constraint: applying twice shows."""
    rows = [(m.event_id, m.aggregate_id, m.value.envelope.aggregate_version) for m in messages]
    await tx.executemany("INSERT INTO tally (event_id, aggregate_id, version) VALUES ($1, $2, $3)", rows)
    bad = await tx.fetch(
        "SELECT aggregate_id FROM poison JOIN unnest($1::text[], $2::bigint[]) AS t(a, v)"
        " ON aggregate_id = a AND version = v",
        [row[1] for row in rows],
        [row[2] for row in rows],
    )
    if bad:
        raise PoisonError(f"cannot apply {bad[0]['aggregate_id']}")


async def prepare(admin: asyncpg.Connection[asyncpg.Record]) -> None:
    """Make the tables."""
    await admin.execute(TABLES)


class Stall(Question):
    """Hold the loop."""


async def _stall(_tx: Tx, _caller: Caller, _question: Stall) -> NoReturn:
    await asyncio.sleep(0)
    while True:
        time.sleep(1)  # noqa: ASYNC251 -- what the watchdog is for


async def wire(rt: Runtime) -> None:
    """What the service's name calls for."""
    await asyncio.sleep(0)
    if rt.service == "catalog":
        rt.consume(EVENTS, decode_fact, tally)
    rt.rpc.query("stall", Stall, _stall)


if __name__ == "__main__":
    run(sys.argv[1], wire)
