"""What a file or folder is, told by its beginning, and its verification.

    FILE   a zip: an evidence bundle · lines of JSON: an export · JSON of `rr.proof/1`: a leaf with its proof
    DIR    with `bundle.dsse.json`: a bundle's files · with `checkpoint` and `tile/`: a published log ·
           else its files `*.jsonl`, which must continue each other: an export

Files are read as files only: nothing behind a symbolic link, nothing outside the folder.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import orjson

from libs.tlog.archive import MAX_BYTES, MAX_FILES, unpack
from libs.tlog.checkpoint import Signed, open_checkpoint
from libs.tlog.errors import BrokenLog, FormatError
from libs.tlog.export import BLOCK, MAX_LINE, first_of, verify_export
from libs.tlog.findings import read_leaf
from libs.tlog.inspection import verify_bundle
from libs.tlog.manifest import ENVELOPE
from libs.tlog.note import MAX_NOTE, Verifier
from libs.tlog.published import CHECKPOINT, verify_published
from libs.tlog.tlogproof import LeafProof
from libs.verifier.verdict import Place, Verdict

EXPORTS: Final = "*.jsonl"
_ZIP: Final = b"PK"


def verify_path(path: Path, verifiers: Sequence[Verifier], old: Signed | None = None) -> Verdict:
    """Verify a file or folder by the auditor's keys, and against the checkpoint that the auditor holds.

    Raises:
        TlogError: the first thing that does not hold, with its event or file.
        OSError: something cannot be read.
    """
    if path.is_dir():
        return _folder(path, verifiers, old)
    with path.open("rb") as file:
        beginning = file.readline(MAX_LINE)
    if beginning.startswith(_ZIP):
        return _bundle(unpack(_read(path, MAX_BYTES)), verifiers, old)
    if b'"rr.proof/1"' in beginning:
        return _proof(_read(path, MAX_LINE), verifiers, old)
    return _export([path], verifiers, old)


def read_checkpoint(path: Path, verifiers: Sequence[Verifier]) -> Signed:
    """The checkpoint that the auditor holds. Raises TlogError unless its log signed it with one of the keys."""
    return open_checkpoint(_read(path, MAX_NOTE), verifiers)


def read_vkeys(words: Sequence[str]) -> list[Verifier]:
    """Keys from vkeys, or from files with one a line. Raises FormatError, and OSError for a file."""
    found = []
    for word in words:
        lines = [word] if word.count("+") >= 2 else Path(word).read_text().split("\n")
        found += [Verifier.parse(line) for line in lines if line]
    return found


def _folder(path: Path, verifiers: Sequence[Verifier], old: Signed | None) -> Verdict:
    if (path / ENVELOPE).exists():
        return _bundle(_files(path), verifiers, old)
    if (path / CHECKPOINT).exists():
        found = verify_published(partial(_fetch, path), verifiers, old)
        return Verdict.of_export("published log", found)
    files = [file for file in path.glob(EXPORTS) if file.is_file() and not file.is_symlink()]
    if not files:
        raise FormatError(f"{path} holds no bundle, no published log and no export ({EXPORTS})")
    return _export(files, verifiers, old)


def _bundle(files: dict[str, bytes], verifiers: Sequence[Verifier], old: Signed | None) -> Verdict:
    found = verify_bundle(files, verifiers)
    _same(found.signed, old, "a bundle")
    return Verdict.of_bundle(found)


def _proof(raw: bytes, verifiers: Sequence[Verifier], old: Signed | None) -> Verdict:
    try:
        proof = LeafProof.from_json(orjson.loads(raw))
    except orjson.JSONDecodeError as error:
        raise FormatError(f"not JSON: {error}") from None
    signed = proof.verify(verifiers)
    index = proof.proof.index
    leaf = read_leaf(index, proof.leaf)
    if leaf["log"] != signed.checkpoint.origin:
        raise BrokenLog(f"leaf belongs to another log, {leaf['log']}", index=index)
    _same(signed, old, "a proof")
    last = Place.of((index, proof.leaf)) if "ts" in leaf.get("src", {}) else None
    return Verdict(f"proof of leaf {index}", signed, 1, index, last)


def _export(files: Sequence[Path], verifiers: Sequence[Verifier], old: Signed | None) -> Verdict:
    ordered = sorted(files, key=_first)
    found = verify_export(((file.name, _blocks(file)) for file in ordered), verifiers, old)
    return Verdict.of_export("export", found)


def _same(signed: Signed, old: Signed | None, what: str) -> None:
    """A single checkpoint beside the auditor's: other sizes are no contradiction, but cannot be compared either."""
    if old is None:
        return
    if signed.checkpoint.size != old.checkpoint.size:
        raise BrokenLog(
            f"{what} at size {signed.checkpoint.size} cannot be compared with your checkpoint of size "
            f"{old.checkpoint.size}: verify an export, or the published log, against it"
        )
    if (signed.checkpoint.origin, signed.checkpoint.root) != (old.checkpoint.origin, old.checkpoint.root):
        raise BrokenLog(f"two roots at size {old.checkpoint.size}: this one and that of your checkpoint")


def _first(file: Path) -> tuple[int, str]:
    """The index at which an export's file begins; an empty one, before others of the same index, by its name."""
    with file.open("rb") as lines:
        head = lines.readline(MAX_LINE)
    try:
        return first_of(head), file.name
    except FormatError as error:
        raise FormatError(f"{file.name}: {error}") from None


def _blocks(file: Path) -> Iterator[bytes]:
    with file.open("rb") as opened:
        yield from iter(partial(opened.read, BLOCK), b"")


def _fetch(folder: Path, name: str) -> bytes | None:
    file = folder / name
    return _read(file, MAX_BYTES) if file.is_file() else None


def _files(folder: Path) -> dict[str, bytes]:
    """All files of a bundle's folder by their names in it."""
    found: dict[str, bytes] = {}
    total = 0
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        if file.is_symlink():
            raise FormatError(f"{name} is a link")
        if file.is_file():
            found[name] = _read(file, MAX_BYTES - total)
            total += len(found[name])
        if len(found) > MAX_FILES:
            raise FormatError(f"a bundle has at most {MAX_FILES} files")
    return found


def _read(file: Path, most: int) -> bytes:
    with file.open("rb") as opened:
        raw = opened.read(most + 1)
    if len(raw) > most:
        raise FormatError(f"{file.name} is larger than {most} bytes")
    return raw
