"""`rangerctl audit keygen` and `vkey`: keys that sign the log and its bundles, and their public halves."""

import os
from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli.errors import WrongUsage

PRIVATE = 0o600


def keygen(
    origin: Annotated[str, typer.Option(help="The key's name: the log's origin, or ORIGIN/bundles for its bundles.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A new file for the private key, readable by you alone.")],
) -> None:
    """Make a key. The private half goes to a file, the public half (vkey), which auditors get, is printed."""
    from libs.tlog.errors import FormatError
    from libs.tlog.note import KEY_BYTES, Signer
    from libs.tlog.secretkey import private_text

    try:
        signer = Signer(origin, os.urandom(KEY_BYTES))
    except FormatError as error:
        raise WrongUsage(f"{error}.", fix="A name has no spaces and no plus sign.") from None
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        with os.fdopen(descriptor, "w") as file:
            os.fchmod(descriptor, PRIVATE)
            file.write(f"{private_text(signer)}\n")
    except FileExistsError:
        raise WrongUsage(f"{out} is there already.", fix="A key is never overwritten; name another file.") from None
    except OSError as error:
        raise WrongUsage(f"{out} cannot be written: {error.strerror}.") from None
    typer.echo(signer.vkey)


def vkey(file: Annotated[Path, typer.Argument(help="A file of private keys.")]) -> None:
    """Print the public half (vkey) of each private key in a file."""
    from libs.tlog.errors import FormatError
    from libs.tlog.secretkey import parse_private

    try:
        lines = [line.strip() for line in file.read_text().splitlines() if line.strip()]
        found = [parse_private(line).vkey for line in lines]
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{file} cannot be read: {getattr(error, 'strerror', 'not UTF-8 text')}.") from None
    except FormatError as error:
        raise WrongUsage(f"{file}: {error}.") from None
    typer.echo("\n".join(found))
