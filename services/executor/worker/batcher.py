"""Groups what has arrived into one call, and never waits for more."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from libs.common.database import TRANSIENT
from libs.common.telemetry import log

I = TypeVar("I")  # noqa: E741 — items in
O = TypeVar("O")  # noqa: E741 — outcomes out


class Batcher(Generic[I, O]):
    """Calls `work` with the items that are waiting, at most `limit`; each submitter gets its own item's outcome.

    When a server does not answer, the same items are tried again, for as long as it takes; any other error is the
    submitters'.
    """

    def __init__(self, name: str, work: Callable[[Sequence[I]], Awaitable[Sequence[O]]], *, limit: int) -> None:
        self._name = name
        self._work = work
        self._limit = limit
        self._waiting: list[tuple[I, asyncio.Future[O]]] = []
        self._wake = asyncio.Event()

    async def submit(self, item: I) -> O:
        """The outcome of `item`, after the call that took it."""
        future: asyncio.Future[O] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._wake.set()
        return await future

    def post(self, item: I) -> None:
        """Submit `item` without waiting for its outcome; an error is logged."""
        future: asyncio.Future[O] = asyncio.get_running_loop().create_future()
        future.add_done_callback(self._note_error)
        self._waiting.append((item, future))
        self._wake.set()

    def _note_error(self, future: "asyncio.Future[O]") -> None:
        if not future.cancelled() and future.exception() is not None:
            log.error("posted_item_failed", what=self._name, error=repr(future.exception()))

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch, self._waiting = self._waiting[: self._limit], self._waiting[self._limit :]
                await self._do(batch)

    async def _do(self, batch: "list[tuple[I, asyncio.Future[O]]]") -> None:
        delay = 0.05
        while True:
            batch = [(item, future) for item, future in batch if not future.done()]
            if not batch:
                return
            try:
                outcomes = await self._work([item for item, _ in batch])
            except TRANSIENT as error:
                log.warning("batch_waits", what=self._name, size=len(batch), error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)
                continue
            except Exception as error:  # noqa: BLE001 — it is the submitters' to handle
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                return
            for (_, future), outcome in zip(batch, outcomes, strict=True):
                if not future.done():
                    future.set_result(outcome)
            return
