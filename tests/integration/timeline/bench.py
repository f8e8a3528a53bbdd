"""A log and a stream to try things on: publishes facts as producers do, runs writers, looks at what was logged."""

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

import orjson
from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StorageType, StreamConfig

from libs.common.bus import Bus, Outgoing, Stored
from libs.common.contracts.envelope import Envelope
from libs.common.database import Database
from libs.common.streams import EPOCH_KEY
from libs.tlog.verify import Report
from services.timeline import storage
from services.timeline.audit import audit
from services.timeline.ledger import Ledger
from services.timeline.settings import TimelineSettings
from services.timeline.stream import EventStream
from services.timeline.writer import Writer
from tests.support.eventually import eventually

DURABLE = "timeline"


class Bench:
    """One test's stream `T<n>` with subjects `t<n>.*`, its durable, and an empty log."""

    def __init__(
        self, client: Client, database: Database, bus: Bus, settings: TimelineSettings, *, number: int
    ) -> None:
        self.client = client
        self.database = database
        self.bus = bus
        self.settings = settings
        self.name = f"T{number}"
        self.type = f"t{number}.created"
        self.stream = EventStream(bus, self.name, DURABLE)
        self._published = 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self.make_stream(epoch=1)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            await stop(task)
        await self.client.jetstream().delete_stream(self.name)

    async def make_stream(self, *, epoch: int, first: int = 1) -> None:
        """Make the stream and its durable as provisioning does, except that messages may be deleted."""
        js = self.client.jetstream()
        await js.add_stream(
            StreamConfig(
                name=self.name,
                subjects=[f"t{self.name[1:]}.*"],
                storage=StorageType.FILE,
                first_seq=first,
                metadata={EPOCH_KEY: str(epoch)},
            )
        )
        await self.make_durable()

    async def make_durable(self) -> None:
        await self.client.jetstream().add_consumer(
            self.name, ConsumerConfig(durable_name=DURABLE, ack_policy=AckPolicy.ALL, max_ack_pending=10_000)
        )

    async def raise_epoch(self, epoch: int) -> None:
        """Raise the epoch alone, while the stream and its durable stay."""
        js = self.client.jetstream()
        config = (await js.stream_info(self.name)).config
        config.metadata = {**(config.metadata or {}), EPOCH_KEY: str(epoch)}
        await js.update_stream(config)

    async def remake_stream(self, *, epoch: int, first: int = 1) -> None:
        await self.client.jetstream().delete_stream(self.name)
        await self.make_stream(epoch=epoch, first=first)

    def fact(self, number: int, **changed: Any) -> Envelope:
        """The fact of this number: always the same."""
        told: dict[str, Any] = {
            "id": str(uuid.UUID(int=number)),
            "type": self.type,
            "source": "/svc/incident",
            "time": "2026-03-01T09:59:50.000000Z",
            "aggregate_type": "incident",
            "aggregate_id": f"incident-{number % 10}",
            "aggregate_version": number // 10 + 1,
            "tenant": "t_a1",
            "actor": "usr_7f3a",
            "correlation": "c-1",
            "incident_id": f"incident-{number % 10}",
            "execution_id": f"execution-{number % 7}" if number % 2 else "",
            "salt": number.to_bytes(32, "big"),
        }
        return Envelope(**{**told, **changed})

    def outgoing(self, number: int, *, payload: bytes | None = None, **changed: Any) -> Outgoing:
        headers = self.fact(number, **changed).to_headers()
        # A new message id each time: the stream's window would drop what these tests want to see arrive.
        self._published += 1
        headers["Nats-Msg-Id"] = f"{self.name}-{self._published}-{uuid.uuid4()}"
        return Outgoing(self.type, payload or orjson.dumps({"number": number}), headers)

    async def publish(self, *numbers: int) -> None:
        await self.send([self.outgoing(number) for number in numbers])

    async def send(self, messages: Sequence[Outgoing]) -> None:
        for start in range(0, len(messages), 500):
            outcomes = await self.bus.publish(messages[start : start + 500])
            assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes

    async def send_raw(self, payload: bytes, headers: dict[str, str] | None = None) -> None:
        await self.client.jetstream().publish(self.type, payload, headers=headers)

    def writer(self, *, bus: Bus | None = None, database: Database | None = None) -> Writer:
        bus = bus or self.bus
        stream = EventStream(bus, self.name, DURABLE)
        return Writer(database or self.database, bus, stream, self.settings)

    def start(self, writer: Writer | None = None) -> "asyncio.Task[None]":
        task = asyncio.create_task((writer or self.writer()).run())
        self._tasks.append(task)
        return task

    async def ledger(self) -> Ledger:
        """The log under a new term, held by the test itself instead of a running writer."""
        state = await storage.begin_term(self.database, origin=self.settings.timeline_origin, stream=self.name, epoch=1)
        return Ledger(self.database, state)

    async def caught_up(self, seq: int, *, epoch: int = 1, timeout: float = 10) -> None:
        async def there() -> bool:
            return await self.position() == (epoch, seq)

        await eventually(there, timeout=timeout)

    async def position(self) -> tuple[int, int]:
        row = await self.database.pool.fetchrow("SELECT epoch, seq FROM log_state")
        return (row["epoch"], row["seq"]) if row else (0, 0)

    async def kinds(self) -> list[str]:
        return [row["kind"] for row in await self.database.pool.fetch("SELECT kind FROM leaf ORDER BY index")]

    async def leaves(self) -> list[Any]:
        """All leaves, parsed."""
        return [orjson.loads(row["leaf"]) for row in await self.rows()]

    async def rows(self) -> list[Any]:
        return list(await self.database.pool.fetch("SELECT index, leaf, event_hash FROM leaf ORDER BY index"))

    async def verified(self) -> Report:
        report = await audit(self.database)
        assert report is not None
        return report


async def stop(task: "asyncio.Task[None]") -> None:
    """Cancel a writer, as a kill would at the await it stands at."""
    while not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=2)
    with suppress(asyncio.CancelledError):
        await task
