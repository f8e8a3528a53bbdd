"""Publishes the log as static files: tiles and leaves first, then the checkpoint that they prove.

    tile/<level>/<n>, tile/entries/<n>, each also as `.p/<width>`    made once, and the same by whoever makes them
    checkpoints/<size>                                               made once: the note that was signed for this size
    checkpoint                                                       the newest one, replaced
    witnessed                                                        the newest one that a witness has signed, replaced

Where it goes on is read from `checkpoint`: after a crash anything may be there already, and must then be the same. A
note of another root is a fork: both are kept, in the store and in the database, and the log is frozen.

What is replaced is swapped for what was looked at: a publisher that was paused takes nothing newer back. Witnesses sign
later than the log: their lines are put beneath what is shown of their size, and what was made once stays as it was.
"""

import asyncio
from collections.abc import Iterable
from typing import Final, NoReturn

from libs.common.crash import crash_point
from libs.common.database import Database
from libs.common.objectstore import ObjectStore, StoreUnavailable
from libs.common.telemetry import log
from libs.tlog.checkpoint import Checkpoint
from libs.tlog.errors import FormatError, ProofError, SignatureError
from libs.tlog.hashing import event_hash
from libs.tlog.note import Signer, cosigned, parse_note
from libs.tlog.tiles import TILE_WIDTH, Tile, entries_bundle
from services.timeline import checkpoints, metrics
from services.timeline.checkpoints import Incomplete, Made
from services.timeline.errors import Frozen

CHECKPOINT: Final = "checkpoint"
WITNESSED: Final = "witnessed"
AT_ONCE: Final = 16
TRIES: Final = 5


class Press:
    """The log's files in the object store."""

    def __init__(self, database: Database, store: ObjectStore, *, origin: str) -> None:
        self._database = database
        self._store = store
        self._origin = origin
        self._witnessed = b""

    async def newest(self, signers: Iterable[Signer] = ()) -> tuple[Checkpoint, bytes] | None:
        """The checkpoint that is published, and its note; None where there is none that could be ours.

        One that claims a key of ours and does not bear its signature was not published by us, and does not count.

        Raises:
            StoreUnavailable: it is not to be had now.
            Frozen: it is another log's.
        """
        raw = await self._store.get(CHECKPOINT)
        found = None if raw is None else self._read(raw, signers)
        return None if raw is None or found is None else (found, raw)

    def _read(self, raw: bytes, signers: Iterable[Signer]) -> Checkpoint | None:
        try:
            found = _opened(raw, signers)
        except (FormatError, SignatureError) as error:
            log.critical("timeline_checkpoint_forged", detail=str(error))
            return None
        if found.origin != self._origin:
            raise Frozen(
                f"the object store holds the log {found.origin}, this is {self._origin}: give it one of its own"
            )
        return found

    async def publish(self, made: Made, since: int) -> None:
        """Publish a checkpoint and what is not published of its log, of which `since` leaves are.

        Raises:
            StoreUnavailable: not now; it is safe to do it again.
            Frozen: the store or the database holds something else than was signed.
        """
        await self._files(made, checkpoints.first_of_tile(since))
        crash_point("timeline_tiles_published")
        key = f"checkpoints/{made.size}"
        if not await self._store.create(key, made.note):
            await self._compare(made, await self._store.get(key))
        crash_point("timeline_checkpoint_kept")
        await self._show(CHECKPOINT, made)
        crash_point("timeline_checkpoint_published")
        metrics.PUBLISHED.set(made.size)

    async def witness(self, made: Made) -> None:
        """Show what witnesses have signed, of a size that is published: `made` bears their lines.

        Raises:
            StoreUnavailable, Frozen: as `publish`.
        """
        if made.note != self._witnessed:
            await self._show(WITNESSED, made)
            await self._show(CHECKPOINT, made)
            self._witnessed = made.note

    async def _show(self, key: str, made: Made) -> None:
        """Put a checkpoint there unless a larger one is; of its own size, the lines that are missing."""
        for _ in range(TRIES):
            held = await self._store.held(key)
            current = self._read(held.data, ()) if held else None
            if held is None or current is None or current.size < made.size:
                note = made.note
            elif current.size > made.size:
                return
            elif current.root != made.root:
                await self._fork(made, held.data)
            else:
                note = _joined(held.data, made.note)
            if (held and note == held.data) or await self._store.swap(key, note, held):
                return
        raise StoreUnavailable(f"The object store's {key} changes all the time.", code="store_unavailable")

    async def compare(self, made: Made, published: Checkpoint, note: bytes) -> None:
        """Raise Frozen where what was published at a size is not what was signed, or computed, for it."""
        if published.root == made.root:
            return
        if not made.note:
            raise Frozen(
                f"the database gives the root {made.root.hex()} at size {made.size}, the published checkpoint signs "
                f"{published.root.hex()}: the database was rewritten, or it is another log's"
            )
        await self._fork(made, note)

    async def _files(self, made: Made, first: int) -> None:
        """Every tile and bundle from a tile's first leaf on, computed from the leaves themselves."""
        async with self._database.transaction("timeline unfinished tiles", snapshot=True) as tx:
            try:
                tree = await checkpoints.growth(tx, first)
            except (Incomplete, ProofError) as error:
                raise Frozen(f"the log's tiles cannot be made: {error}") from None
        leaves: list[bytes] = []
        waiting: list[tuple[str, bytes]] = []
        try:
            async for leaf in checkpoints.leaves(self._database, first, made.size):
                leaves.append(leaf)
                filled = tree.append(event_hash(leaf))
                if filled:
                    waiting += [*_files(filled, leaves)]
                    leaves = []
                if len(waiting) >= AT_ONCE:
                    await self._create(waiting)
                    waiting = []
        except Incomplete as error:
            raise Frozen(str(error)) from None
        if tree.root() != made.root:
            raise Frozen(
                f"the leaves give the root {tree.root().hex()} at size {made.size}, signed is {made.root.hex()}"
            )
        await self._create([*waiting, *_files(tree.unfinished(), leaves)])

    async def _create(self, files: list[tuple[str, bytes]]) -> None:
        await asyncio.gather(*(self._make(key, data) for key, data in files))

    async def _make(self, key: str, data: bytes) -> None:
        if not await self._store.create(key, data) and await self._store.get(key) != data:
            raise Frozen(f"the object store holds another {key} than the log gives")

    async def _compare(self, made: Made, note: bytes | None) -> None:
        """Of two notes of one size the first stays; another root is a fork, other signatures are not."""
        if note is None or note == made.note:
            return
        try:
            found = _opened(note, ())
        except FormatError as error:
            raise Frozen(f"the object store's checkpoints/{made.size} is no checkpoint: {error}") from None
        if (found.origin, found.size, found.root) != (self._origin, made.size, made.root):
            await self._fork(made, note)

    async def _fork(self, made: Made, note: bytes) -> NoReturn:
        other = _opened(note, ())
        async with self._database.transaction("timeline fork") as tx:
            await checkpoints.forked(tx, made.size, {made.root: made.note, other.root: note})
        log.critical("timeline_fork", size=made.size, ours=made.root.hex(), theirs=other.root.hex())
        for root, signed in ((made.root, made.note), (other.root, note)):
            await self._store.create(f"forks/{made.size}/{root.hex()}", signed)
        raise Frozen(f"two roots were signed at size {made.size}: {made.root.hex()} and {other.root.hex()}")


def _files(tiles: Iterable[tuple[Tile, bytes]], leaves: list[bytes]) -> Iterable[tuple[str, bytes]]:
    """Paths and contents; `leaves` are those of the tile of the lowest level, where one is among them."""
    for tile, raw in tiles:
        if tile.entries_path is not None:
            assert len(leaves) == tile.width <= TILE_WIDTH
            yield tile.entries_path, entries_bundle(leaves)
        yield tile.path, raw


def _joined(shown: bytes, ours: bytes) -> bytes:
    """What is shown with our lines that it lacks; ours alone where it has others in their place."""
    theirs = {(line.name, line.key_id): line for line in parse_note(shown)[1]}
    lines = parse_note(ours)[1]
    if any(theirs.get((line.name, line.key_id), line) != line for line in lines):
        return ours
    try:
        return cosigned(shown, [line.line() for line in lines if (line.name, line.key_id) not in theirs])
    except FormatError:  # as many lines as a note may have
        return ours


def _opened(raw: bytes, signers: Iterable[Signer]) -> Checkpoint:
    """The checkpoint of a note; a signature that claims to be one of the signers' must hold.

    Raises:
        FormatError, SignatureError: it is none, or a signature is forged.
    """
    text, signatures = parse_note(raw)
    known = {(signer.name, signer.key_id): signer.verifier for signer in signers}
    for signature in signatures:
        if (signature.name, signature.key_id) in known:
            known[signature.name, signature.key_id].verify(text, signature)
    return Checkpoint.parse(text)
