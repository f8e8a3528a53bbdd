"""How long `rangerctl up` takes: from nothing, again on the same data, and on much data."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import proof
from bench.figures import Figure, Report
from bench.options import Options
from bench.product import Product
from bench.sending import open_incidents
from bench.tally import Tally

NAME: Final = "startup"
ALERT: Final = "bench_filling"
GOAL_FIRST: Final = 10.0
GOAL_AGAIN: Final = 5.0
_EVENTS: Final = "SELECT coalesce(max(seq), 0) FROM timeline.log_state"


def run(options: Options) -> Report:
    """The bench."""
    rounds, events = options.pick(3, 2, 1), options.pick(200_000, 20_000, 100)
    first, again, full = [], [], []
    verified: dict[str, object] = {}
    for number in range(rounds):
        began = time.perf_counter()
        with Product(options) as product:
            first.append(time.perf_counter() - began)
            again.append(_again(product))
            options.tell(f"startup: round {number + 1} of {rounds}: {first[-1]:.1f} s, then {again[-1]:.1f} s")
            if number + 1 == rounds:
                asyncio.run(_fill(product, events))
                full += [_again(product) for _ in range(rounds)]
                asyncio.run(proof.settled(product))
                verified = asyncio.run(proof.log_verifies(product))
    figures = (
        _figure("from nothing", first, GOAL_FIRST),
        _figure("again", again, GOAL_AGAIN),
        _figure(f"again, with {verified['leaves']:,} events", full, GOAL_AGAIN),
    )
    return Report(NAME, figures, verified)


def _again(product: Product) -> float:
    product.down()
    return product.up()


async def _fill(product: Product, events: int) -> None:
    """An incident an event, which is the cheapest way to have them."""
    client = await product.urls.bus(allow_reconnect=False)
    try:
        await open_incidents(client.jetstream(publish_async_max_pending=4000), ALERT, events)
    finally:
        await client.close()
    async with Tally(product) as tally:
        await tally.reaches("events", _EVENTS, events, seconds=1200, every=0.5)


def _figure(name: str, values: list[float], goal: float) -> Figure:
    return Figure(name, "s", tuple(values), lower_is_better=True, goal=goal)
