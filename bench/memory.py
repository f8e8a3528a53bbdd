"""Memory of each process of ours: idle, and after many events."""

from __future__ import annotations

import asyncio
from typing import Final

from bench.driver import Driver
from bench.figures import Figure, Report
from bench.options import Options
from bench.path import STEPS, proven
from bench.processes import pss_mb
from bench.product import ALONE, SERVERS, Product

NAME: Final = "memory"
GOAL_IDLE_MB: Final = 60.0
GOAL_AFTER_MB: Final = 70.0
GOAL_GROWTH_MB: Final = 5.0
IN_FLIGHT: Final = 100
EVENTS_EACH: Final = 12  # of an execution of five looks, its incident's included


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product:
        product.publish("read")
        options.measured(product.pids())
        return asyncio.run(_measure(options, product))


async def _measure(options: Options, product: Product) -> Report:
    wanted = options.pick(200_000, 20_000, 60)
    await asyncio.sleep(options.pick(5.0, 2.0, 0.1))
    idle = _memory(product)
    async with Driver(product.urls, "bench_read", ends=False) as driver:
        await _events(driver, options, wanted // 2)
        halfway = _memory(product)
        await _events(driver, options, wanted)
        executions = driver.started
    verified = await proven(product, executions)
    after = _memory(product)
    figures = (
        _figure("largest process, idle", max(idle.values()), GOAL_IDLE_MB),
        _figure(f"largest process, after {verified['leaves']:,} events", max(after.values()), GOAL_AFTER_MB),
        _figure(
            "largest growth of a process over the second half",
            max(0.0, *(size - halfway[name] for name, size in after.items())),
            GOAL_GROWTH_MB,
        ),
    )
    notes = {"idle_mb": idle, "halfway_mb": halfway, "after_mb": after, "steps": executions * STEPS}
    return Report(NAME, figures, verified, notes=notes)


async def _events(driver: Driver, options: Options, wanted: int) -> None:
    """Cause events until there have been so many altogether."""
    while driver.started * EVENTS_EACH < wanted:
        left = wanted // EVENTS_EACH + 1 - driver.started
        await driver.some(min(left, IN_FLIGHT * 20), in_flight=IN_FLIGHT)
        options.tell(f"memory: {driver.started * EVENTS_EACH:,} events")


def _memory(product: Product) -> dict[str, float]:
    """The proportional share of each process of ours, in MB; those that only start others count alone."""
    pids = {name: pid for name, pid in product.pids().items() if name not in SERVERS}
    return {name: round(pss_mb(pid, children=name not in ALONE), 1) for name, pid in pids.items()}


def _figure(name: str, value: float, goal: float) -> Figure:
    return Figure(name, "MB", (value,), lower_is_better=True, goal=goal)
