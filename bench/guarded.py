"""What policy costs where it is asked most: steps with everybody asked at the door, and with the door open.

Two products beside each other, alike but for that, take turns: one works while the other stands still.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from bench.driver import Driver
from bench.errors import WorkWrong
from bench.figures import Figure, Report
from bench.limits.unguarded import NOBODY
from bench.options import Options
from bench.path import STEPS, proven
from bench.processes import Meter
from bench.product import ALONE, Product
from bench.tally import Tally

NAME: Final = "guarded"
GOAL_RATIO: Final = 0.85
GUARDED, OPEN = "with policy", "without policy"
KIND: Final = "change"
DRIVER: Final = "driver"


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as guarded, Product(options, unguarded=True) as unguarded:
        products = {GUARDED: guarded, OPEN: unguarded}
        for product in products.values():
            product.publish(KIND)
        options.measured(guarded.pids())
        return asyncio.run(_Bench(options, products).measure())


class _Bench:
    def __init__(self, options: Options, products: Mapping[str, Product]) -> None:
        self._options, self._products = options, products
        self._level = options.pick(1000, 1000, 4)
        self._rates: dict[str, list[float]] = {name: [] for name in products}
        self._costs: dict[str, list[float]] = {name: [] for name in products}

    async def measure(self) -> Report:
        rounds, seconds = self._options.pick(6, 4, 1), self._options.pick(10.0, 4.0, 0.2)
        async with AsyncExitStack() as stack:
            drivers = {
                name: await stack.enter_async_context(Driver(product.urls, f"bench_{KIND}", ends=True))
                for name, product in self._products.items()
            }
            for driver in drivers.values():
                await driver.in_flight(self._level, self._options.pick(15.0, 8.0, 0.1))
            for number in range(rounds):
                for name in (GUARDED, OPEN) if number % 2 else (OPEN, GUARDED):
                    await self._round(name, drivers[name], seconds)
                words = f"{self._rates[GUARDED][-1]:,.0f} with, {self._rates[OPEN][-1]:,.0f} steps/s without"
                self._options.tell(f"guarded: round {number + 1} of {rounds}, {words}")
            started = {name: driver.started for name, driver in drivers.items()}
        found = {name: await proven(product, started[name]) for name, product in self._products.items()}
        for name, product in self._products.items():
            await _asked(product, unguarded=name == OPEN)
        return Report(NAME, self._figures(), {**found[GUARDED], OPEN: found[OPEN]}, notes={"steps": STEPS})

    async def _round(self, name: str, driver: Driver, seconds: float) -> None:
        meter = Meter({**self._products[name].pids(), DRIVER: os.getpid()}, alone={*ALONE, DRIVER})
        times, took = await driver.in_flight(self._level, seconds)
        used: dict[str, Any] = meter.seconds()
        steps = len(times) * STEPS
        self._rates[name].append(steps / took)
        self._costs[name].append((sum(used.values()) - used[DRIVER]) / steps * 1e6)

    def _figures(self) -> tuple[Figure, ...]:
        rates, costs = self._rates, self._costs
        what = f"changes, {self._level:,} in flight"
        return (
            Figure(f"{what}, {GUARDED}", "steps/s", tuple(rates[GUARDED]), goal_ratio=GOAL_RATIO,
                   limit=tuple(rates[OPEN]), limit_name=OPEN),
            Figure(f"CPU a step, {what}, {GUARDED}", "µs", tuple(costs[GUARDED]), lower_is_better=True,
                   goal_ratio=1 / GOAL_RATIO, limit=tuple(costs[OPEN]), limit_name=OPEN),
        )  # fmt: skip


async def _asked(product: Product, *, unguarded: bool) -> None:
    """Look who decided that the runbooks may be published.

    Raises:
        WorkWrong: not who should have.
    """
    async with Tally(product) as tally:
        engines = {row["engine"] for row in await tally.rows("SELECT DISTINCT engine FROM catalog.decision")}
    if not engines or (engines == {NOBODY}) is not unguarded:
        raise WorkWrong(f"decisions were made by {', '.join(sorted(engines)) or 'no engine'}")
