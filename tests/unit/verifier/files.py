"""What an auditor may be handed, written to a folder."""

import json
from pathlib import Path

from libs.tlog.archive import pack
from libs.tlog.checkpoint import Checkpoint, sign_checkpoint
from libs.tlog.export import closing, header, line
from libs.tlog.note import cosigned
from libs.tlog.proofs import inclusion_proof
from libs.tlog.tiles import entries_bundle, tile_bytes, tiles_to_publish
from libs.tlog.tlogproof import LeafProof, TlogProof
from libs.tlog.tree import Frontier
from tests.unit.tlog.incident import SEALER, bundled
from tests.unit.tlog.vectors import LOG, SEEN, WITNESS, naive_hashes
from tests.unit.tlog.worked import ORIGIN, Store, message, redacted

TRUSTED = ("--vkey", LOG.vkey, "--vkey", SEALER.vkey)


def tree(store: Store, size: int) -> Frontier:
    grown = Frontier()
    for entry in store.entries[:size]:
        grown.append(entry.event_hash)
    return grown


def checkpoint(store: Store, size: int | None = None, *, witnessed: bool = False) -> bytes:
    size = len(store.entries) if size is None else size
    said = Checkpoint(ORIGIN, size, tree(store, size).root())
    raw = sign_checkpoint(said, [LOG])
    return cosigned(raw, [WITNESS.sign(said.text(), SEEN)]) if witnessed else raw


def export(path: Path, store: Store | None = None, first: int = 0, end: int | None = None) -> Path:
    store = store or redacted()
    end = len(store.entries) if end is None else end
    rows = [line(entry.index, entry.leaf, entry.payload, entry.salt) for entry in store.entries[first:end]]
    whole = [header(ORIGIN, tree(store, first)), *rows, closing(end, checkpoint(store, end, witnessed=True))]
    path.write_bytes(b"".join(whole))
    return path


def bundle(path: Path) -> Path:
    path.write_bytes(pack(bundled()))
    return path


def folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, raw in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(raw)
    return path


def published(store: Store) -> dict[str, bytes]:
    hashes = naive_hashes([entry.event_hash for entry in store.entries])
    files = {"checkpoint": checkpoint(store)}
    for tile in tiles_to_publish(0, len(store.entries)):
        files[tile.path] = tile_bytes(tile, hashes)
        if tile.entries_path:
            rows = store.entries[tile.first : tile.first + tile.width]
            files[tile.entries_path] = entries_bundle(entry.leaf for entry in rows)
    return files


def long_log(size: int = 300) -> Store:
    store = Store()
    store.append(*(message(seq) for seq in range(1, size + 1)))
    return store


def proof(path: Path, index: int = 5) -> Path:
    store = redacted()
    hashes = naive_hashes([entry.event_hash for entry in store.entries])
    size = len(store.entries)
    made = TlogProof(index, tuple(inclusion_proof(index, size, hashes)), checkpoint(store))
    path.write_text(json.dumps(LeafProof(ORIGIN, size, store.entries[index].leaf, made).as_json()))
    return path
