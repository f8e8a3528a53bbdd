"""A bench whose log is signed and published to a folder: keys, the parts that do it, and what lies there afterwards."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from libs.common.objectstore import ObjectStore
from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.hashing import event_hash
from libs.tlog.note import Signer
from libs.tlog.proofs import root_of
from libs.tlog.secretkey import private_text
from libs.tlog.tiles import TileHashes, parse_entries, tiles_to_publish
from services.timeline.keys import KeyFiles
from services.timeline.notary import Notary
from services.timeline.press import Press
from services.timeline.publisher import Guard, Publisher
from services.timeline.writer import Writer
from tests.integration.timeline.bench import Bench, stop
from tests.support.eventually import eventually

NAME = "ranger.test/timeline"
OLD, NEW, OTHER = (Signer(NAME, bytes([number]) * 32) for number in (1, 2, 3))


class Office:
    """Who signs and publishes one bench's log."""

    def __init__(self, bench: Bench, folder: Path, store: ObjectStore | None = None) -> None:
        self.bench = bench
        self.objects = folder / "objects"
        self.store = store or ObjectStore.open(self.objects.absolute().as_uri())
        self.key = folder / "timeline.key"
        self.give(OLD)
        keys = KeyFiles("RR_TIMELINE_KEY_FILE", str(self.key), name=NAME)
        self.press = Press(bench.database, self.store, origin=NAME)
        self.guard = Guard(bench.database, self.press, keys)
        self.notary = Notary(bench.database, keys, origin=NAME)
        self.writer = Writer(bench.database, bench.bus, bench.stream, bench.settings, self.guard)
        self.publisher = Publisher(self.writer, self.guard, self.notary, self.press, seconds=0.05, recheck_seconds=0.2)

    def give(self, *signers: Signer) -> None:
        """The key file holds these from now on."""
        self.key.write_text("".join(f"{private_text(signer)}\n" for signer in signers))

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Office"]:
        """A writer that works, and the publisher beside it."""
        tasks = [asyncio.create_task(self.writer.run()), asyncio.create_task(self.publisher.run())]
        try:
            yield self
        finally:
            for task in tasks:
                with contextlib.suppress(Exception):
                    await stop(task)

    async def published(self, size: int, *signers: Signer) -> Signed:
        """The published checkpoint once it is of this size or more, verified with everything that it stands on."""

        async def there() -> bool:
            found = await self.press.newest()
            return found is not None and found[0].size >= size

        await eventually(there, timeout=15)
        return await whole(self.store, signers or (OLD,))


async def whole(store: ObjectStore, signers: Sequence[Signer]) -> Signed:
    """The published log, read as an outsider does: every tile, every leaf, the root."""
    raw = await store.get("checkpoint")
    assert raw is not None
    signed = open_checkpoint(raw, [signer.verifier for signer in signers])
    size = signed.checkpoint.size
    assert await store.get(f"checkpoints/{size}") == raw
    files: dict[str, bytes] = {}
    for tile in tiles_to_publish(0, size):
        found = await store.get(tile.path)
        assert found is not None, tile.path
        files[tile.path] = found
        if tile.entries_path is not None:
            bundle = await store.get(tile.entries_path)
            assert bundle is not None
            leaves = parse_entries(bundle, tile.width)
            assert b"".join(map(event_hash, leaves)) == found
    assert root_of(size, TileHashes(files.__getitem__, size)) == signed.checkpoint.root
    return signed
