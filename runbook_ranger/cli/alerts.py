"""`rangerctl alert post`: what a monitoring system does, by hand."""

import json
import sys
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Output, group


class Kind(str, Enum):  # noqa: UP042 — as options.Format
    """Whose form a body has."""

    EVENTS = "events"
    ALERTMANAGER = "alertmanager"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("alert", "Report alerts.")
    commands.command("post")(post)
    commands.command("senders")(senders)
    app.add_typer(commands)


def post(
    file: Annotated[str | None, typer.Argument(help="A JSON file, or - for standard input.")] = None,
    kind: Annotated[Kind, typer.Option("--format", help="Whose form the file has.")] = Kind.EVENTS,
    name: Annotated[str | None, typer.Option(help="Instead of a file: the alert's name.")] = None,
    severity: Annotated[str | None, typer.Option(help="low, medium, high or critical.")] = None,
    label: Annotated[list[str] | None, typer.Option(help="A label, name=value; may be repeated.")] = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="It has ended.")] = False,
    starts_at: Annotated[str | None, typer.Option(help="When it began, RFC 3339.  [default: now]")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Post an alert; done once it is stored."""
    from runbook_ranger.cli.client import Client

    if (file is None) == (name is None):
        raise WrongUsage("Name a file (or -), or describe the alert with --name.")
    if file is not None:
        body = _read(file)
    else:
        body = _described(name or "", severity, label or [], resolved=resolved, starts_at=starts_at)
    with Client.open(data_dir) as client:
        stored = client.post_text(f"/webhooks/{kind.value}", body, "application/json")
    if output is Format.JSON:
        show.as_json(stored)
    else:
        typer.echo(f"stored: {stored['accepted']} in {stored['stream']} at {stored['seq']}")


def senders(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Who may send alerts for the tenant, and how each proves itself; for administrators."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/webhooks/senders"), output, ("sender", "tenant", "method", "live_secrets"))


def _read(file: str) -> bytes:
    try:
        return sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        raise WrongUsage(f"{file} cannot be read: {error.strerror}.") from None


def _described(name: str, severity: str | None, labels: list[str], *, resolved: bool, starts_at: str | None) -> bytes:
    pairs = [pair.partition("=") for pair in labels]
    if not all(key and sign for key, sign, _ in pairs):
        raise WrongUsage("A label is name=value.")
    if resolved and starts_at is None:
        raise WrongUsage("An alert that ended is known by its start.", fix="Add --starts-at as it was posted.")
    now = datetime.now(UTC).isoformat()
    alert = {
        "name": name,
        "status": "resolved" if resolved else "firing",
        "severity": severity,
        "labels": {key: value for key, _, value in pairs},
        "starts_at": starts_at or now,
        "ends_at": now if resolved else None,
    }
    return json.dumps({key: value for key, value in alert.items() if value is not None}).encode()
