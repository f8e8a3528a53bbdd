"""Sends the prototype its alerts, and waits until the timeline has each one's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Self

import orjson
from nats.aio.msg import Msg

from bench.limits.pipeline.events import encode, event, fresh_id
from bench.limits.pipeline.links import bus
from bench.limits.pipeline.timeline import DONE

PATIENCE_SECONDS: Final = 120.0


class Driver:
    """As `bench.driver.Driver`, for the prototype."""

    def __init__(self, where: Mapping[str, str]) -> None:
        self._where = where
        self._waiting: dict[str, asyncio.Future[float]] = {}
        self.started = 0

    async def __aenter__(self) -> Self:
        self._client, self._stream = await bus(self._where)
        await self._client.subscribe(DONE, cb=self._done)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._client.close()

    async def one(self) -> float:
        """One alert from its sending to the end of its execution in the table; the seconds between."""
        began = time.perf_counter()
        alert = event("alert.received", fresh_id(), "", 0, "ingest")
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[alert.incident_id] = future
        await self._stream.publish_async("ev.alert", encode(alert), headers={"Nats-Msg-Id": alert.event_id})
        self.started += 1
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await future - began

    async def in_flight(self, count: int, seconds: float) -> tuple[list[float], float]:
        """Keep `count` executions in flight for so long; their seconds, and the time until the last one had ended."""
        found: list[float] = []
        began = time.perf_counter()

        async def again() -> None:
            while time.perf_counter() - began < seconds:
                found.append(await self.one())

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(again())
        return found, time.perf_counter() - began

    async def _done(self, message: Msg) -> None:
        now = time.perf_counter()
        for incident_id in orjson.loads(message.data):
            future = self._waiting.pop(incident_id, None)
            if future is not None and not future.done():
                future.set_result(now)
