"""`rangerctl approval`: see exactly what would run, and say yes or no to that and nothing else."""

import sys
from enum import Enum
from typing import Annotated, Any, TypeAlias

import typer

from runbook_ranger.cli import questions, show
from runbook_ranger.cli.errors import CliError, WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale, group
from runbook_ranger.cli.runbooks import pairs

COLUMNS = ("approval_id", "state", "risk", "action", "resource_id", "runbook_id", "step", "requester", "expires_at")
WHAT = (
    *("approval_id", "state", "risk", "action", "resource_id", "runbook_id", "step", "prompt"),
    *("incident_id", "execution_id", "requester", "expires_at", "plan_hash", "action_hash", "arguments"),
)
"""What a person must have seen before a yes."""
Value: TypeAlias = Annotated[
    list[str] | None, typer.Option("--value", help="NAME=VALUE of the form, as a JSON scalar or text; repeatable.")
]


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
    commands.command("link")(link)
    commands.command("grant")(grant)
    commands.command("withdraw-vote")(withdraw_vote)
    commands.command("reject")(reject)
    commands.command("revoke")(revoke)
    app.add_typer(commands)


def listing(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    incident: Annotated[str | None, typer.Option(help="Only those for this incident.")] = None,
    execution: Annotated[str | None, typer.Option(help="Only those for this execution.")] = None,
    mine: Annotated[bool, typer.Option("--mine", help="Only those that a yes of yours would count for now.")] = False,
    after: Annotated[str | None, typer.Option(help="Go on after this approval.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Approvals, those asked last first. With --mine each with what exactly would run, for a screen of any width."""
    from runbook_ranger.cli.client import Client

    wanted: dict[str, Any] = {"state": state.value if state else None, "incident_id": incident}
    wanted |= {"execution_id": execution, "mine": True if mine else None, "after": after, "limit": limit}
    with Client.open(data_dir) as client:
        found = client.get("/approvals", **wanted)
    if mine and output is Format.TABLE:
        questions.cards(found["items"])
        if found.get("next"):
            show.note(f"there is more: --after {found['next']}")
    else:
        show.answer(found, output, COLUMNS)


def show_one(approval_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One approval: what would run, on what, asked for by whom, until when."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        found = client.get(f"/approvals/{segment(approval_id)}")
    if output is Format.JSON:
        show.as_json(found)
    else:
        questions.cards([found])


def link(approval_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """A link to an open question, for somebody else: it shows it, signed in, and decides nothing by itself."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        made = client.get(f"/approvals/{segment(approval_id)}/link")
        url = client.at(made["path"])
    if output is Format.JSON:
        show.as_json({**made, "url": url})
    else:
        sys.stdout.write(f"{show.harmless(url)}\n")
        show.note(f"good until {made['expires_at']}")


def grant(
    approval_id: str,
    rationale: Rationale,
    value: Value = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask; what is shown is granted.")] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Agree to exactly what is shown, once: a plan or action that changed meanwhile is refused.

    Where several must agree, the last of them grants.

    Without --yes, the last six characters of the approval must be typed on a terminal.
    """
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        seen = client.get(f"/approvals/{segment(approval_id)}")
        _show_what_runs(seen)
        if not yes:
            _confirm(approval_id)
        hashes = {"plan_hash": seen["plan_hash"], "action_hash": seen["action_hash"]}
        body = {"rationale": rationale, "channel": "cli", "values": pairs(value) if value else None, **hashes}
        show.answer(client.post(f"/approvals/{segment(approval_id)}/grant", body), output)


def withdraw_vote(
    approval_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Take your own yes back, while the question is open."""
    _decide("withdraw-vote", approval_id, rationale, data_dir, output)


def reject(approval_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Say no; one is enough, however many have agreed."""
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
        if value not in (None, "", {}):
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
