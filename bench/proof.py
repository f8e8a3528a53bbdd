"""What must hold when a bench has done its work: everything came to its end, once, and the log verifies.

Read from the database as administrator, so that millions of leaves are no matter; every hash is computed here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import asyncpg

from bench.driver import eventually
from bench.errors import WorkWrong
from bench.product import Product
from libs.common.contracts.choreography import SERVICES
from libs.tlog.chain import Head
from libs.tlog.errors import TlogError
from libs.tlog.verify import Report as LogReport
from libs.tlog.verify import StoredEntry, StoredState, Verifier

PAGE: Final = 5000
PUBLISHERS: Final = tuple(service for service in SERVICES if service != "timeline")
_LEAVES: Final = """
SELECT index, leaf, event_hash, payload, salt FROM timeline.leaf LEFT JOIN timeline.payload USING (index) ORDER BY index
"""
_STEPS: Final = """
SELECT count(*) FILTER (WHERE a.state = 'succeeded') AS succeeded,
  count(*) FILTER (WHERE a.state <> 'succeeded') AS otherwise,
  count(*) FILTER (WHERE a.attempt > 1) AS repeated,
  count(*) FILTER (WHERE a.state = 'succeeded' AND (a.fence IS NULL OR a.lease_until IS NULL)) AS unfenced,
  count(DISTINCT a.fence) AS fences
FROM executor.action_log a JOIN executor.execution e USING (execution_id) WHERE e.runbook_id = ANY($1)
"""
_EXECUTIONS: Final = """
SELECT count(*) FILTER (WHERE state = 'completed') AS completed,
  count(*) FILTER (WHERE state <> 'completed') AS otherwise
FROM executor.execution WHERE runbook_id = ANY($1)
"""


async def settled(product: Product, *, seconds: float = 120) -> None:
    """Wait until every fact is published and chained.

    Raises:
        NotInTime: something is left.
        WorkWrong: there are dead letters, or a process had to be started again.
    """
    connection = await asyncpg.connect(product.urls.postgres)
    try:

        async def quiet() -> bool:
            left = [
                await connection.fetchval(f"SELECT count(*) FROM {name}.outbox WHERE published_at IS NULL")
                for name in PUBLISHERS
            ]
            return not any(left) and await _chained(connection)

        await eventually("every fact is published and chained", quiet, seconds=seconds, every=0.2)
        for name in PUBLISHERS:
            dead = await connection.fetchval(f"SELECT count(*) FROM {name}.dead_letter")
            expect(f"dead letters of {name}", dead, 0)
    finally:
        await connection.close()
    expect("restarted processes", product.restarts(), {})


async def _chained(connection: asyncpg.Connection[asyncpg.Record]) -> bool:
    """Whether the log's position is the last sequence that any outbox knows of."""
    last = [await connection.fetchval(f"SELECT coalesce(max(stream_seq), 0) FROM {name}.outbox") for name in PUBLISHERS]
    position = await connection.fetchval("SELECT seq FROM timeline.log_state")
    return bool(position is not None and position >= max(last))


async def steps_done(
    product: Product, runbooks: list[str], executions: int, steps: int, *, each: bool = True
) -> dict[str, Any]:
    """Every execution completed and each of its steps succeeded: at the first attempt, fenced, under a lease.

    `steps` are those of each execution, or of all of them together.

    Raises:
        WorkWrong: something is missing, or there is more than there should be.
    """
    connection = await asyncpg.connect(product.urls.postgres)
    try:
        ended = await connection.fetchrow(_EXECUTIONS, runbooks)
        done = await connection.fetchrow(_STEPS, runbooks)
        locks = await connection.fetchval("SELECT count(*) FROM executor.resource_lock")
    finally:
        await connection.close()
    if ended is None or done is None:
        raise WorkWrong("the database has no answer")
    expect("executions", dict(ended), {"completed": executions, "otherwise": 0})
    wanted = executions * steps if each else steps
    found = dict(done)
    expect("steps", found, {"succeeded": wanted, "otherwise": 0, "repeated": 0, "unfenced": 0, "fences": wanted})
    expect("locks that nobody let go", locks, 0)
    return {"executions": executions, "steps": wanted}


async def log_verifies(product: Product) -> dict[str, Any]:
    """The whole log, computed anew; how many leaves of which kind.

    Raises:
        WorkWrong: the first thing that does not hold, or a leaf that is no event.
    """
    connection = await asyncpg.connect(product.urls.postgres)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            report = await _verify(connection)
    except TlogError as broken:
        raise WorkWrong(f"the log does not hold: {broken}") from broken
    finally:
        await connection.close()
    expect("kinds of leaves", sorted(set(report.kinds) - {"event", "control"}), [])
    return {"leaves": report.size, "root": report.root.hex()[:16]}


async def _verify(connection: asyncpg.Connection[asyncpg.Record]) -> LogReport:
    row = await connection.fetchrow("SELECT origin, size, root, stream, epoch, seq FROM timeline.log_state")
    if row is None:
        raise WorkWrong("there is no log")
    verifier = Verifier(StoredState(*row))
    async for leaf in connection.cursor(_LEAVES, prefetch=PAGE):
        verifier.add(StoredEntry(*leaf))
    heads = await connection.fetch("SELECT kind, id, n, event_hash FROM timeline.chain_head")
    return verifier.finish({(head["kind"], head["id"]): Head(head["n"], head["event_hash"]) for head in heads})


def expect(what: str, found: object, wanted: object) -> None:
    """Raise WorkWrong unless what was found is what was wanted."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        found, wanted = dict(found), dict(wanted)
    if found != wanted:
        raise WorkWrong(f"{what}: {found!r}, where {wanted!r} is wanted")
