"""One execution with thousands of iterations: whether ten times as many cost ten times as much, and no more memory.

Its limit is itself, in small: the same loop over a tenth of the items, in turns with it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import proof
from bench.figures import Figure, Report
from bench.options import Options
from bench.processes import pss_mb
from bench.product import ALONE, SERVERS, Product
from bench.tally import Tally

NAME: Final = "fanout"
RUNBOOK: Final = "bench-fan"
GOAL_RATIO: Final = 0.8
GOAL_GROWTH_MB: Final = 10.0
_DONE: Final = "SELECT count(*) FROM executor.execution WHERE state = 'completed'"


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product:
        product.publish("fan")
        options.measured(product.pids())
        return asyncio.run(_measure(options, product))


async def _measure(options: Options, product: Product) -> Report:
    many, rounds = options.pick(10_000, 2_000, 20), options.pick(3, 2, 1)
    few = many // 10
    large: list[float] = []
    small: list[float] = []
    async with Tally(product) as tally:
        await _loop(product, tally, few, 1)  # warms up
        before = _memory(product)
        for number in range(rounds):
            small.append(await _loop(product, tally, few, 2 * number + 2))
            large.append(await _loop(product, tally, many, 2 * number + 3))
            options.tell(f"fanout: round {number + 1} of {rounds}: {large[-1]:,.0f} iterations/s of {many:,}")
        after = _memory(product)
    await proof.settled(product, seconds=300)
    executions = 2 * rounds + 1
    steps = (rounds + 1) * few + rounds * many + executions
    done = await proof.steps_done(product, [RUNBOOK], executions, steps, each=False)
    growth = {name: round(after[name] - size, 1) for name, size in before.items()}
    figures = (
        Figure(
            f"{many:,} iterations", "iterations/s", tuple(large), goal_ratio=GOAL_RATIO, limit=tuple(small),
            limit_name=f"with {few:,}",
        ),
        Figure(
            "largest growth of a process", "MB", (max(0.0, *growth.values()),), lower_is_better=True,
            goal=GOAL_GROWTH_MB,
        ),
    )  # fmt: skip
    return Report(NAME, figures, {**done, **await proof.log_verifies(product)}, notes={"growth_mb": growth})


async def _loop(product: Product, tally: Tally, size: int, ended: int) -> float:
    """Iterations a second, from the request until the execution has completed."""
    began = time.perf_counter()
    await asyncio.to_thread(product.api.post, f"/runbooks/{RUNBOOK}/execute", {"inputs": {"size": size}})
    await tally.reaches("completed executions", _DONE, ended, seconds=900)
    return size / (time.perf_counter() - began)


def _memory(product: Product) -> dict[str, float]:
    pids = {name: pid for name, pid in product.pids().items() if name not in SERVERS}
    return {name: round(pss_mb(pid, children=name not in ALONE), 1) for name, pid in pids.items()}
