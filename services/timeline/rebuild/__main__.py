"""`python -m services.timeline.rebuild [--exports] [--vkey VKEY]… [--continue] [--unmarked]`.

With the variables of the timeline's process; `RR_EXPORT_URL` names the exports, and `--exports` wants them read.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import asyncpg

from libs.common.bus import Bus
from libs.common.contracts.choreography import EVENTS
from libs.common.database import TRANSIENT, Database
from libs.common.errors import RangerError
from libs.common.objectsettings import ObjectSettings
from libs.tlog.errors import TlogError
from libs.tlog.note import Verifier
from services.timeline.checkpoints import Incomplete
from services.timeline.errors import WriterStopped
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.keys import KeyFiles, KeyTrouble
from services.timeline.rebuild.rebuilder import Rebuilder, Rebuilt, Refused
from services.timeline.rebuild.sources import Exports, Unmarked
from services.timeline.rebuild.tail import Lost
from services.timeline.settings import TimelineSettings
from services.timeline.stream import EventStream
from services.timeline.tables import SCHEMA
from services.timeline.wiring import DURABLE


def main(words: Sequence[str] | None = None) -> None:
    """Rebuild the log and say what was done; end with 1, and nothing written, where it cannot be."""
    asked = _parser().parse_args(words)
    settings = TimelineSettings.read()
    try:
        verifiers = _verifiers(asked.vkey, settings)
        done = asyncio.run(_rebuild(asked, settings, verifiers))
    except (Refused, Unmarked, Lost, KeyTrouble, TlogError, Incomplete, WriterStopped) as refusal:
        sys.exit(f"NOT REBUILT: {refusal}")
    except (RangerError, asyncpg.PostgresError, *TRANSIENT) as error:
        sys.exit(f"NOT REBUILT: {getattr(error, 'detail', None) or f'{type(error).__name__}: {error}'}")
    state = done.state
    sys.stdout.write(
        f"rebuilt {state.tree.size} leaves, {min(done.exported, state.tree.size)} of them from exports; "
        f"root {state.tree.root().hex()}\n"
        f"the writer goes on behind {state.stream} epoch {state.epoch} sequence {state.seq}\n"
    )


async def _rebuild(asked: argparse.Namespace, settings: TimelineSettings, verifiers: Sequence[Verifier]) -> Rebuilt:
    url, origin = settings.postgres_url.get_secret_value(), settings.timeline_origin
    database = Database(url, schema=SCHEMA, instance="timeline rebuild", pool_size=2)
    bus = Bus(
        settings.nats_url.get_secret_value(), name="timeline rebuild", identity="timeline", nkey=settings.nats_nkey
    )
    await database.open()
    try:
        await bus.connect()
        stream = EventStream(bus, EVENTS, DURABLE)
        rebuilder = Rebuilder(
            database, ObjectSettings.read().store(), stream, verifiers, _exports() if asked.exports else None,
            origin=origin, unmarked=asked.unmarked, go_on=asked.go_on,
        )  # fmt: skip
        return await rebuilder.run()
    finally:
        await bus.close()
        await database.close()


def _exports() -> Exports:
    settings = ExporterSettings.read()
    parts = urlsplit(settings.export_url)
    return Exports(settings.target(), Path(unquote(parts.path)) if parts.scheme == "file" else None)


def _verifiers(words: Sequence[str], settings: TimelineSettings) -> list[Verifier]:
    """The keys that must have signed: those that are named, or the log's own."""
    if words:
        return [Verifier.parse(word) for word in words]
    keys = KeyFiles("RR_TIMELINE_KEY_FILE", settings.timeline_key_file, name=settings.timeline_origin)
    return [signer.verifier for signer in keys.signers()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.timeline.rebuild", description="Rebuild the log.")
    parser.add_argument("--exports", action="store_true", help="read the exports at RR_EXPORT_URL")
    parser.add_argument("--vkey", action="append", default=[], help="a key that must have signed; none: the log's own")
    parser.add_argument("--continue", dest="go_on", action="store_true", help="go on with an older log")
    parser.add_argument("--unmarked", action="store_true", help="let events without marks through, for the fewest eyes")
    return parser


if __name__ == "__main__":
    main()
