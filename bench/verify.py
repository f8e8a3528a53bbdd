"""What an auditor waits for: a million events of an export verified offline, beside parsing and hashing alone.

Files of the export are made, read and thrown away one after the other, as files that continue each other are; only
the reading is timed, as the processor's time, since verifying is one thread's work.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from hashlib import sha256
from io import BytesIO
from typing import Final

import orjson

from bench.errors import WorkWrong
from bench.figures import Figure, Report
from bench.limits.timeline import EACH, PAYLOAD
from bench.options import Options
from libs.tlog.archive import pack, unpack
from libs.tlog.bundle import Bundled, Content, build
from libs.tlog.chain import ChainKey, Entry, Head, Message, chain
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.export import BLOCK, Export, closing, header, line
from libs.tlog.inspection import verify_bundle
from libs.tlog.leaf import Event, Source
from libs.tlog.note import Signer
from libs.tlog.proofs import inclusion_proof, verify_inclusion
from libs.tlog.tiles import TileHashes, tile_bytes, tiles_to_publish
from libs.tlog.tree import Frontier, node_hash

NAME: Final = "verify"
GOAL_MILLION_S: Final = 10.0
GOAL_BUNDLE_S: Final = 1.0
GOAL_PROOF_MS: Final = 20.0
ORIGIN: Final = "bench.example/timeline"
LOG: Final = Signer(ORIGIN, bytes(32))
SEALER: Final = Signer(f"{ORIGIN}/bundles", bytes([1]) * 32)
KEYS: Final = (LOG.verifier, SEALER.verifier)
BATCH: Final = 500


def run(options: Options) -> Report:
    """The bench."""
    files, events = options.pick((20, 50_000), (10, 10_000), (2, 240))
    log = _Log()
    export = Export(KEYS)
    verifying, bare = [], []
    for number in range(files):
        file = log.file(events, last=number + 1 == files)
        gc.collect()
        gc.disable()  # as `libs.verifier` does
        blocks = iter(partial(file.read, BLOCK), b"")
        verifying.append(_timed(partial(export.read, f"part-{number}", blocks)))
        bare.append(_timed(partial(_bare, log.leaves)))
        gc.enable()
        options.tell(f"verify: {log.tree.size:,} events")
    found = export.finish()
    if found.signed.checkpoint.root != log.tree.root() or found.kinds != {"event": files * events}:
        raise WorkWrong("what was verified is not what was written")
    leaves = options.pick(1_000, 1_000, 24)
    bundle = _bundle(leaves)
    bundles = [bundle() for _ in range(options.pick(5, 3, 1))]
    proofs = _proofs(log, 20)
    million = 1_000_000 / events
    figures = (
        Figure("a million events of an export", "s", tuple(took * million for took in verifying), lower_is_better=True,
               goal=GOAL_MILLION_S, limit=tuple(took * million for took in bare), limit_name="parse and SHA-256 alone"),
        Figure(f"a bundle of {leaves:,} leaves verified", "s", tuple(bundles), lower_is_better=True,
               goal=GOAL_BUNDLE_S),
        Figure("a proof made from tiles and verified", "ms", tuple(proofs), lower_is_better=True, goal=GOAL_PROOF_MS),
    )  # fmt: skip
    notes = {"leaf_bytes": log.leaf_bytes // log.tree.size, "line_bytes": log.line_bytes // log.tree.size}
    return Report(NAME, figures, {"leaves": log.tree.size, "root": log.tree.root().hex()[:16]}, notes=notes)


def _timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def _bare(leaves: Sequence[bytes]) -> None:
    for leaf in leaves:
        orjson.loads(leaf)
        sha256(b"\0" + leaf).digest()


class _Log:
    """A log that grows file by file; `leaves` are those of the last file, `rows` all hashes by level."""

    def __init__(self) -> None:
        self.tree = Frontier()
        self.leaves: list[bytes] = []
        self.leaf_bytes = self.line_bytes = 0
        self.hashes: list[bytes] = []
        self._heads: dict[ChainKey, Head] = {}

    def file(self, events: int, *, last: bool) -> BytesIO:
        """The export's next file."""
        parts = [header(ORIGIN, self.tree)]
        self.leaves = []
        for entry in self._entries(events):
            assert isinstance(entry.item, Message)
            self.leaves.append(entry.leaf)
            self.leaf_bytes += len(entry.leaf)
            parts.append(line(entry.index, entry.leaf, entry.item.payload, entry.item.salt))
            self.line_bytes += len(parts[-1])
            self.tree.append(entry.event_hash)
            self.hashes.append(entry.event_hash)
        parts.append(closing(self.tree.size, self.checkpoint() if last else b""))
        return BytesIO(b"".join(parts))

    def checkpoint(self) -> bytes:
        return sign_checkpoint(Checkpoint(ORIGIN, self.tree.size, self.tree.root()), [LOG])

    def _entries(self, events: int) -> Iterator[Entry]:
        start, stop = self.tree.size, self.tree.size + events
        for begin in range(start, stop, BATCH):
            items = [_message(number) for number in range(begin, min(begin + BATCH, stop))]
            batch = chain(items, origin=ORIGIN, size=begin, heads=self._heads, seen={})
            self._heads |= batch.heads
            yield from batch.entries


def _message(number: int, *, alone: bool = False) -> Message:
    """The event of this number: of its incident, or of that one's execution; `alone`: all are of one incident."""
    incident, place = "alone" if alone else f"0192f0c1-0000-7000-8000-{number // EACH:012d}", number % EACH
    kind = "incident.created" if place < 2 else "runbook.step_completed"
    second, fraction = divmod(number, 1000)
    day, hour, minute = 1 + second // 86400 % 28, second // 3600 % 24, second // 60 % 60
    moment = f"2026-03-{day:02d}T{hour:02d}:{minute:02d}:{second % 60:02d}.{fraction:03d}"
    told = Event(
        id=f"0192f0c2-0000-7000-8000-{number:012d}",
        source="/svc/incident" if place < 2 else "/svc/executor",
        type=kind,
        time=f"{moment}000Z",
        tenant="acme",
        tenants=("acme",),
        actor="alerts" if place < 2 else "svc:executor",
        correlation=f"0192f0c2-0000-7000-8000-{number - place:012d}",
        causation="" if place == 0 else f"0192f0c2-0000-7000-8000-{number - 1:012d}",
        aggregate_type="incident" if place < 2 else "execution",
        aggregate_id=incident if place < 2 else f"0192f0c3-0000-7000-8000-{number // EACH:012d}",
        aggregate_version=place + 1,
        incident_id=incident,
        execution_id=None if place < 2 else f"0192f0c3-0000-7000-8000-{number // EACH:012d}",
        runbook_id=None if place < 2 else "evidence-storage-latency",
    )
    payload = (PAYLOAD % (number, number % 997, "x" * (number % 160))).encode()
    src = Source("EVENTS", 1, number + 1, kind, f"{moment}000000Z")
    return Message(src, told, payload, sha256(b"%d" % number).digest())


class _Rows:
    """The hashes of every perfect subtree, level by level."""

    def __init__(self, leaves: list[bytes]) -> None:
        self._rows = [leaves]
        while len(row := self._rows[-1]) > 1:
            self._rows.append([node_hash(*pair) for pair in zip(row[::2], row[1::2], strict=False)])

    def __call__(self, level: int, index: int) -> bytes:
        return self._rows[level][index]


def _bundle(leaves: int) -> Callable[[], float]:
    """Seconds to read and verify the file of an incident with so many leaves."""
    messages = [_message(number, alone=True) for number in range(leaves)]
    entries = chain(messages, origin=ORIGIN, size=0, heads={}, seen={}).entries
    tree = Frontier()
    for entry in entries:
        tree.append(entry.event_hash)
    bundled = [
        Bundled(entry.index, entry.leaf, message.payload, message.salt)
        for entry, message in zip(entries, messages, strict=True)
    ]
    heads = {("incident", "alone"): Head(leaves, entries[-1].event_hash)}
    note = sign_checkpoint(Checkpoint(ORIGIN, leaves, tree.root()), [LOG])
    rows = _Rows([entry.event_hash for entry in entries])
    raw = pack(build(Content("alone", note, bundled, heads), rows, KEYS, SEALER))
    return lambda: _timed(lambda: verify_bundle(unpack(raw), KEYS))


def _proofs(log: _Log, count: int) -> list[float]:
    """Milliseconds to make a proof from tiles that nothing of was read before, and to verify it."""
    size, rows = log.tree.size, _Rows(log.hashes)
    files = {tile.path: tile_bytes(tile, rows) for tile in tiles_to_publish(0, size)}
    root, took = log.tree.root(), []
    for index in range(0, size, size // count):

        def prove(index: int = index) -> None:
            proof = inclusion_proof(index, size, TileHashes(files.__getitem__, size))
            verify_inclusion(log.hashes[index], index, size, proof, root)

        took.append(1000 * _timed(prove))
    return took
