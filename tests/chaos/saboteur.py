"""A running stack whose processes commit deliberate faults on demand, and the checker that is to notice."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from runbook_ranger.chaos import changes, gather
from runbook_ranger.chaos.evidence import Look, Violation
from runbook_ranger.chaos.history import History
from runbook_ranger.chaos.invariants import check
from runbook_ranger.chaos.load import Load
from runbook_ranger.chaos.nemesis import Nemesis
from runbook_ranger.chaos.place import Place, place
from runbook_ranger.chaos.run import settle
from runbook_ranger.chaos.schedule import Fault

SITE = Path(__file__).resolve().parents[1] / "support" / "sabotage"
PATIENCE = 25.0
AGAIN_SECONDS = 0.7
GRANTS_STAND_SECONDS = 2.0


@dataclass
class Saboteur:
    """The stack, who asks it for work, and where faults are ordered."""

    place: Place
    load: Load
    nemesis: Nemesis
    faults: Path
    looks: list[Look] = field(default_factory=list)

    @contextmanager
    def committing(self, fault: str) -> Iterator[None]:
        """Every process commits this fault in the block."""
        order = self.faults / fault
        order.touch()
        try:
            yield
        finally:
            order.unlink()

    async def violations(self, *, unsettled: bool = False) -> list[Violation]:
        """What the checker says now."""
        evidence = await gather.gather(
            self.place,
            calls=self.place.root / "history.jsonl",
            looks=self.looks,
            injuries=self.nemesis.injuries,
            unsettled=await gather.unsettled(self.place) if unsettled else (),
        )
        return check(evidence)

    async def caught(self, invariant: int, before: set[Violation], *, unsettled: bool = False) -> Violation:
        """The violation of this invariant that was not there before, and stays: what is only late goes by itself."""
        deadline = time.monotonic() + PATIENCE
        seen: set[Violation] = set()
        while True:
            found = {v for v in await self.violations(unsettled=unsettled) if v.invariant == invariant} - before
            if seen & found:
                return (seen & found).pop()
            assert time.monotonic() < deadline, f"invariant {invariant} did not notice; last: {seen}"
            seen = found
            await asyncio.sleep(AGAIN_SECONDS)

    async def poison(self, kind: str) -> None:
        """Publish what cannot be applied."""
        await self.nemesis.inflict(Fault(0, "poison", kind))

    async def settled(self) -> list[str]:
        """Wait until all is quiet; what is not."""
        return await settle(self.place, self.load, PATIENCE)


@asynccontextmanager
async def saboteur(root: Path) -> AsyncIterator[Saboteur]:
    """A stack in `root` that runs until the end of the block, with people who tend what is asked for."""
    faults = root / "faults"
    env: dict[str, Any] = {
        "PYTHONPATH": str(SITE),
        "RR_SABOTAGE": str(faults),
        "RR_APPROVAL_VALID_SECONDS": str(GRANTS_STAND_SECONDS),
    }
    async with place(root, workers=2, env=env) as found:
        faults.mkdir()
        await changes.install(found.urls.postgres)
        history = History(root / "history.jsonl")
        load = Load(found, history, seed=1, rate=1)
        await load.prepare()
        nemesis = Nemesis(found, load, lambda _text: None)
        tending = asyncio.create_task(load.tend())
        try:
            yield Saboteur(found, load, nemesis, faults)
        finally:
            tending.cancel()
            await asyncio.wait({tending})
            await load.close()
            nemesis.close()
            history.close()
