"""`rangerctl runbook`: publish, check, look at."""

from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

COLUMNS = ("runbook_id", "version", "name", "risk", "mode", "tags", "published_by", "published_at")
File = Annotated[Path, typer.Argument(help="The runbook, YAML.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("runbook", "Publish runbooks and look at them.")
    commands.command("publish")(publish)
    commands.command("lint")(lint)
    commands.command("list")(listing)
    commands.command("show")(show_one)
    app.add_typer(commands)


def publish(file: File, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Publish a runbook; what is wrong with it is said by line, and nothing is stored then."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        done = client.post_text("/runbooks", _read(file), "application/yaml")
    if output is Format.JSON:
        show.as_json(done)
    else:
        what = "published" if done.get("created", True) else "unchanged"
        typer.echo(f"{what}: {done['runbook_id']} version {done['version']} ({done['spec_hash']})")


def lint(file: File, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Say what publishing would say; nothing is stored."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.post_text("/runbooks/lint", _read(file), "application/yaml")
    if output is Format.JSON:
        show.as_json(found)
    else:
        typer.echo(f"good: {found['runbook_id']} ({found['spec_hash']})")


def listing(
    after: Annotated[str | None, typer.Option(help="Go on after this runbook.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """The newest version of each runbook."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/runbooks", after=after, limit=limit), output, COLUMNS, rows="runbooks")


def show_one(
    runbook_id: str,
    version: Annotated[int | None, typer.Option(min=1, help="Not the newest, but this one.")] = None,
    source: Annotated[bool, typer.Option("--source", help="Only the text, as it was published.")] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """One version of a runbook."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        path = f"/runbooks/{segment(runbook_id)}"
        found = client.get(path, version=version, include_source="true" if source else None)
    if source and output is Format.TABLE:
        typer.echo(show.harmless(found["source"]), nl=False)
    elif output is Format.TABLE:
        show.fields({key: value for key, value in found.items() if key != "spec"})
        show.note("the text: --source; the spec: -o json")
    else:
        show.as_json(found)


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}.") from None
