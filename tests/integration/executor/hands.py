"""A worker in the process: it claims, carries out and settles what is ready, as one that was hinted does."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from libs.actions import Action, ActionSettings, Egress, Registry
from libs.common.artefacts import Artefacts
from libs.common.objectstore import ObjectStore
from services.executor.hints import STREAMS
from services.executor.worker.attempts import Entry, Means, Worker
from services.executor.worker.leases import Leases
from services.executor.worker.objects import Objects
from tests.integration.executor.bench import Bench
from tests.support.eventually import eventually


@dataclass(frozen=True, slots=True)
class Hands:
    """The worker, told by hand."""

    bench: Bench
    worker: Worker

    async def carry_out(self, execution: str) -> dict[str, Any]:
        """Carry out what is ready of an execution; returns its last attempt once that is settled."""
        ready = await self.bench.ready(execution)
        await self.worker.take([Entry(STREAMS[1], b"0-1", attempt.action_id, "") for attempt in ready])

        async def settled() -> dict[str, Any] | None:
            rows = {str(row["action_id"]): row for row in await self.bench.attempts(execution)}
            mine = [rows[attempt.action_id] for attempt in ready]
            return mine[-1] if all(row["state"] not in {"ready", "running"} for row in mine) else None

        return await eventually(settled, timeout=20) or {}


def kept_in(folder: Path) -> Objects:
    """Objects below a folder."""
    return Objects(Artefacts(ObjectStore.open(folder.as_uri())))


def artefacts_in(folder: Path) -> list[Path]:
    """The files of what was kept."""
    return [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []


@asynccontextmanager
async def hands(
    bench: Bench, *own: Action[Any], channels: Mapping[str, str] | None = None, objects: Path = Path("/dev/null")
) -> AsyncIterator[Hands]:
    """A worker with the built-in actions and `own`, until the end of the block."""
    settings = ActionSettings()
    egress = Egress(settings.egress())
    worker = Worker(
        database=bench.database,
        claims=bench.claims(),
        settlements=bench.settlements,
        hints=bench.hints,
        leases=Leases(bench.database, bench.settings),
        means=Means(Registry([*Registry.builtin(), *own]), egress, settings.shell(), channels or {}, kept_in(objects)),
        settings=bench.settings,
    )
    running = asyncio.create_task(worker.run())
    try:
        yield Hands(bench, worker)
    finally:
        await worker.drain(5)
        running.cancel()
        await asyncio.wait({running})
        await egress.close()
