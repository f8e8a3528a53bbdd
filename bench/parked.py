"""Thousands of executions that wait for a person: how fast they come there, what waiting costs, how fast they go on.

They are started by alerts, as ever. Grants go to the approvals service over the bus, where the gateway would send
them too: its own speed is a figure of `api`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import asyncpg
from pydantic import SecretStr

from bench import proof
from bench.errors import BenchFailed
from bench.figures import Figure, Report
from bench.options import Options
from bench.processes import Meter, anonymous_mb
from bench.product import ALONE, SERVERS, Product
from bench.sending import open_incidents
from bench.tally import Tally
from libs.common.bus import Bus
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from runbook_ranger.stack.keyring import ADMIN
from runbook_ranger.stack.plan import Urls

NAME: Final = "parked"
ALERT: Final = "bench_gated"
RUNBOOK: Final = "bench-gated"
AT_ONCE: Final = 64
GOAL_RATE: Final = 1000.0
GOAL_GROWTH_MB: Final = 10.0
GOAL_IDLE: Final = 0.01
PERSON: Final = Principal("bench", frozenset({"default"}), frozenset({"approver", "admin"}))
_ASKED: Final = "SELECT count(*) FROM approvals.approval"
_OPEN: Final = "SELECT approval_id::text, plan_hash, action_hash FROM approvals.approval WHERE state = 'requested'"
_DONE: Final = "SELECT count(*) FROM executor.execution WHERE state = 'completed'"


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product:
        product.publish("gated")
        options.measured(product.pids())
        return asyncio.run(_Bench(options, product).measure())


class _Bench:
    def __init__(self, options: Options, product: Product) -> None:
        self._options, self._product = options, product
        self._count = options.pick(10_000, 2_000, 5)
        self._warm = options.pick(1_000, 300, 5)  # so many that batches have been as large as they get
        self._calm = options.pick(20.0, 10.0, 0.2)

    async def measure(self) -> Report:
        warm, count = self._warm, self._count
        async with Tally(self._product) as tally:
            self._tally = tally
            await self._start("warm", warm, 0)
            await self._resume(warm)
            await self._settle()
            memory, idle = self._memory(), await self._idle()
            meter = Meter(self._product.pids(), alone=ALONE)
            starts = await self._start("parked", count, warm)
            start_cost = self._each(meter)
            self._options.tell(f"parked: {count:,} executions wait, {starts:,.0f} starts/s")
            await self._settle()
            grown, parked_idle = self._memory(), await self._idle()
            meter = Meter(self._product.pids(), alone=ALONE)
            resumes = await self._resume(warm + count)
            resume_cost = self._each(meter)
            self._options.tell(f"parked: all of them went on, {resumes:,.0f} resumes/s")
        await proof.settled(self._product)
        done = await proof.steps_done(self._product, [RUNBOOK], warm + count, 1)
        growth = {name: round(grown[name] - before, 2) for name, before in memory.items()}
        figures = (
            Figure(f"starts, {count:,} executions", "executions/s", (starts,), goal=GOAL_RATE),
            Figure(f"resumes, {count:,} executions", "executions/s", (resumes,), goal=GOAL_RATE),
            _lower("growth of our processes while parked", "MB", sum(growth.values()), GOAL_GROWTH_MB),
            _lower("idle CPU of our processes", "cores", ours(parked_idle), GOAL_IDLE, ours(idle)),
            _lower("idle CPU of the servers", "cores", servers(parked_idle), None, servers(idle)),
        )
        costs = {"cpu_us_a_start": start_cost, "cpu_us_a_resume": resume_cost}
        notes = {"growth_mb": growth, "idle_cores": parked_idle, "idle_cores_empty": idle, **costs}
        return Report(NAME, figures, {**done, **await proof.log_verifies(self._product)}, notes=notes)

    async def _start(self, name: str, count: int, before: int) -> float:
        """Executions a second, from the first alert until each is asked about."""
        client = await self._product.urls.bus(allow_reconnect=False)
        began = time.perf_counter()
        try:
            await open_incidents(client.jetstream(publish_async_max_pending=4000), ALERT, count, prefix=name)
        finally:
            await client.close()
        await self._tally.reaches("approvals asked for", _ASKED, before + count, seconds=600)
        return count / (time.perf_counter() - began)

    async def _resume(self, total: int) -> float:
        """Executions a second, from the first grant until each has completed."""
        found = await self._tally.rows(_OPEN)
        began = time.perf_counter()
        await _grant(self._product.urls, found)
        await self._tally.reaches("completed executions", _DONE, total, seconds=600)
        return len(found) / (time.perf_counter() - began)

    def _each(self, meter: Meter) -> dict[str, int]:
        """Microseconds of CPU that each process has used for one of the executions."""
        return {name: round(spent / self._count * 1e6) for name, spent in meter.seconds().items()}

    async def _settle(self) -> None:
        """Until what was caused has been worked off, and memory given back: only then is anything idle."""
        await proof.settled(self._product, seconds=300)
        await asyncio.sleep(self._calm / 2)

    def _memory(self) -> dict[str, float]:
        """Anonymous memory of each process of ours, in MB."""
        pids = {name: pid for name, pid in self._product.pids().items() if name not in SERVERS}
        return {name: anonymous_mb(pid, children=name not in ALONE) for name, pid in pids.items()}

    async def _idle(self) -> dict[str, float]:
        """Cores that each process takes while nothing happens."""
        meter = Meter(self._product.pids(), alone=ALONE)
        await asyncio.sleep(self._calm)
        return {name: round(spent / self._calm, 4) for name, spent in meter.seconds().items()}


async def _grant(urls: Urls, found: list[asyncpg.Record]) -> None:
    """Say yes to each, to exactly what it asks about; so many at once."""
    bus = Bus(urls.nats, name="bench", identity=ADMIN, nkey=SecretStr(urls.nats_key(ADMIN)))
    await bus.connect()
    try:
        client, room = RpcClient(bus, timeout=60), asyncio.Semaphore(AT_ONCE)

        async def say(row: asyncpg.Record) -> dict[str, Any]:
            async with room:
                body = {**dict(row), "rationale": "the bench agrees"}
                return await client.ask("approvals", "grant", body, principal=PERSON, tenant="default")

        answers = await asyncio.gather(*(say(row) for row in found))
    finally:
        await bus.close()
    if any(answer["state"] != "granted" for answer in answers):
        raise BenchFailed("a grant was answered with something else")


def ours(cores: dict[str, float]) -> float:
    """All but the servers."""
    return sum(value for name, value in cores.items() if name not in SERVERS)


def servers(cores: dict[str, float]) -> float:
    """The servers: what our processes ask of them while they wait."""
    return sum(value for name, value in cores.items() if name in SERVERS)


def _lower(name: str, unit: str, value: float, goal: float | None, limit: float | None = None) -> Figure:
    """A figure that is better the lower it is; no time at all is no limit to divide by."""
    bare = (limit,) if limit else ()
    words = "with nothing parked" if limit else ""
    return Figure(name, unit, (value,), lower_is_better=True, goal=goal, limit=bare, limit_name=words)
