"""A service's process: settings, logs, health, servers, then its parts, until a signal or a part's end.

Health answers first, so that who waits can see what for. Parts are long-running coroutines; when one ends or fails the
process ends with it and is started again: recovery is driven by what is stored, never by an orderly shutdown.
"""

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import structlog
import uvloop

from libs.common import crash, policy, schema, telemetry
from libs.common.bus import Bus
from libs.common.consumer import Decoder, EventConsumer, Handler
from libs.common.database import Database, patiently
from libs.common.deadletter_desk import DeadLetterDesk
from libs.common.health import Health, server, watch_loop
from libs.common.memory import Memory
from libs.common.puller import BATCH_BYTES
from libs.common.pulse import Pulse
from libs.common.relay import Relay
from libs.common.rpc import RpcServer
from libs.common.settings import ProcessSettings
from libs.common.streams import Epochs
from libs.common.telemetry import log

T = TypeVar("T")
AfterCommit = Callable[[], Awaitable[None]]
EXIT_PART_FAILED: Final = 1
STOP_SECONDS: Final = 10.0
CANCEL_AGAIN_SECONDS: Final = 1.0


class Part(Protocol):
    """Something that runs for as long as the process does."""

    async def run(self) -> None:
        """Run until cancelled."""


@dataclass(slots=True)
class Runtime:
    """What a service's wiring gets: open servers, and where to hang its parts."""

    service: str
    settings: ProcessSettings
    database: Database
    bus: Bus
    epochs: Epochs
    health: Health
    rpc: RpcServer
    pulse: Pulse
    parts: list[tuple[str, Callable[[], Coroutine[Any, Any, None]]]] = field(default_factory=list)
    on_stop: list[Callable[[], Awaitable[None]]] = field(default_factory=list)

    consumers: dict[str, EventConsumer[Any]] = field(default_factory=dict)

    def add(self, name: str, part: Part) -> None:
        """Run `part` as long as the process lives."""
        self.parts.append((name, part.run))

    def consume(
        self,
        stream: str,
        decode: Decoder[T],
        handler: Handler[T],
        after_commit: AfterCommit | None = None,
        *,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        """Apply the service's durable of `stream` with `handler`, at most so many bytes of messages at once."""
        consumer = EventConsumer(
            bus=self.bus,
            database=self.database,
            epochs=self.epochs,
            stream=stream,
            durable=self.service,
            decode=decode,
            handler=handler,
            batch=self.settings.batch,
            max_failures=self.settings.max_failures,
            check_seconds=self.settings.consumer_check_seconds,
            after_commit=after_commit,
            batch_bytes=batch_bytes,
        )
        self.consumers[consumer.name] = consumer
        self.health.add(f"consume {stream}", consumer.reading)
        self.add(f"consume {stream}", consumer)


COLLECT_AFTER: Final = (10_000, 20, 20)
"""Allocations before the youngest generation is collected, and collections before the older ones are."""
Wire = Callable[[Runtime], Awaitable[None]]


def run(service: str, wire: Wire, *, schema_name: str = "", relay: bool = True, by_key: bool = False) -> None:
    """Run a service until SIGTERM or SIGINT (exit 0), or until a part fails (exit 1).

    `relay` publishes the schema's outbox from this process too; all but one of a schema's relays only wait.
    `by_key` is of `Database`.
    """
    crash.rearm()
    settings = ProcessSettings.read()
    telemetry.set_up(service, settings)
    policy.use(policy.from_settings())
    _collect_less()
    code = uvloop.run(_main(service, wire, settings, schema_name or service, relay=relay, by_key=by_key))
    telemetry.shut_down()
    sys.exit(code)


def _collect_less() -> None:
    """What is imported stays; and batches make thousands of objects that live for milliseconds, and no cycles."""
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


async def _main(
    service: str, wire: Wire, settings: ProcessSettings, schema_name: str, *, relay: bool, by_key: bool
) -> int:
    instance = settings.instance or service
    health = Health(service, instance)
    watch_loop(asyncio.get_running_loop(), settings.watchdog_seconds)
    stop = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop.set)
    database = Database(
        settings.postgres_url.get_secret_value(),
        schema=schema_name,
        instance=instance,
        pool_size=settings.pool_size,
        by_key=by_key,
    )
    bus = Bus(settings.nats_url.get_secret_value(), name=instance, identity=service, nkey=settings.nats_nkey)
    rpc, pulse = RpcServer(bus, database, service), Pulse(database)
    runtime = Runtime(service, settings, database, bus, Epochs(bus), health, rpc, pulse)
    work = asyncio.create_task(_work(runtime, wire, relay=relay))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    return await _end(runtime, work)


async def _work(runtime: Runtime, wire: Wire, *, relay: bool) -> None:
    page = server(runtime.health.app, host=runtime.settings.health_host, port=runtime.settings.health_port, dated=False)
    async with asyncio.TaskGroup() as group:
        group.create_task(_part("health", page.serve), name="health")
        await _connect(runtime)
        await wire(runtime)
        if relay:
            poll = runtime.settings.relay_poll_seconds
            runtime.add("relay", Relay(runtime.database, runtime.bus, runtime.pulse, poll_seconds=poll))
        if runtime.consumers:
            DeadLetterDesk(runtime.consumers).register(runtime.rpc)
        runtime.add("pulse", runtime.pulse)
        runtime.add("memory", Memory())
        await runtime.bus.serve()
        for name, part in runtime.parts:
            group.create_task(_part(name, part), name=name)
        runtime.health.starting = None
        log.info("ready")


async def _connect(runtime: Runtime) -> None:
    def waiting(error: BaseException) -> None:
        runtime.health.starting = f"waiting for {step}: {type(error).__name__}"
        log.warning("waiting", what=step, error=f"{type(error).__name__}: {error}")

    step = "postgres"
    await patiently(runtime.database.open, waiting=waiting)
    runtime.health.add("postgres", runtime.database.ping)
    step = "migrations"
    await patiently(lambda: _check_schema(runtime.database), waiting=waiting)
    step = "nats"
    runtime.health.starting = "waiting for nats"
    await runtime.bus.connect()
    runtime.health.add("nats", runtime.bus.ping)


async def _check_schema(database: Database) -> None:
    """A schema that is behind is waited for, as a server is: the migration job may still be at work."""
    try:
        async with database.pool.acquire() as connection:
            await schema.check_schema(connection, database.schema)
    except schema.SchemaBehindError as error:
        raise ConnectionError(str(error)) from None


async def _part(name: str, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
    structlog.contextvars.bind_contextvars(part=name)
    work = asyncio.create_task(part(), name=name)
    try:
        await asyncio.wait({work})
    except asyncio.CancelledError:
        await _ended(work)
        raise
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("part_failed", part=name, exc_info=error)
        raise error
    raise RuntimeError(f"{name} ended by itself")


async def _ended(work: "asyncio.Task[None]") -> None:
    """Cancel until it has ended: before Python 3.12 `asyncio.wait_for`, which clients use, may drop a cancellation.

    One part that goes on would keep the process from ending after another has failed.
    """
    while not work.done():
        work.cancel()
        await asyncio.wait({work}, timeout=CANCEL_AGAIN_SECONDS)
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("part_failed_ending", part=work.get_name(), exc_info=error)


async def _end(runtime: Runtime, work: "asyncio.Task[None]") -> int:
    failed = work.done() and not work.cancelled() and work.exception() is not None
    if failed:
        log.critical("ending", error=repr(work.exception()))
    for callback in runtime.on_stop:
        with contextlib.suppress(Exception):
            await asyncio.wait_for(callback(), STOP_SECONDS)
    work.cancel()
    await asyncio.wait({work}, timeout=STOP_SECONDS)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(runtime.bus.close(), STOP_SECONDS)
    with contextlib.suppress(Exception):
        await asyncio.wait_for(runtime.database.close(), STOP_SECONDS)
    log.info("stopped")
    return EXIT_PART_FAILED if failed else 0
