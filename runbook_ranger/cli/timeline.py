"""`rangerctl timeline show`: what happened, in order."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

if TYPE_CHECKING:
    from runbook_ranger.cli.client import Client

COLUMNS = ("index", "time", "type", "actor", "what")
PAGE = 500
BRIEF = 160


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("timeline", "What happened, in order.")
    commands.command("show")(show_entries)
    app.add_typer(commands)


def show_entries(
    incident: Annotated[str | None, typer.Option(help="Of this incident.")] = None,
    execution: Annotated[str | None, typer.Option(help="Of this execution.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Every entry of an incident or of an execution, oldest first."""
    from runbook_ranger.cli.client import Client

    if (incident is None) == (execution is None):
        raise WrongUsage("Name either --incident or --execution.")
    with Client.open(data_dir) as client:
        found = list(entries(client, limit, incident_id=incident, execution_id=execution))
    if output is Format.JSON:
        show.as_json({"entries": found})
    else:
        show.table(({**entry, "what": brief(entry["payload"])} for entry in found), COLUMNS)


def brief(payload: Any) -> str:
    """The plain values of a payload that tell people something: no ids, no hashes, no nested things."""
    if not isinstance(payload, dict):
        return ""
    told = {
        key: value
        for key, value in payload.items()
        if not key.endswith(("_id", "_hash", "_sha256", "fingerprint")) and not isinstance(value, dict | list)
    }
    text = ", ".join(f"{key.replace('_', ' ')}: {value}" for key, value in told.items() if value not in ("", None))
    return text if len(text) <= BRIEF else f"{text[:BRIEF]}…"


def entries(client: "Client", limit: int | None = None, **about: str | None) -> Iterator[dict[str, Any]]:
    """Entries page by page, at most `limit` of them."""
    left, after = limit, None
    while left is None or left > 0:
        page = client.get("/timeline", after=after, limit=min(left or PAGE, PAGE), **about)
        yield from page["entries"]
        if page["next"] is None:
            return
        after = page["next"]
        left = None if left is None else left - len(page["entries"])
