"""`rangerctl timeline show`: what happened, in order."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.moments import moment
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

if TYPE_CHECKING:
    from runbook_ranger.cli.client import Client

COLUMNS = ("index", "time", "type", "actor", "what")
PAGE = 500
SOME = 100
BRIEF = 160


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("timeline", "What happened, in order.")
    commands.command("show")(show_entries)
    app.add_typer(commands)


def show_entries(
    incident: Annotated[str | None, typer.Option(help="Of this incident.")] = None,
    execution: Annotated[str | None, typer.Option(help="Of this execution.")] = None,
    runbook: Annotated[str | None, typer.Option(help="Of this runbook.")] = None,
    actor: Annotated[str | None, typer.Option(help="Done by them.")] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="Of this type, such as runbook.started; 'runbook.*' for all that begin so."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Stored since: a moment (2026-03-01T10:00:00Z), or so long ago (90s, 15m, 2h, 7d)."),
    ] = None,
    until: Annotated[str | None, typer.Option(help="Stored before: the same.")] = None,
    text: Annotated[
        str | None, typer.Option(help="With all these words in the payload; 'resta*' for a beginning.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="The newest first.")] = False,
    after: Annotated[int | None, typer.Option(help="Go on after this index.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Entries that fit all that is said, oldest first.

    Every one of them for an incident or an execution; else 100, unless --limit says how many.
    """
    from runbook_ranger.cli.client import Client

    now = datetime.now(UTC)
    about = {
        "incident_id": incident,
        "execution_id": execution,
        "runbook_id": runbook,
        "actor": actor,
        "type": type_,
        "since": since and moment(since, now=now),
        "until": until and moment(until, now=now),
        "text": text,
        "order": "newest" if newest else None,
    }
    most = limit if limit is not None or incident or execution else SOME
    with Client.open(data_dir) as client:
        found = list(entries(client, most, after=after, **about))
    if output is Format.JSON:
        show.as_json({"entries": found})
    else:
        show.table(({**entry, "what": _what(entry)} for entry in found), COLUMNS)
    if output is Format.TABLE and most is not None and len(found) == most:
        show.note(f"there may be more: --after {found[-1]['index']}")


def _what(entry: Mapping[str, Any]) -> str:
    redacted = entry["payload"] is None and entry.get("payload_length", 0) is None
    return "(redacted)" if redacted else brief(entry["payload"])


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


def entries(
    client: "Client", limit: int | None = None, *, after: int | None = None, **about: str | None
) -> Iterator[dict[str, Any]]:
    """Entries page by page, at most `limit` of them."""
    left = limit
    while left is None or left > 0:
        page = client.get("/timeline", after=after, limit=min(left or PAGE, PAGE), **about)
        yield from page["entries"]
        if page["next"] is None:
            return
        after = page["next"]
        left = None if left is None else left - len(page["entries"])
