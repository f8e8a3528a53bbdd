"""The end of the stream EVENTS, as one process sees it, shared by all who follow it.

What facts are published on wakes it, and a look each second makes up for a wake that was lost. While nobody listens,
nothing is read. Only the newest events are kept here, ids and types without payloads; followers hold a position.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from typing import Final

from nats.aio.msg import Msg

from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS, STREAMS
from libs.common.errors import Unavailable
from libs.common.telemetry import log
from services.gateway.reader import OUTAGES, READ_SECONDS, Event, Page, Reader

KEEP: Final = 4096
POLL_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 0.02
"""What arrives within this time is read at once; and a wake may come that much before the message is stored."""
TRIES: Final = 4


class Tail:
    """Follows EVENTS while somebody listens; a part of the process, and only one task may `run` it."""

    def __init__(self, bus: Bus, *, keep: int = KEEP, listeners: int = 500) -> None:
        self._bus = bus
        self.reader = Reader(bus)
        self._most = listeners
        self._listeners = 0
        self._wanted = asyncio.Event()
        self._hint = asyncio.Event()
        self._turn = asyncio.Event()
        self._recent: deque[Event] = deque(maxlen=keep)
        self._stale = False
        self._floor = 0  # everything after it, up to `last`, is in `_recent`
        self.epoch = 0
        self.last = 0
        self.closing = False
        bus.on_reconnect(self._forget)

    async def run(self) -> None:
        """Follow for as long as the process lives; a bus that is away is waited for."""
        while True:
            await self._wanted.wait()
            await self._follow()

    def close(self) -> None:
        """Let every follower go."""
        self.closing = True
        self._tell()

    @property
    def full(self) -> bool:
        """Whether as many listen as may."""
        return self._listeners >= self._most

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Keep the tail followed within the block, which begins once it is.

        Raises:
            Unavailable: too many listen, or the bus does not answer.
        """
        if self.full:
            raise Unavailable("Too many follow the events here.", fix="Try again later, or at another gateway.")
        self._listeners += 1
        self._wanted.set()
        try:
            await self._followed()
            yield
        finally:
            self._listeners -= 1
            if not self._listeners:
                self._wanted.clear()
                self._hint.set()

    def since(self, seq: int) -> list[Event] | None:
        """What is known after `seq`, oldest first; None when it reaches back further than is kept."""
        if seq < self._floor:
            return None
        found = []
        for event in reversed(self._recent):
            if event.seq <= seq:
                break
            found.append(event)
        return found[::-1]

    async def changed(self, beyond: int, epoch: int, timeout: float) -> bool:
        """Whether there is something after `beyond`, or another epoch, or an end, within `timeout` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self.last <= beyond and self.epoch == epoch and not self.closing:
                    await self._turn.wait()
        except TimeoutError:
            return False
        return True

    async def _followed(self) -> None:
        try:
            async with asyncio.timeout(READ_SECONDS):
                while not self.epoch:
                    await self._turn.wait()
        except TimeoutError:
            raise Unavailable("The events cannot be read now.", fix="Try again.") from None

    async def _follow(self) -> None:
        subscriptions = [await self._bus.subscribe(subject, self._woken) for subject in STREAMS[EVENTS]]
        try:
            while self._listeners:
                try:
                    await self._look()
                except Unavailable as error:
                    log.warning("events_unread", detail=error.detail)
                    await asyncio.sleep(POLL_SECONDS)
        finally:
            self.epoch = 0
            with contextlib.suppress(*OUTAGES):
                for subscription in subscriptions:
                    await subscription.unsubscribe()

    async def _look(self) -> None:
        """Wait for a hint or for the poll, then read whatever has come; the poll checks that the stream is the same."""
        if self.epoch and not self._stale and await self._hinted():
            await self._read()
            return
        self._stale = False
        place = await self.reader.place()
        if place.epoch != self.epoch or place.last < self.last:
            self._recent.clear()
            self.epoch, self._floor, self.last = place.epoch, place.last, place.last
            self._tell()
        elif place.last > self.last:
            await self._read()

    async def _hinted(self) -> bool:
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._hint.wait()
        except TimeoutError:
            return False
        return not self._stale

    async def _read(self) -> None:
        for _ in range(TRIES):
            await asyncio.sleep(GATHER_SECONDS)
            self._hint.clear()
            page = await self.reader.page(self.last)
            if page.last:
                break
        else:
            return
        self._keep(page)
        while page.more:
            page = await self.reader.page(self.last)
            self._keep(page)

    def _keep(self, page: Page) -> None:
        if not page.last:
            return
        for event in page.events:
            if len(self._recent) == self._recent.maxlen:
                self._floor = self._recent[0].seq
            self._recent.append(event)
        self.last = page.last
        self._tell()

    def _tell(self) -> None:
        turn, self._turn = self._turn, asyncio.Event()
        turn.set()

    async def _woken(self, _message: Msg) -> None:
        self._hint.set()

    async def _forget(self) -> None:
        """After a reconnect the stream may be another one: the next look asks for its place first."""
        self._stale = True
        self._hint.set()
