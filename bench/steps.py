"""Steps a second with many executions in flight, with all that makes a step safe: policy, lease, lock, fence."""

from __future__ import annotations

import asyncio
import os
import statistics
from collections.abc import Mapping
from typing import Any, Final

from bench.driver import Driver
from bench.figures import Figure, Report, percentile
from bench.limits.pipeline import driver as prototype_driver
from bench.limits.pipeline.prototype import Prototype
from bench.options import Options
from bench.path import KINDS, LIMIT, STEPS, prototype_proven, proven
from bench.processes import Meter, pss_mb
from bench.product import ALONE, Product
from bench.tally import Tally

NAME: Final = "steps"
GOAL: Final = 3000.0
GOAL_ALWAYS: Final = 2000.0
GOAL_RATIO: Final = 0.5
ATOMIC: Final = 16
DRIVER: Final = "driver"
_COMMITS: Final = "SELECT sum(xact_commit) FROM pg_stat_database"
AnyDriver = Driver | prototype_driver.Driver


def run(options: Options) -> Report:
    """The bench: as embedded, then with `sync_interval: always`, as in production."""
    levels = options.pick((100, 1000), (100, 1000), (2, 4))
    figures, notes, verified = _variant(options, "", levels, {}, Prototype())
    always = {"RR_NATS_SYNC": "always"}
    more = _variant(options, "always", levels[-1:], always, Prototype(sync="always", atomic=ATOMIC))
    figures += more[0]
    return Report(NAME, tuple(figures), {**verified, "always": more[2]}, notes={**notes, "always": more[1]})


def _variant(
    options: Options, variant: str, levels: tuple[int, ...], environment: Mapping[str, str], bare: Prototype
) -> tuple[list[Figure], dict[str, Any], dict[str, Any]]:
    with Product(options, environment) as product, bare as prototype:
        for kind in KINDS:
            product.publish(kind)
        options.measured(product.pids())
        return asyncio.run(_Bench(options, variant, levels, product, prototype).measure())


class _Bench:
    """One variant: rounds of every level, product and prototype in turns."""

    def __init__(
        self, options: Options, variant: str, levels: tuple[int, ...], product: Product, prototype: Prototype
    ) -> None:
        self._options, self._variant, self._levels = options, variant, levels
        self._product, self._prototype = product, prototype
        self._rates: dict[tuple[str, int], list[float]] = {}
        self._costs: dict[str, list[dict[str, float]]] = {}
        self._p50: dict[str, float] = {}
        self._commits: dict[str, float] = {}

    async def measure(self) -> tuple[list[Figure], dict[str, Any], dict[str, Any]]:
        urls, where = self._product.urls, self._prototype.environment
        async with (
            Tally(self._product) as self._tally,
            Driver(urls, "bench_change", ends=True) as change,
            Driver(urls, "bench_read", ends=False) as read,
            prototype_driver.Driver(where) as bare,
        ):
            drivers: dict[str, AnyDriver] = {"change": change, "read": read, LIMIT: bare}
            for driver in drivers.values():
                await driver.in_flight(self._levels[0], self._options.pick(2.0, 1.0, 0.1))
            await self._rounds(drivers)
            executions = change.started + read.started
        verified = await proven(self._product, executions, lambda: prototype_proven(where, bare.started))
        return self._figures(), self._notes(), verified

    async def _rounds(self, drivers: Mapping[str, AnyDriver]) -> None:
        rounds, seconds = self._options.pick(3, 2, 1), self._options.pick(10.0, 3.0, 0.2)
        for number in range(rounds):
            for level in self._levels:
                for name, driver in drivers.items():
                    if name not in (*self._kinds(level), LIMIT):
                        continue
                    rate = await self._round(name, driver, level, seconds)
                    words = f"{self._variant} {level} in flight, {name}: {rate:,.0f} steps/s".strip()
                    self._options.tell(f"steps: round {number + 1} of {rounds}, {words}")

    def _kinds(self, level: int) -> tuple[str, ...]:
        """Changes everywhere; reads, which need neither lock nor verification, once: to see what these cost."""
        return KINDS if level == self._levels[-1] and not self._variant else KINDS[:1]

    async def _round(self, name: str, driver: AnyDriver, level: int, seconds: float) -> float:
        pids = self._prototype.pids() if name == LIMIT else self._product.pids()
        meter = Meter({**pids, DRIVER: os.getpid()}, alone={*ALONE, DRIVER})
        before = await self._tally.number(_COMMITS)
        times, took = await driver.in_flight(level, seconds)
        steps = len(times) * STEPS
        if name != LIMIT:
            self._commits[_case(name, level)] = (await self._tally.number(_COMMITS) - before) / steps
        used = {process: spent / steps * 1e6 for process, spent in meter.seconds().items()}
        self._rates.setdefault((name, level), []).append(steps / took)
        self._costs.setdefault(_case(name, level), []).append(used)
        self._p50[_case(name, level)] = percentile(times, 0.5)
        return steps / took

    def _figures(self) -> list[Figure]:
        aim, more = (GOAL_ALWAYS, ", sync always") if self._variant else (GOAL, "")
        rates = [
            Figure(
                f"{name}s, {level:,} in flight{more}",
                "steps/s",
                tuple(self._rates[name, level]),
                goal=aim,
                goal_ratio=None if self._variant else GOAL_RATIO,
                limit=tuple(self._rates[LIMIT, level]),
                limit_name=LIMIT,
            )
            for level in self._levels
            for name in self._kinds(level)
        ]
        costs = [
            Figure(
                f"CPU a step, {name}s, {level:,} in flight{more}",
                "µs",
                self._spent(name, level),
                lower_is_better=True,
                limit=self._spent(LIMIT, level),
                limit_name=LIMIT,
            )
            for level in self._levels
            for name in self._kinds(level)
        ]
        return rates + costs

    def _spent(self, name: str, level: int) -> tuple[float, ...]:
        """Microseconds of CPU a step, of all processes but the driver: a busy neighbour hardly changes them."""
        return tuple(sum(used.values()) - used[DRIVER] for used in self._costs[_case(name, level)])

    def _notes(self) -> dict[str, Any]:
        cost = {
            case: {name: round(statistics.median(run[name] for run in runs)) for name in runs[0]}
            for case, runs in self._costs.items()
        }
        memory = {name: round(pss_mb(pid, children=name not in ALONE), 1) for name, pid in self._product.pids().items()}
        latency = {case: round(seconds, 3) for case, seconds in self._p50.items()}
        commits = {case: round(count, 2) for case, count in self._commits.items()}
        return {"cpu_us_a_step": cost, "commits_a_step": commits, "latency_p50_s": latency, "pss_mb": memory}


def _case(name: str, level: int) -> str:
    return f"{name}, {level} in flight"
