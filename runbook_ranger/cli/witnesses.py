"""`rangerctl audit checkpoint` and `cosign`: a checkpoint to keep, or to have witnessed, and back again."""

from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.moments import second
from runbook_ranger.cli.options import DataDir
from runbook_ranger.cli.proofs import verifiers, write


def checkpoint(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it there: keep it, or have it cosigned.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=1, help="That of this size, not the newest.")] = None,
    witnessed: Annotated[bool, typer.Option("--witnessed", help="The newest that a witness has signed.")] = False,
    keys: Annotated[
        list[str] | None,
        typer.Option("--vkey", help="The log's public key, and witnesses'; without any no signature is checked."),
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Fetch a checkpoint of the log: its size and root as it signed them, with what witnesses have put beneath."""
    from libs.tlog.checkpoint import Checkpoint, open_checkpoint
    from libs.tlog.errors import TlogError
    from libs.tlog.note import parse_note
    from runbook_ranger.cli.client import Client

    known = verifiers(keys or [])
    with Client.open(data_dir) as client:
        raw = str(client.get("/timeline/checkpoint", size=size, witnessed=witnessed or None)["checkpoint"]).encode()
    try:
        said = Checkpoint.parse(parse_note(raw)[0])
        signed = open_checkpoint(raw, known) if known else None
    except TlogError as error:
        raise CliError(f"NOT VERIFIED: {show.harmless(str(error))}.") from None
    if out is not None:
        write(out, raw)
    by = f"signed by {', '.join(one.key.key_id.hex() for one in signed.signers)}" if signed else "signature not checked"
    typer.echo(show.harmless(f"{said.origin} at size {said.size}, root {said.root.hex()}, {by}"))
    for one in signed.witnesses if signed else ():
        typer.echo(show.harmless(f"witnessed by {one.key.name} at {second(one.time or 0)}"))


def cosign(
    file: Annotated[Path, typer.Argument(help="A checkpoint of this log, with a witness's line beneath.")],
    data_dir: DataDir = None,
) -> None:
    """Hand in a checkpoint that a witness has signed; proofs and bundles bear it from then on."""
    from runbook_ranger.cli.client import Client

    try:
        note = file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {getattr(error, 'strerror', 'not UTF-8 text')}.") from None
    with Client.open(data_dir) as client:
        kept = client.post("/timeline/cosignatures", {"checkpoint": note})
    names = ", ".join(f"{one['name']} at {second(one['time'])}" for one in kept["witnesses"])
    typer.echo(show.harmless(f"size {kept['size']}: {kept['new']} new; witnessed by {names}"))
