"""The timeline's parts, put together."""

from libs.common.contracts.choreography import EVENTS
from libs.common.objectsettings import ObjectSettings
from libs.common.process import Runtime
from services.timeline.handlers import LogDesk
from services.timeline.partitions import Partitions
from services.timeline.retention import Retention
from services.timeline.settings import TimelineSettings
from services.timeline.stream import EventStream
from services.timeline.writer import Writer

DURABLE = "timeline"


async def wire(runtime: Runtime) -> None:
    """One writer (working or standing by), the desk that answers questions, and what deletes when a retention ends."""
    stream = EventStream(runtime.bus, EVENTS, DURABLE)
    settings = TimelineSettings.read()
    writer = Writer(runtime.database, runtime.bus, stream, settings)
    store = ObjectSettings.read().store()
    days, seconds = settings.kept_days, settings.keep_sweep_seconds
    runtime.add("writer", writer)
    runtime.add("retention", Retention(runtime.database, store, writer, stream, days=days, seconds=seconds))
    runtime.health.add("log", writer.ready)
    runtime.add("partitions", Partitions(runtime.database, seconds=settings.timeline_partition_seconds))
    LogDesk(writer).register(runtime.rpc)
