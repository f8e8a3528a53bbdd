"""Keeps what is signed and published close behind the log, and looks whether what was published is still its beginning.

Works where the writer does. A store or a key that is not there delays it, and the log goes on; what contradicts the log
freezes it, by way of the writer's own checks: whoever takes the log over meets the same contradiction.
"""

import asyncio
import time
from typing import Final, Protocol

import asyncpg

from libs.common.database import TRANSIENT, Database
from libs.common.objectstore import StoreUnavailable
from libs.common.telemetry import log
from libs.tlog.checkpoint import Checkpoint
from libs.tlog.errors import ProofError
from libs.tlog.growth import Growth
from libs.tlog.note import Signer
from services.timeline import checkpoints, metrics, storage
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.errors import Frozen
from services.timeline.keys import KeyFiles, KeyTrouble
from services.timeline.notary import Notary
from services.timeline.press import Press
from services.timeline.settings import TimelineSettings

RETRY_SECONDS: Final = 1.0


class Guard:
    """Whether the database still holds the log that was signed and published. Asked before anything is appended."""

    def __init__(self, database: Database, press: Press, keys: KeyFiles) -> None:
        self._database = database
        self._press = press
        self._keys = keys
        self.published = 0
        self.checked = False

    async def check(self) -> None:
        """Look at what is signed and what is published; `checked` says whether the store could be asked.

        Raises:
            Frozen: the database holds less than was published, or something else.
        """
        self.checked = False
        published = await self._published()
        async with self._database.transaction("timeline look", snapshot=True) as tx:
            forks, made = await checkpoints.forks(tx), await checkpoints.newest(tx)
            state = await storage.read_state(tx)
        size = state.tree.size if state else 0
        for at, roots in forks:
            raise Frozen(f"two roots were signed at size {at}: {' and '.join(roots)}; both notes are kept")
        if made and made.size > size:
            raise Frozen(f"a checkpoint of size {made.size} was signed, the log has {size} leaves")
        if made and (root := await self._root(made.size, made)) != made.root:
            raise Frozen(
                f"the database gives the root {root.hex()} at size {made.size}, but {made.root.hex()} was signed there"
            )
        if published:
            found, note = published
            if found.size > size:
                raise Frozen(
                    f"a checkpoint of size {found.size} is published, the database has {size} leaves: "
                    "it is an older one; restore a newer one, or rebuild the log"
                )
            await self._press.compare(await self._ours(found.size, made), found, note)
        self.published = published[0].size if published else 0

    async def _published(self) -> tuple[Checkpoint, bytes] | None:
        try:
            found = await self._press.newest(self._signers())
        except StoreUnavailable as error:
            log.warning("timeline_unchecked", error=str(error))
            return None
        self.checked = True
        return found

    async def _ours(self, size: int, newest: Made | None) -> Made:
        """What the database gives at a published size: signed, or computed from the leaves."""
        if newest and newest.size == size:
            return newest
        stored = await checkpoints.at(self._database.pool, size)
        return stored or Made(size, await self._root(size, None))

    async def _root(self, size: int, made: Made | None) -> bytes:
        async with self._database.transaction("timeline root", snapshot=True) as tx:
            try:
                tree = await checkpoints.growth(tx, size) if made else Growth()
                await checkpoints.grown(tx, tree, size)
            except (Incomplete, ProofError) as error:
                raise Frozen(f"the database does not hold the log that was signed: {error}") from None
        return tree.root()

    def _signers(self) -> tuple[Signer, ...]:
        try:
            return self._keys.signers()
        except KeyTrouble:
            return ()


class Watched(Protocol):
    """What is asked of the writer."""

    active: bool
    grown: asyncio.Event

    def distrust(self) -> None:
        """Take the log over anew, with all checks."""


class Publisher:
    """Signs and publishes within `seconds` after the log has grown, and at most once in as many."""

    def __init__(
        self, writer: Watched, guard: Guard, notary: Notary, press: Press, *, seconds: float, recheck_seconds: float
    ) -> None:
        self._writer = writer
        self._guard = guard
        self._notary = notary
        self._press = press
        self._seconds = seconds
        self._recheck = recheck_seconds
        self._looked = time.monotonic()

    @classmethod
    def of(cls, writer: Watched, guard: Guard, notary: Notary, press: Press, settings: TimelineSettings) -> "Publisher":
        """With the intervals that the settings name."""
        seconds, recheck = settings.timeline_checkpoint_seconds, settings.timeline_published_seconds
        return cls(writer, guard, notary, press, seconds=seconds, recheck_seconds=recheck)

    async def run(self) -> None:
        """Sign and publish until cancelled."""
        while True:
            began = time.monotonic()
            try:
                if self._writer.active:
                    await self.round()
            except Frozen as frozen:
                log.critical("timeline_contradiction", reason=frozen.reason)
                self._writer.distrust()
                await asyncio.sleep(RETRY_SECONDS)
            except (*TRANSIENT, asyncpg.PostgresError, StoreUnavailable) as error:
                log.warning("timeline_unpublished", error=f"{type(error).__name__}: {error}")
                metrics.PUBLISHING.set(0)
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(max(0.0, self._seconds - (time.monotonic() - began)))
            await self._growth()

    async def round(self) -> None:
        """Look, where it is time to; sign what is not signed, then publish that, and what witnesses have signed."""
        now = time.monotonic()
        if not self._guard.checked or now - self._looked >= self._recheck:
            self._looked = now
            await self._guard.check()
        if not self._guard.checked:
            return
        made = await self._notary.sign()
        if made is not None and made.size > self._guard.published:
            await self._press.publish(made, self._guard.published)
            self._guard.published = made.size
        if (seen := await self._notary.witnessed()) and seen.size <= self._guard.published:
            await self._press.witness(seen)
        metrics.PUBLISHING.set(1)

    async def _growth(self) -> None:
        try:
            async with asyncio.timeout(self._recheck):
                await self._writer.grown.wait()
        except TimeoutError:
            return
        self._writer.grown.clear()
