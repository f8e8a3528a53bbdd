"""What a worker is made of."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

import orjson
from faststream import AckPolicy
from faststream.redis import RedisBroker, StreamSub
from faststream.redis.annotations import RedisBatchStreamMessage
from redis.exceptions import RedisError

from libs.actions import ActionSettings, Egress, Registry
from libs.common.artefacts import Artefacts
from libs.common.clock import utc_now
from libs.common.objectsettings import ObjectSettings
from libs.common.outbox import Outbox
from libs.common.process import Runtime
from libs.common.rounds import until_next
from libs.common.rpc import RpcClient
from libs.common.telemetry import log
from services.executor.claims import Claims
from services.executor.hints import DATA_KEY, GROUP, STREAMS, Hints, connect
from services.executor.model import SERVICE
from services.executor.settings import ExecutorSettings
from services.executor.settlement import Settlements
from services.executor.succession import Succession
from services.executor.worker.attempts import Entry, Means, Worker
from services.executor.worker.evidence import EvidenceBundle
from services.executor.worker.leases import Leases
from services.executor.worker.objects import Objects
from services.executor.worker.simulation import Simulate

BLOCK_MILLISECONDS: Final = 3000
"""A read that waits: for less than the five seconds after which the client takes the server for gone."""
READ_AT_ONCE: Final = 64
WATCH_SECONDS: Final = 1.0
_FIELD: Final = DATA_KEY.encode()


async def wire(runtime: Runtime) -> None:
    """Hang a worker's parts on the process."""
    if runtime.settings.redis_url is None:
        raise SystemExit("settings: RR_REDIS_URL is missing; a worker hears of its work there")
    settings = ExecutorSettings.read()
    actions = ActionSettings()
    url = runtime.settings.redis_url.get_secret_value()
    instance = runtime.settings.instance or "worker"
    hints = Hints(connect(url, name=instance))
    outbox = Outbox(SERVICE, runtime.database.schema)
    egress = Egress(actions.egress())
    objects = Objects(Artefacts(ObjectSettings.read().store()))
    worker = Worker(
        database=runtime.database,
        claims=Claims(runtime.database, outbox, settings, worker_id=instance, clock=utc_now),
        settlements=Settlements(
            runtime.database, outbox, clock=utc_now, succession=Succession(settings, worker_id=instance)
        ),
        hints=hints,
        leases=Leases(runtime.database, settings),
        means=Means(_registry(runtime, objects), egress, actions.shell(), actions.channels(), objects),
        settings=settings,
    )
    ear = Ear(url, instance, worker, hints)
    runtime.health.add("redis", hints.ping)
    runtime.add("worker", worker)
    runtime.add("ear", ear)
    runtime.on_stop += [ear.stop, lambda: worker.drain(settings.drain_seconds), egress.close]


def _registry(runtime: Runtime, objects: Objects) -> Registry:
    """The installed actions, and those that are ours alone because they ask other services."""
    client = RpcClient(runtime.bus, timeout=runtime.settings.rpc_timeout_seconds)
    acting = Registry([*Registry.installed(), EvidenceBundle(client, objects)])
    return Registry([*acting, Simulate(acting)])


class Ear:
    """Hears hints through FastStream's Redis broker; when a flush has swept the group away, makes it and listens on."""

    def __init__(self, url: str, consumer: str, worker: Worker, hints: Hints) -> None:
        self._worker = worker
        self._hints = hints
        self._broker = RedisBroker(
            url, logger=logging.getLogger("faststream.redis"), log_level=logging.DEBUG, client_name=f"{consumer}-ear"
        )
        self._subscribers: list[Any] = []
        for stream in STREAMS:
            subscriber = self._broker.subscriber(
                stream=StreamSub(
                    stream,
                    group=GROUP,
                    consumer=consumer,
                    batch=True,
                    max_records=READ_AT_ONCE,
                    last_id=">",
                    polling_interval=BLOCK_MILLISECONDS,
                ),
                ack_policy=AckPolicy.MANUAL,
            )
            subscriber(self._handler(stream))
            self._subscribers.append(subscriber)

    async def run(self) -> None:
        """Listen until cancelled; Redis being down delays hints and nothing else."""
        await self._patiently(self._hints.ensure_groups)
        await self._patiently(self._broker.start)
        while True:
            await asyncio.sleep(until_next(WATCH_SECONDS))
            for subscriber in self._subscribers:
                if not subscriber.running:
                    log.warning("hint_group_gone", stream=subscriber.stream_sub.name)
                    await self._patiently(self._hints.ensure_groups)
                    await self._patiently(subscriber.start)

    async def stop(self) -> None:
        """Hear nothing more."""
        await self._broker.stop()

    def _handler(self, stream: str) -> Callable[[RedisBatchStreamMessage], Awaitable[None]]:
        async def handle(message: RedisBatchStreamMessage) -> None:
            raw = message.raw_message
            entries = [
                _entry(stream, entry_id, fields)
                for entry_id, fields in zip(raw["message_ids"], raw["data"], strict=True)
            ]
            await self._worker.take(entries)

        return handle

    async def _patiently(self, work: Callable[[], Awaitable[Any]]) -> None:
        while True:
            try:
                await work()
            except (RedisError, OSError) as error:
                log.warning("redis_waits", error=f"{type(error).__name__}: {error}")
                await asyncio.sleep(1)
            else:
                return


def _entry(stream: str, entry_id: bytes, fields: dict[bytes, bytes]) -> Entry:
    """The hint in a stream entry; what is not a hint becomes one that nobody is ready for, and is deleted."""
    try:
        data = orjson.loads(fields[_FIELD])
        return Entry(stream, entry_id, str(data["action_id"]), str(data.get("traceparent", "")))
    except (KeyError, TypeError, orjson.JSONDecodeError):
        return Entry(stream, entry_id, "00000000-0000-0000-0000-000000000000", "")
