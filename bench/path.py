"""From an alert to the last fact of its execution in the log, one at a time: what a person waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from bench import proof
from bench.driver import Driver, eventually
from bench.figures import Figure, Report, percentile
from bench.limits.pipeline import driver as prototype_driver
from bench.limits.pipeline import stage
from bench.limits.pipeline.prototype import Prototype
from bench.options import Options
from bench.product import Product

NAME: Final = "path"
STEPS: Final = 5
GOALS: Final = {"p50": 15.0, "p99": 30.0}
SHARES: Final = {"p50": 0.50, "p99": 0.99}
KINDS: Final = ("change", "read")
LIMIT: Final = "the prototype"


class Sender(Protocol):
    """Either driver."""

    async def one(self) -> float:
        """Seconds of one execution."""


def run(options: Options) -> Report:
    """The bench."""
    with Product(options) as product, Prototype() as prototype:
        for kind in KINDS:
            product.publish(kind)
        options.measured(product.pids())
        return asyncio.run(_measure(options, product, prototype))


async def _measure(options: Options, product: Product, prototype: Prototype) -> Report:
    rounds, each = options.pick(5, 3, 1), options.pick(200, 100, 3)
    seconds: dict[str, list[list[float]]] = {}
    urls, where = product.urls, prototype.environment
    async with (
        Driver(urls, "bench_change", ends=True) as change,
        Driver(urls, "bench_read", ends=False) as read,
        prototype_driver.Driver(where) as bare,
    ):
        senders: dict[str, Sender] = {"change": change, "read": read, LIMIT: bare}
        for sender in senders.values():
            await _times(sender, options.pick(50, 20, 1))
        for number in range(rounds):
            options.tell(f"path: round {number + 1} of {rounds}, {each} executions of each kind")
            for name, sender in senders.items():
                seconds.setdefault(name, []).append(await _times(sender, each))
        counts = {"change": change.started, "read": read.started, LIMIT: bare.started}
    verified = await proven(product, counts["change"] + counts["read"], lambda: prototype_proven(where, counts[LIMIT]))
    figures = [_figure(kind, name, seconds) for kind in KINDS for name in GOALS]
    return Report(NAME, tuple(figures), verified)


async def _times(sender: Sender, count: int) -> list[float]:
    return [await sender.one() for _ in range(count)]


def _figure(kind: str, name: str, seconds: dict[str, list[list[float]]]) -> Figure:
    def milliseconds(which: str) -> tuple[float, ...]:
        return tuple(percentile(times, SHARES[name]) * 1000 for times in seconds[which])

    return Figure(
        f"alert → chained end of five {kind}s, {name}",
        "ms",
        milliseconds(kind),
        lower_is_better=True,
        goal=GOALS[name],
        limit=milliseconds(LIMIT),
        limit_name=LIMIT,
    )


async def proven(
    product: Product, executions: int, more: Callable[[], Awaitable[dict[str, Any]]] | None = None
) -> dict[str, Any]:
    """What both `path` and `steps` verify when they have done: every step, once, and the log."""
    await proof.settled(product)
    runbooks = [f"bench-{kind}" for kind in KINDS]
    done = await proof.steps_done(product, runbooks, executions, STEPS)
    return {**done, **await proof.log_verifies(product), **({LIMIT: await more()} if more else {})}


async def prototype_proven(where: Any, executions: int) -> dict[str, Any]:
    """The same of the prototype."""
    await eventually("the prototype's outbox is empty", lambda: stage.settled(where))
    return await stage.verify(where, executions)
