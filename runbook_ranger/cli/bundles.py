"""`rangerctl audit bundle`: an incident's evidence as one file, verified here before it has its name."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.evidence import receive
from runbook_ranger.cli.options import DataDir

if TYPE_CHECKING:
    from libs.tlog.checkpoint import Signed
    from libs.tlog.note import Verifier
    from libs.verifier.verdict import Verdict

PRIVATE = 0o600


def bundle(
    incident: Annotated[str, typer.Argument(help="The incident's id.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file, readable by you alone.")],
    vkey: Annotated[
        list[str] | None,
        typer.Option(
            "--vkey", help="The keys that you trust, or files of keys; none, those that the deployment names."
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="A checkpoint that you kept, of the bundle's size.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch all that an outsider needs to check an incident; code 1, and no file, where something does not hold."""
    from libs.tlog.errors import TlogError
    from libs.verifier.reading import read_checkpoint
    from runbook_ranger.cli.client import Client, segment
    from runbook_ranger.cli.proofs import verifiers

    if out.exists():
        raise WrongUsage(f"{out} is there already.", fix="Evidence is never overwritten; name another file.")
    trusted = verifiers(vkey or [])
    try:
        old = read_checkpoint(checkpoint, trusted) if checkpoint else None
    except (TlogError, OSError) as error:
        raise WrongUsage(f"--checkpoint: {show.harmless(str(error))}.") from None
    partial = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with Client.open(data_dir) as client, os.fdopen(_new(partial), "wb") as file:
            given = client.post(f"/evidence/incidents/{segment(incident)}/bundle", {})
            receive(client, given, file)
        keys = trusted or verifiers([str(key) for key in given["vkeys"]])
        lines = _verified(partial, keys, old).lines()
        _name(partial, out)
    finally:
        partial.unlink(missing_ok=True)
    for line in lines:
        typer.echo(show.harmless(line))
    typer.echo(f"written to {out}, {given['length']} bytes; the log names its envelope {given['envelope']}")
    if not trusted:
        show.note("Verified with the keys that the deployment itself names. With those that you trust: --vkey VKEY.")


def _verified(path: Path, keys: "list[Verifier]", old: "Signed | None") -> "Verdict":
    from libs.tlog.errors import TlogError
    from libs.verifier.reading import verify_path

    try:
        return verify_path(path, keys, old)
    except TlogError as finding:
        raise CliError(f"NOT VERIFIED: {show.harmless(str(finding))}.", fix="Nothing was written.") from None


def _new(path: Path) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
    except OSError as error:
        raise WrongUsage(f"{path.parent} cannot be written to: {error.strerror}.") from None


def _name(partial: Path, out: Path) -> None:
    """Give the file its name, unless another has it."""
    try:
        os.link(partial, out)
    except FileExistsError:
        raise WrongUsage(f"{out} is there already.", fix="Evidence is never overwritten; name another file.") from None
    except OSError as error:
        raise WrongUsage(f"{out} cannot be written: {error.strerror}.") from None
