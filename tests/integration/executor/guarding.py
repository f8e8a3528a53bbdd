"""Two executors and their workers over one stack, and runbooks with guards: each guard is raced by both."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from libs.common.clock import utc_now
from libs.common.database import Database
from libs.common.ids import new_id
from libs.runbook.spec import Runbook
from services.executor.claims import Asked
from services.executor.guards.questions import GetLocks
from services.executor.guards.queue import Queue
from services.executor.guards.views import get_locks
from services.executor.hints import Hints, connect
from services.executor.model import Attempt
from tests.integration.executor.bench import Bench, runbook, step
from tests.support.servers import StackEnv

ONE: dict[str, Any] = {"concurrency": {"key": "storage", "policy": "queue"}}


@asynccontextmanager
async def another(stack_env: StackEnv, bench: Bench) -> AsyncIterator[Bench]:
    """The parts of a second process: a pool and a connection of their own, on the same servers."""
    url = stack_env.service("executor")["RR_POSTGRES_URL"]
    database = Database(url, schema="executor", instance="executor-rival", pool_size=16)
    await database.open()
    redis = connect(stack_env["RR_REDIS_URL"], name="executor-rival")
    yield Bench(database, Hints(redis), redis, specs=bench.specs, versions=bench.versions)
    await redis.aclose()
    await database.close()


def queue(bench: Bench) -> Queue:
    """The queue of one executor. Nothing runs by itself: `move_on` is one round."""
    return Queue(bench.database, bench.outbox, bench.hints, bench.settings, clock=utc_now)


async def settled(*benches: Bench) -> None:
    """Let the queues of all executors move on at once until nothing moves."""
    while sum(await asyncio.gather(*(queue(bench).move_on() for bench in benches))):
        pass


def limited(policy: str = "queue", *, limit: int = 1, key: str = "storage", runbook_id: str = "mend") -> Runbook:
    """A runbook of which at most `limit` executions live at once."""
    return runbook(step(), id=runbook_id, concurrency={"key": key, "policy": policy, "limit": limit})


async def begun(bench: Bench, spec: Runbook, **more: Any) -> str:
    """An execution of an incident of its own, by its id."""
    return await bench.execution(spec, incident=new_id(), **more)


async def states_of(bench: Bench, executions: list[str]) -> list[str]:
    """The states of executions."""
    rows = await bench.database.pool.fetch("SELECT execution_id, state FROM execution")
    found = {str(row["execution_id"]): row["state"] for row in rows}
    return [found[execution] for execution in executions]


async def seen(bench: Bench, **which: Any) -> dict[str, Any]:
    """Who holds and who waits, as people read it."""
    async with bench.database.transaction("locks") as tx:
        return dict(await get_locks(tx, bench.caller(), GetLocks(**which)))


async def claimed(*asked: tuple[Bench, str]) -> list[Attempt | None]:
    """Claim an execution's step with each of these workers, all at the same moment; None where it was turned away."""
    attempts = [(bench, (await bench.ready(execution))[0]) for bench, execution in asked]
    answers = await asyncio.gather(
        *(bench.claims(f"worker-{number}").claim([Asked(a)]) for number, (bench, a) in enumerate(attempts))
    )
    for (bench, _), (_, hints) in zip(attempts, answers, strict=True):
        await bench.hints.send(hints)
    return [next(iter(running.values()), None) for running, _ in answers]


async def finish(bench: Bench, execution: str, *, well: bool = True) -> None:
    """Carry an execution's one change out to its end."""
    attempt = await bench.running(execution)
    if well:
        await bench.settle(attempt)
        [incident] = await bench.database.pool.fetchrow(
            "SELECT incident_id FROM execution WHERE execution_id = $1", uuid.UUID(execution)
        )
        await bench.ends(incident)
    else:
        await bench.settle(attempt, "fail", error_code="status_500")


async def move_window(bench: Bench, seconds: float) -> None:
    """Let so much time have passed for all that was done so far."""
    for table, columns in (
        ("action_log", ("started_at", "finished_at", "held_until", "hinted_at")),
        ("execution", ("ended_at",)),
        ("guarded_change", ("changed_at",)),
        ("admission", ("asked_at",)),
    ):
        changed = ", ".join(f"{column} = {column} - make_interval(secs => $1)" for column in columns)
        await bench.database.pool.execute(f"UPDATE {table} SET {changed}", seconds)


async def moment(bench: Bench) -> datetime:
    """Now, by the database's clock."""
    found: datetime = await bench.database.pool.fetchval("SELECT clock_timestamp()")
    return found
