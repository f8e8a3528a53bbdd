"""The timeline's parts, put together."""

from libs.common.contracts.choreography import EVENTS
from libs.common.objectsettings import ObjectSettings
from libs.common.process import Runtime
from services.timeline import witnesses
from services.timeline.bundles import BundleDesk, Patience
from services.timeline.exhibits import Limits
from services.timeline.exporting import ExportDesk
from services.timeline.handlers import LogDesk
from services.timeline.keys import KeyFiles
from services.timeline.notary import Notary
from services.timeline.partitions import Partitions
from services.timeline.press import Press
from services.timeline.proving import ProofDesk
from services.timeline.publisher import Guard, Publisher
from services.timeline.redaction import RedactionDesk, Shredder
from services.timeline.retention import Retention
from services.timeline.settings import TimelineSettings
from services.timeline.stream import EventStream
from services.timeline.witnesses import WitnessDesk
from services.timeline.writer import Writer

DURABLE = "timeline"


async def wire(runtime: Runtime) -> None:
    """One writer (working or standing by), who signs and publishes, the desk that answers, what deletes in the end."""
    stream = EventStream(runtime.bus, EVENTS, DURABLE)
    settings = TimelineSettings.read()
    store = ObjectSettings.read().store()
    origin = settings.timeline_origin
    keys = KeyFiles("RR_TIMELINE_KEY_FILE", settings.timeline_key_file, name=origin)
    press = Press(runtime.database, store, origin=origin)
    guard = Guard(runtime.database, press, keys)
    notary = Notary(runtime.database, keys, origin=origin)
    writer = Writer(runtime.database, runtime.bus, stream, settings, guard)
    days, seconds = settings.kept_days, settings.keep_sweep_seconds
    runtime.add("writer", writer)
    runtime.add("publisher", Publisher.of(writer, guard, notary, press, settings))
    runtime.add("retention", Retention(runtime.database, store, writer, stream, days=days, seconds=seconds))
    shred = settings.timeline_shred_seconds
    runtime.add("shredder", Shredder(runtime.database, store, writer, seconds=shred))
    runtime.health.add("log", writer.ready)
    runtime.add("partitions", Partitions(runtime.database, seconds=settings.timeline_partition_seconds))
    LogDesk(writer, notary).register(runtime.rpc)
    ProofDesk(origin).register(runtime.rpc)
    try:
        known = witnesses.parsed(settings.witness_vkeys)
    except ValueError as error:
        raise SystemExit(f"settings: RR_WITNESS_VKEYS: {error}") from None
    WitnessDesk(origin, known).register(runtime.rpc)
    bundles = BundleDesk(
        origin,
        runtime.database,
        store,
        log_keys=keys,
        bundle_keys=KeyFiles("RR_BUNDLE_KEY_FILE", settings.bundle_key_file, name=f"{origin}/bundles"),
        witnesses=known,
        limits=Limits(settings.bundle_object_bytes, settings.bundle_bytes),
        patience=Patience(settings.bundle_wait_seconds, settings.bundle_seconds),
    )
    bundles.register(runtime.rpc)
    RedactionDesk(origin, runtime.database).register(runtime.rpc)
    ExportDesk(origin).register(runtime.rpc)
