"""`rangerctl incident`: look at incidents and move them."""

from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

COLUMNS = (
    "incident_id",
    "severity",
    "status",
    "title",
    "alert_name",
    "firing",
    "flags.remediation_failed.reason",
    "opened_at",
)


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("incident", "Look at incidents and move them.")
    commands.command("list")(listing)
    commands.command("show")(show_one)
    commands.command("transition")(transition)
    app.add_typer(commands)


def listing(
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this incident.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Incidents, newest first."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/incidents", status=status, after=after, limit=limit), output, COLUMNS)


def show_one(incident_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One incident with its alerts and executions."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        show.answer(client.get(f"/incidents/{segment(incident_id)}"), output)


def transition(
    incident_id: str,
    trigger: Annotated[str, typer.Argument(help="acknowledge, resolve, close, … (a wrong one lists those there are).")],
    rationale: Annotated[
        str | None, typer.Option("--rationale", "-r", help="Why; it stands in the timeline. Some triggers ask for it.")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Pull a trigger of the lifecycle."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        path = f"/incidents/{segment(incident_id)}/transition"
        show.answer(client.post(path, {"trigger": trigger, "rationale": rationale}), output)
