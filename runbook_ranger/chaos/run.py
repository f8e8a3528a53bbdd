"""One run from beginning to end: a stack from nothing, load and faults, healing, quiet, evidence, judgement."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runbook_ranger.chaos import changes, gather
from runbook_ranger.chaos.evidence import Evidence, Violation
from runbook_ranger.chaos.history import History
from runbook_ranger.chaos.invariants import check
from runbook_ranger.chaos.load import Load
from runbook_ranger.chaos.nemesis import Nemesis
from runbook_ranger.chaos.place import Place, clear, place
from runbook_ranger.chaos.schedule import draw
from runbook_ranger.chaos.waiting import until
from runbook_ranger.chaos.watch import Watch

HEALED_SECONDS: Final = 90.0
"""How long after healing everything may take to end and be quiet (invariant 11)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run. `rate` is cases a second; without `faults` every kind is drawn.

    With `points` every named crash point comes once besides.
    """

    root: Path
    seed: int
    seconds: float = 60.0
    faults: Sequence[str] = ()
    workers: int = 3
    rate: float = 2.0
    points: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it."""

    order: Order
    evidence: Evidence
    violations: Sequence[Violation]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def good(self) -> bool:
        """Whether every invariant holds."""
        return not self.violations


async def run(order: Order, tell: Callable[[str], None]) -> Result:
    """Carry an order out; history, schedule, faults and logs stay in its folder.

    Raises:
        StackError: the stack could not be started at all, or again.
        TimeoutError: it did not become ready again after the last fault.
        ValueError: there is no such fault.
    """
    clear(order.root)
    times: dict[str, float] = {}
    began = time.monotonic()
    async with place(order.root, workers=order.workers) as found:
        schedule = draw(order.seed, order.seconds, found.worker_names, order.faults, points=order.points)
        schedule.save(order.root / "schedule.json")
        await changes.install(found.urls.postgres)
        history = History(order.root / "history.jsonl")
        load, watch = Load(found, history, order.seed, rate=order.rate), Watch(found)
        nemesis = Nemesis(found, load, tell)
        try:
            await load.prepare()
            times["ready"] = time.monotonic() - began
            async with _beside(load.tend(), watch.run()):
                async with _beside(load.arrive()):
                    await nemesis.run(schedule)
                tell("no more faults: healing")
                await nemesis.heal()
                left = await settle(found, load)
        finally:
            await load.close()
            nemesis.close()
            history.close()
        times["settled"] = time.monotonic() - began
        evidence = await gather.gather(
            found, calls=order.root / "history.jsonl", looks=watch.looks, injuries=nemesis.injuries, unsettled=left
        )
    await asyncio.to_thread(gather.keep, evidence, order.root / "changes.jsonl")
    violations = await asyncio.to_thread(check, evidence)
    times["judged"] = time.monotonic() - began
    return Result(order, evidence, violations, times)


async def settle(found: Place, load: Load, patience: float = HEALED_SECONDS) -> list[str]:
    """Wait until all that was begun has ended and nothing is left to do; what is left when the time is over."""
    left: list[str] = []

    async def quiet() -> bool:
        left[:] = [] if await load.finished() else ["executions or alerts that have not ended"]
        left.extend(await gather.unsettled(found))
        return not left

    with suppress(TimeoutError):
        await until(quiet, patience, 0.3)
    return left


@asynccontextmanager
async def _beside(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Let these go on while the block lasts."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, Exception):
                raise outcome
