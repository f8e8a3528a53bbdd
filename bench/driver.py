"""Plays the world around the product: alerts go in on the bus, and what becomes of them is watched there.

An execution is over for us when the timeline says that it has chained the fact of its end.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Final, Self

import orjson
from nats.aio.msg import Msg
from nats.js.api import DeliverPolicy

from bench.errors import NotInTime
from libs.common.contracts.alert import SUBJECT_EVENT
from libs.common.contracts.choreography import EVENTS
from libs.common.contracts.execution import ExecutionCompleted, StepCompleted
from libs.common.contracts.incident import IncidentCreated
from libs.common.ids import new_id
from libs.common.outbox import POSITION_SUBJECT
from runbook_ranger.stack.plan import Urls

STARTS_AT: Final = "2026-03-01T10:00:00Z"
ENDS_AT: Final = "2026-03-01T11:00:00Z"
PATIENCE_SECONDS: Final = 120.0
PENDING: Final = 4000
_FIRST_STEP: Final = b'"step":"one"'


def alert(name: str, case: str, *, status: str = "firing") -> bytes:
    """An alert in the product's own form; each case is a problem of its own."""
    ends = {"ends_at": ENDS_AT} if status == "resolved" else {}
    body = {
        "name": name,
        "status": status,
        "severity": "high",
        "labels": {"case": case, "service": "checkout", "region": "eu-west-1"},
        "fingerprint": case,
        "starts_at": STARTS_AT,
        **ends,
    }
    return orjson.dumps(body)


class Driver:
    """Sends alerts named `name`, which start the runbook of that name, and follows their executions to the log.

    With `ends`, each alert ends once the first step has taken effect, as it would in life: that is what the
    verification of a runbook of changes waits for.
    """

    def __init__(self, urls: Urls, name: str, *, ends: bool) -> None:
        self._urls = urls
        self._name = name
        self._runbook = name.replace("_", "-")
        self._ends = ends
        self._cases: dict[str, str] = {}
        self._waiting: dict[str, asyncio.Future[float]] = {}
        self._unchained: list[tuple[int, str]] = []
        self._position = 0
        self._early: dict[str, list[Msg]] = {}
        self.started = 0

    async def __aenter__(self) -> Self:
        self._nc = await self._urls.bus(allow_reconnect=False)
        self._js = self._nc.jetstream(publish_async_max_pending=PENDING)
        await self._nc.subscribe(POSITION_SUBJECT, cb=self._chained)
        await self._nc.subscribe(IncidentCreated.subject, cb=self._opened)
        if self._ends:
            await self._nc.subscribe(StepCompleted.subject, cb=self._stepped)
        self._ends_heard = await self._js.subscribe(
            ExecutionCompleted.subject,
            stream=EVENTS,
            cb=self._completed,
            ordered_consumer=True,
            deliver_policy=DeliverPolicy.NEW,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self._ends_heard.unsubscribe()
        await self._nc.close()

    async def one(self) -> float:
        """One alert from its sending to the end of its execution in the log; the seconds between.

        Raises:
            NotInTime: it did not come there.
        """
        case = f"{self._name}-{new_id()}"
        future: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[case] = future
        began = time.perf_counter()
        await self._send(alert(self._name, case))
        self.started += 1
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await future - began
        except TimeoutError:
            raise NotInTime(f"the execution of {case} did not end within {PATIENCE_SECONDS:.0f} s") from None

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

    async def some(self, count: int, *, in_flight: int) -> None:
        """`count` executions, so many of them at once."""
        left = iter(range(count))

        async def again() -> None:
            for _ in left:
                await self.one()

        async with asyncio.TaskGroup() as group:
            for _ in range(in_flight):
                group.create_task(again())

    async def _send(self, body: bytes) -> None:
        await self._js.publish_async(SUBJECT_EVENT, body, headers={"Nats-Msg-Id": new_id()})

    async def _opened(self, message: Msg) -> None:
        fact = orjson.loads(message.data)
        case = fact["fingerprint"]
        if case in self._waiting:
            self._cases[fact["incident_id"]] = case
            for early in self._early.pop(fact["incident_id"], []):
                await (self._stepped if early.subject == StepCompleted.subject else self._completed)(early)

    async def _stepped(self, message: Msg) -> None:
        if _FIRST_STEP not in message.data:
            return
        case = self._case(message)
        if case is not None:
            await self._send(alert(self._name, case, status="resolved"))

    async def _completed(self, message: Msg) -> None:
        case = self._case(message)
        if case is not None:
            heapq.heappush(self._unchained, (message.metadata.sequence.stream, case))
            self._settle()

    def _case(self, message: Msg) -> str | None:
        """The case that a fact is about; a fact that overtakes its incident's first one on the way to us is kept."""
        fact = orjson.loads(message.data)
        if fact["runbook_id"] != self._runbook:
            return None  # another driver's
        incident_id = fact["incident_id"]
        if incident_id not in self._cases:
            self._early.setdefault(incident_id, []).append(message)
        return self._cases.get(incident_id)

    async def _chained(self, message: Msg) -> None:
        self._position = max(self._position, orjson.loads(message.data)["seq"])
        self._settle()

    def _settle(self) -> None:
        now = time.perf_counter()
        while self._unchained and self._unchained[0][0] <= self._position:
            _, case = heapq.heappop(self._unchained)
            future = self._waiting.pop(case, None)
            if future is not None and not future.done():
                future.set_result(now)


async def eventually(what: str, fn: Callable[[], Awaitable[bool]], *, seconds: float = 60, every: float = 0.05) -> None:
    """Wait until `fn` is true.

    Raises:
        NotInTime: it was not, within `seconds`.
    """
    deadline = time.monotonic() + seconds
    while not await fn():
        if time.monotonic() > deadline:
            raise NotInTime(f"{what}: not within {seconds:.0f} s")
        await asyncio.sleep(every)
