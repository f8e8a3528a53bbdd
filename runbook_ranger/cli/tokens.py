"""`rangerctl token` and `rangerctl principal`: keys of one's own, the sealed account's envelope, and who one is."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

COLUMNS = ("token_id", "name", "state", "owner", "tenants", "roles", "scopes", "expires_at", "last_used_at")
PEOPLE = ("actor", "disabled", "clearance", "environments", "roles", "tenants", "groups", "on_call")
HOUR = 3600
DAY = 24 * HOUR


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    tokens = group("token", "Make, list and revoke API tokens; seal the account for emergencies.")
    tokens.command("create")(create)
    tokens.command("list")(listing)
    tokens.command("revoke")(revoke)
    tokens.command("seal")(seal)
    app.add_typer(tokens)
    principals = group("principal", "Who you are to the installation, and whom the directory knows.")
    principals.command("me")(me)
    principals.command("list")(people)
    app.add_typer(principals)


def create(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    days: Annotated[int, typer.Option(min=0, help="How long it lives.")] = 0,
    hours: Annotated[int, typer.Option(min=0, help="How long it lives, besides days.")] = 0,
    scope: Annotated[
        list[str] | None, typer.Option(help="An action, or a family such as 'incident.*'; may be repeated.")
    ] = None,
    role: Annotated[list[str] | None, typer.Option(help="One of your roles; may be repeated.  [default: all]")] = None,
    tenant: Annotated[
        list[str] | None, typer.Option(help="One of your tenants; may be repeated.  [default: the one acted for]")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Make a token that speaks for you. It stands alone on standard output, this once; nobody can show it again."""
    from runbook_ranger.cli.client import Client

    if not days and not hours:
        raise WrongUsage("A token ends some time.", fix="Say how long it lives: --days N, or --hours N.")
    wanted = {"name": name, "expires_in_seconds": days * DAY + hours * HOUR}
    with Client.open(data_dir) as client:
        made = client.post("/tokens", {**wanted, "scopes": scope, "roles": role, "tenants": tenant})
    if output is Format.JSON:
        show.as_json(made)
        return
    show.note(f"token {made['token_id']} of {made['owner']}, until {made['expires_at']}; it is shown this once")
    sys.stdout.write(f"{made['token']}\n")


def listing(
    everyone: Annotated[bool, typer.Option("--everyone", help="All that open the tenant; for administrators.")] = False,
    after: Annotated[str | None, typer.Option(help="Go on after this token.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Your tokens, newest first, and when each was last used; without their secrets, which nobody has."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/tokens", everyone="true" if everyone else None, after=after, limit=limit)
    show.answer(found, output, COLUMNS)


def revoke(token_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """End a token, and those that were made with it; within two seconds it opens nothing any more."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        show.answer(client.post(f"/tokens/{segment(token_id)}/revoke", {}), output)


def seal(
    file: Annotated[Path, typer.Argument(help="Where RR_BREAK_GLASS_FILE points; it must not be there yet.")],
    tenant: Annotated[list[str], typer.Option(help="A tenant that it opens, or '*'; may be repeated.")],
    actor: Annotated[str, typer.Option(help="The name that its deeds stand under.")] = "break-glass",
    minutes: Annotated[int, typer.Option(min=1, max=480, help="How long one activation lasts.")] = 60,
    activations: Annotated[int, typer.Option(min=1, max=24, help="How often the seal may be broken.")] = 1,
) -> None:
    """Make a sealed account: a file (0600) that holds a hash, and a secret for the envelope on standard output."""
    import hashlib
    import json
    import os
    import secrets

    secret = f"rrbg_{secrets.token_hex(32)}"
    found = {
        "sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "actor": actor,
        "tenants": sorted(set(tenant)),
        "minutes": minutes,
        "activations": activations,
    }
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise WrongUsage(f"{file} cannot be made: {error.strerror}.") from None
    with os.fdopen(descriptor, "w") as opened:
        opened.write(json.dumps(found, indent=1) + "\n")
    show.note("put this into the envelope; it is shown this once")
    sys.stdout.write(f"{secret}\n")


def me(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Whom your credential speaks for: tenants, roles, scopes, groups, who is on call, and until when."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/principals/me"), output)


def people(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """What the directory says of people; for administrators."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/principals"), output, PEOPLE)
