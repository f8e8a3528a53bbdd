"""Writes one segment after the other, behind what the target holds."""

import asyncio
import contextlib
from typing import Final

import asyncpg
from nats.aio.msg import Msg

from libs.common.bus import Bus
from libs.common.database import TRANSIENT, Database
from libs.common.objectstore import StoreUnavailable
from libs.common.outbox import POSITION_SUBJECT
from libs.common.telemetry import log
from libs.tlog.errors import TlogError
from libs.tlog.tree import Frontier
from services.timeline import checkpoints
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.copies import Missing
from services.timeline.exporter import metrics, segments
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.exporter.target import Contradiction, Target
from services.timeline.frontiers import frontier

GATHER_SECONDS: Final = 1.0
"""A note comes when the log has grown, a checkpoint within a second; and a busy log need not be looked at for each."""
RETRY_SECONDS: Final = 1.0
OLDER: Final = "the database is an older one; restore a newer one, or rebuild the log"


class Late(Exception):
    """The target is further behind than it may be."""


class Copier:
    """A part of the process. `ready` says how far it is, or what is wrong."""

    def __init__(self, database: Database, bus: Bus, target: Target, settings: ExporterSettings) -> None:
        self._database = database
        self._bus = bus
        self._target = target
        self._settings = settings
        self._woken = asyncio.Event()
        self._tree: Frontier | None = None  # what the target holds
        self._trouble: str | None = "nothing was looked at yet"
        self._signed = 0
        self._waiting = 0.0

    async def ready(self) -> str:
        """A health check: how far it is.

        Raises:
            Contradiction, Late: what is wrong.
        """
        if self._trouble is not None:
            raise Contradiction(self._trouble)
        held = self._tree.size if self._tree else 0
        said = f"the target holds {held} of {self._signed} leaves"
        if self._waiting > self._settings.export_behind_seconds:
            raise Late(f"{said}: the oldest that it lacks has waited {self._waiting:.0f} s")
        return said

    async def run(self) -> None:
        """Export until cancelled; what fails is tried again, what contradicts itself is looked at again."""
        await self._bus.subscribe(POSITION_SUBJECT, self._wake)
        while True:
            try:
                busy = await self.step()
                self._say(None)
            except (Contradiction, Missing, Incomplete, TlogError) as error:
                self._say(f"{error}")
                self._tree, busy = None, False
                await asyncio.sleep(RETRY_SECONDS)
            except (*TRANSIENT, asyncpg.PostgresError, StoreUnavailable) as error:
                self._say(f"{type(error).__name__}: {error}", outage=True)
                busy = False
                await asyncio.sleep(RETRY_SECONDS)
            if not busy:
                await self._rest()

    async def step(self) -> bool:
        """Write the next segment, where it is time for one; whether one was written.

        Raises:
            Contradiction, Missing, Incomplete: log and target, or the log and what it signed, are not of one piece.
            StoreUnavailable: not now.
        """
        made = await checkpoints.newest(self._database.pool)
        if made is None:
            if await self._target.firsts():
                raise Contradiction(f"the target holds a log, the database has no checkpoint: {OLDER}")
            return False
        if self._tree is None:
            self._tree = await self._resumed(made)
        self._look(made, self._tree.size, await segments.waiting(self._database.pool, self._tree.size))
        return self._tree.size < made.size and await self._write(made, self._tree)

    async def _write(self, made: Made, tree: Frontier) -> bool:
        origin, most = segments.origin_of(made), self._settings.export_bytes
        begun = await self._target.marks(tree.size)
        async with self._database.transaction("export segment", snapshot=True) as tx:
            if begun is None:
                span = await segments.span(tx, tree.size, made.size, most)
                if not span.full and self._waiting < self._settings.export_seconds:
                    return False
                end = span.end
            else:
                end = begun.end
            if end > made.size:
                raise Contradiction(f"the target was to hold {end} leaves, the newest checkpoint has {made.size}")
            marked = await segments.marked(tx, origin, tree.size, end)
            segment = await segments.segment(tx, origin, tree, end, most)
        self._tree = (await self._target.write(tree.size, marked, segment)).tree
        metrics.SEGMENTS.inc()
        log.info("log_exported", first=tree.size, end=end)
        self._look(made, end, await segments.waiting(self._database.pool, end))
        return True

    async def _resumed(self, made: Made) -> Frontier:
        """The tree that the target holds, which must be the log's beginning; the settings' where it holds nothing."""
        place = await self._target.last()
        size = await self._beginning(made) if place is None else place.tree.size
        if size > made.size:
            raise Contradiction(f"the target holds {size} leaves, the newest checkpoint has {made.size}: {OLDER}")
        async with self._database.transaction("export resume", snapshot=True) as tx:
            tree = await frontier(tx, size)
        if place is not None:
            ours = (segments.origin_of(made), tree.to_bytes())
            if (place.origin, place.tree.to_bytes()) != ours:
                raise Contradiction(f"the target's {size} leaves are not the beginning of this log")
        return tree

    async def _beginning(self, made: Made) -> int:
        if self._settings.export_from_seq is None:
            return self._settings.export_from or 0
        found = await segments.at_sequence(self._database.pool, self._settings.export_from_seq)
        return made.size if found is None else found

    def _look(self, made: Made, held: int, waiting: float) -> None:
        self._signed, self._waiting = made.size, waiting
        metrics.SIZE.set(held)
        metrics.BEHIND.set(made.size - held)
        metrics.BEHIND_SECONDS.set(waiting)

    def _say(self, trouble: str | None, *, outage: bool = False) -> None:
        if trouble and trouble != self._trouble:
            (log.warning if outage else log.critical)("export_stands_still", reason=trouble)
        self._trouble = trouble
        metrics.EXPORTING.set(0 if trouble else 1)

    async def _rest(self) -> None:
        """Until the log has grown, or it is time to look."""
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.export_poll_seconds):
                await self._woken.wait()
                await asyncio.sleep(GATHER_SECONDS)

    async def _wake(self, _message: Msg) -> None:
        self._woken.set()
