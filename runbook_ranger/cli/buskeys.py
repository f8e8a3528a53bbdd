"""`rangerctl nats`: who may say what on the bus, and the keys to sign in with, for a NATS server of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli.options import group

Folder = Annotated[Path, typer.Argument(help="The folder of the keys, one file NAME.nk each.", file_okay=False)]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("nats", "Keys and permissions of the bus, for a NATS server of your own.")
    commands.command("permissions")(permissions)
    commands.command("keys")(keys)
    commands.command("authorization")(authorization)
    app.add_typer(commands)


def permissions() -> None:
    """What each process may publish and subscribe to, as a part of a server's configuration."""
    from runbook_ranger.stack.keyring import GRANTS

    typer.echo(GRANTS.read_text(), nl=False)


def keys(folder: Folder) -> None:
    """Make the keys that are missing in a folder, and print every public key by name."""
    from runbook_ranger.stack import keyring

    keyring.ensure(folder)
    for name, found in _public_keys(folder).items():
        for key in found:
            typer.echo(f"{name:10} {key}")


def authorization(folder: Folder) -> None:
    """A server's whole block `authorization`: permissions, and the public keys of a folder."""
    from runbook_ranger.stack import keyring

    typer.echo(keyring.authorization(_public_keys(folder), keyring.GRANTS.read_text()), nl=False)


def _public_keys(folder: Path) -> dict[str, list[str]]:
    from runbook_ranger.cli.errors import CliError
    from runbook_ranger.stack import keyring
    from runbook_ranger.stack.nkeys import MalformedSeed

    try:
        found = keyring.public_keys(folder)
    except (MalformedSeed, OSError) as error:
        raise CliError(f"the keys in {folder} cannot be read: {error}") from None
    if missing := sorted(set(keyring.IDENTITIES) - set(found)):
        raise CliError(f"{folder} holds no key of {', '.join(missing)}", fix=f"rangerctl nats keys {folder}")
    return found
