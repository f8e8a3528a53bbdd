"""`rangerctl approval`: see exactly what would run, and say yes or no to that and nothing else."""

import sys
from enum import Enum
from typing import Annotated, Any

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale, group

COLUMNS = ("approval_id", "state", "risk", "action", "resource_id", "runbook_id", "step", "requester", "expires_at")
WHAT = (
    *("approval_id", "state", "risk", "action", "resource_id", "runbook_id", "step", "prompt"),
    *("incident_id", "execution_id", "requester", "expires_at", "plan_hash", "action_hash"),
)
"""What a person must have seen before a yes."""


class State(str, Enum):  # noqa: UP042 — as options.Format
    """What became of a request."""

    REQUESTED = "requested"
    GRANTED = "granted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    REVOKED = "revoked"
    WITHDRAWN = "withdrawn"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("approval", "See what waits for a person, and decide it.")
    commands.command("list")(listing)
    commands.command("show")(show_one)
    commands.command("grant")(grant)
    commands.command("reject")(reject)
    commands.command("revoke")(revoke)
    app.add_typer(commands)


def listing(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    incident: Annotated[str | None, typer.Option(help="Only those for this incident.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only those for this execution.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this approval.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Approvals, those asked last first."""
    from runbook_ranger.cli.client import Client

    wanted = state.value if state else None
    with Client.open(data_dir) as client:
        found = client.get(
            "/approvals", state=wanted, incident_id=incident, execution_id=execution, after=after, limit=limit
        )
    show.answer(found, output, COLUMNS)


def show_one(approval_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One approval: what would run, on what, asked for by whom, until when."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        show.answer(client.get(f"/approvals/{segment(approval_id)}"), output)


def grant(
    approval_id: str,
    rationale: Rationale,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; what is shown is granted.")] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Allow exactly what is shown, once: a plan or action that changed meanwhile is refused.

    Without --yes, the last six characters of the approval must be typed on a terminal.
    """
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        seen = client.get(f"/approvals/{segment(approval_id)}")
        _show_what_runs(seen)
        if not yes:
            _confirm(approval_id)
        hashes = {"plan_hash": seen["plan_hash"], "action_hash": seen["action_hash"]}
        body = {"rationale": rationale, "channel": "cli", **hashes}
        show.answer(client.post(f"/approvals/{segment(approval_id)}/grant", body), output)


def reject(approval_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Say no."""
    _decide("reject", approval_id, rationale, data_dir, output)


def revoke(approval_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Take a grant back before it is used."""
    _decide("revoke", approval_id, rationale, data_dir, output)


def _decide(verb: str, approval_id: str, rationale: str, data_dir: DataDir, output: Format) -> None:
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        body = {"rationale": rationale, "channel": "cli"}
        show.answer(client.post(f"/approvals/{segment(approval_id)}/{verb}", body), output)


def _show_what_runs(seen: dict[str, Any]) -> None:
    """On standard error: it is for the person, also where the answer goes to a program."""
    for name in WHAT:
        value = seen.get(name)
        if value not in (None, ""):
            show.note(f"{name.replace('_', ' '):14} {value}")


def _confirm(approval_id: str) -> None:
    """Raises CliError unless the person types what names this approval."""
    if not sys.stdin.isatty():
        raise WrongUsage("Nobody can be asked here.", fix="Add --yes to grant what was shown.")
    end = approval_id[-6:]
    sys.stderr.write(f"type {show.harmless(end)} to grant this: ")
    sys.stderr.flush()
    if sys.stdin.readline().strip() != end:
        raise CliError("Nothing was granted.")
