"""`rangerctl audit proof`, and the checkpoint that `audit verify --vkey` holds the log against."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.moments import second
from runbook_ranger.cli.options import DataDir

if TYPE_CHECKING:
    from libs.tlog.checkpoint import Signed
    from libs.tlog.note import Verifier
    from libs.tlog.verify import StoredEntry
    from runbook_ranger.cli.client import Client


def proof(
    event: Annotated[str, typer.Argument(help="The event's id, or its index in the log.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file: a c2sp.org/tlog-proof, with its checkpoint.")],
    keys: Annotated[
        list[str] | None,
        typer.Option("--vkey", help="The log's public key, or a file of keys; without it no signature is checked."),
    ] = None,
    leaf: Annotated[Path | None, typer.Option("--leaf", help="Write the leaf there: what the proof is of.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write a proof that an event stands in the log, checked here; whoever has the log's key can check it again."""
    from libs.tlog.errors import TlogError
    from libs.tlog.hashing import event_hash
    from libs.tlog.tlogproof import LeafProof
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        answer = client.get(f"/timeline/{event}/proof")
    try:
        found = LeafProof.from_json(answer)
        signed = found.verify(verifiers(keys)) if keys else None
        if signed is None:
            _included(found)
    except TlogError as error:
        raise CliError(f"NOT VERIFIED: {show.harmless(str(error))}.") from None
    write(out, found.proof.encode())
    if leaf is not None:
        write(leaf, found.leaf)
    by = f"signed by {', '.join(one.key.key_id.hex() for one in signed.signers)}" if signed else "signature not checked"
    typer.echo(f"leaf {found.proof.index} of {found.size} ({event_hash(found.leaf).hex()}), {by}; written to {out}")


@dataclass(frozen=True, slots=True)
class Trusted:
    """What the auditor brings: keys, and a checkpoint that they kept, if any."""

    keys: "list[Verifier]"
    kept: "Signed | None"

    @classmethod
    def of(cls, keys: Sequence[str], checkpoint: Path | None) -> "Trusted":
        """From keys as they are given, and a file.

        Raises:
            WrongUsage: one is none, or cannot be read, or none of the keys signed the checkpoint.
        """
        from libs.tlog.checkpoint import open_checkpoint
        from libs.tlog.errors import TlogError

        known = verifiers(keys)
        try:
            kept = open_checkpoint(checkpoint.read_bytes(), known) if checkpoint else None
        except (OSError, TlogError) as error:
            raise WrongUsage(f"--checkpoint: {show.harmless(str(error))}.") from None
        return cls(known, kept)


class Checked:
    """A checkpoint whose signature holds, and the root that the log itself gives at its size.

    What is shown must continue the checkpoint that was `kept`.
    """

    def __init__(self, signed: "Signed", made_at: str | None, kept: "Signed | None") -> None:
        from libs.tlog.tree import Frontier

        self._signed = signed
        self._made_at = made_at
        self._kept = kept
        self._then: bytes | None = None
        self._tree = Frontier()

    @classmethod
    def fetch(cls, client: "Client", trusted: Trusted) -> "Checked":
        """The newest checkpoint of the log, verified with the keys.

        Raises:
            TlogError: it is none, or none of the keys signed it, or it is older than the one that was kept.
        """
        from libs.tlog.checkpoint import open_checkpoint
        from libs.tlog.errors import BrokenLog

        answer = client.get("/timeline/checkpoint")
        signed, kept = open_checkpoint(str(answer["checkpoint"]).encode(), trusted.keys), trusted.kept
        if kept and signed.checkpoint.size < kept.checkpoint.size:
            raise BrokenLog(
                f"the newest checkpoint that is shown is of size {signed.checkpoint.size}, before the one of size "
                f"{kept.checkpoint.size} that is held: it is stale"
            )
        return cls(signed, answer.get("made_at"), kept)

    def see(self, entry: "StoredEntry") -> None:
        """The next leaf of the log, which was verified."""
        from libs.tlog.hashing import event_hash

        if self._tree.size < self._signed.checkpoint.size:
            self._tree.append(event_hash(entry.leaf))
            if self._kept and self._tree.size == self._kept.checkpoint.size:
                self._then = self._tree.root()

    def finish(self, size: int) -> None:
        """Raise BrokenLog unless the log begins with what was signed."""
        from libs.tlog.errors import BrokenLog

        said = self._signed.checkpoint
        if self._tree.size != said.size:
            raise BrokenLog(f"the log has {size} leaves, its checkpoint signs {said.size}")
        if self._tree.root() != said.root:
            raise BrokenLog(
                f"the log's first {said.size} leaves give the root {self._tree.root().hex()}, "
                f"its checkpoint signs {said.root.hex()}"
            )

        if self._kept and self._then is not None:
            old = self._kept.checkpoint
            if (old.origin, old.root) != (said.origin, self._then):
                raise BrokenLog(
                    f"at size {old.size} the log {said.origin} has the root {self._then.hex()}, where the older "
                    f"checkpoint of {old.origin} says {old.root.hex()}: two histories were shown"
                )

    def described(self) -> dict[str, Any]:
        """For programs."""
        said = self._signed.checkpoint
        return {
            "origin": said.origin,
            "size": said.size,
            "root": said.root.hex(),
            "made_at": self._made_at,
            "signed_by": [one.key.vkey for one in self._signed.signers],
            "witnesses": [one.key.name for one in self._signed.witnesses],
            **({"continues": self._kept.checkpoint.size} if self._kept else {}),
        }

    def words(self) -> str:
        """For people."""
        said, by = self._signed.checkpoint, ", ".join(one.key.key_id.hex() for one in self._signed.signers)
        seen = [f"; witnessed by {one.key.name} at {second(one.time or 0)}" for one in self._signed.witnesses]
        if self._kept:
            seen.append(f"; continues the checkpoint of size {self._kept.checkpoint.size} that you kept")
        return f"signed by {by}: the first {said.size} leaves, at {self._made_at}{''.join(seen)}"


def verifiers(keys: Sequence[str]) -> "list[Verifier]":
    """Public keys, each given as text or as a file with one a line.

    Raises:
        WrongUsage: one is neither.
    """
    from libs.tlog.errors import FormatError
    from libs.tlog.note import Verifier

    found = []
    for key in keys:
        lines = [key]
        if key.count("+") < 2:
            try:
                lines = [line.strip() for line in Path(key).read_text().splitlines() if line.strip()]
            except (OSError, UnicodeDecodeError):
                raise WrongUsage(f"--vkey {key} is no key, and no file that can be read.") from None
        try:
            found += [Verifier.parse(line) for line in lines]
        except FormatError as error:
            raise WrongUsage(f"--vkey: {show.harmless(str(error))}.") from None
    return found


def _included(found: Any) -> None:
    """The proof against its own checkpoint, whose signature nobody looked at."""
    from libs.tlog.checkpoint import Checkpoint
    from libs.tlog.hashing import event_hash
    from libs.tlog.note import parse_note
    from libs.tlog.proofs import verify_inclusion

    said = Checkpoint.parse(parse_note(found.proof.checkpoint)[0])
    verify_inclusion(event_hash(found.leaf), found.proof.index, said.size, found.proof.hashes, said.root)


def write(path: Path, data: bytes) -> None:
    """Write a file, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        partial.write_bytes(data)
        partial.replace(path)
    except OSError as error:
        raise WrongUsage(f"{path} cannot be written: {error.strerror}.") from None
