"""`rangerctl incident`: open incidents, look at them, judge and move them."""

from typing import Annotated, Any

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import NotReachable, WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale, group

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
    commands = group("incident", "Open incidents, look at them, move them.")
    commands.command("list")(listing)
    commands.command("show")(show_one)
    commands.command("create")(create)
    commands.command("severity")(severity)
    commands.command("owner")(owner)
    commands.command("link")(link)
    commands.command("transition")(transition)
    app.add_typer(commands)


def listing(
    status: Annotated[str | None, typer.Option(help="Only those with this status.")] = None,
    severity: Annotated[str | None, typer.Option(help="Only those of this severity.")] = None,
    query: Annotated[str | None, typer.Option("--query", "-q", help="Only those whose title has this.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this incident.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Incidents, newest first."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/incidents", status=status, severity=severity, q=query, after=after, limit=limit)
    show.answer(found, output, COLUMNS)


def show_one(incident_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One incident with its alerts, executions, approvals and timeline. Code 3 when a part of it is missing."""
    from runbook_ranger.cli import provenance
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        found = client.get(f"/incidents/{segment(incident_id)}")
    if output is Format.JSON:
        show.as_json(found)
    else:
        people = provenance.shown(found)
        show.fields({key: value for key, value in people.items() if key not in {"timeline_next", "unanswered"}})
        if found.get("timeline_next") is not None:
            show.note(f"the timeline, whole: rangerctl timeline show --incident {incident_id}")
    if missing := found.get("unanswered"):
        reasons = "; ".join(f"{name}: {detail}" for name, detail in missing.items())
        raise NotReachable(f"The incident is not whole: {show.harmless(reasons)}")


def create(
    title: Annotated[str, typer.Argument(help="What is wrong, in a line.")],
    severity: Annotated[str, typer.Option(help="low, medium, high or critical.")],
    description: Annotated[str | None, typer.Option(help="What is known about it.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Open an incident by hand."""
    from runbook_ranger.cli.client import Client

    body = {"title": title, "severity": severity, "description": description, "tags": tag or None}
    with Client.open(data_dir) as client:
        show.answer(client.post("/incidents", body), output)


def severity(
    incident_id: str,
    severity: Annotated[str, typer.Argument(help="low, medium, high or critical.")],
    rationale: Rationale,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Say how bad it is now; what it was stays in its history."""
    _change(incident_id, "severity", {"severity": severity, "rationale": rationale}, data_dir, output)


def owner(
    incident_id: str,
    owner: Annotated[str | None, typer.Argument(help="Who takes care of it.")] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Instead: nobody does.")] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Say who takes care of it."""
    if (owner is None) != nobody:
        raise WrongUsage("Name an owner, or say --nobody.")
    _change(incident_id, "owner", {"owner": owner}, data_dir, output)


def link(
    incident_id: str,
    runbook_id: Annotated[str, typer.Argument(help="A published runbook.")],
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Link a runbook; nothing is executed by it."""
    _change(incident_id, "runbooks", {"runbook_id": runbook_id}, data_dir, output)


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
    body = {"trigger": trigger, "rationale": rationale} if rationale is not None else {"trigger": trigger}
    _change(incident_id, "transition", body, data_dir, output)


def _change(incident_id: str, what: str, body: dict[str, Any], data_dir: DataDir, output: Format) -> None:
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        show.answer(client.post(f"/incidents/{segment(incident_id)}/{what}", body, whole=True), output)
