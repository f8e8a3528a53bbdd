"""`rangerctl dlq`: messages that could not be applied; look at them, apply them again, or let them go."""

from enum import Enum
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import NotReachable
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale, group

COLUMNS = ("service", "id", "subject", "aggregate_id", "stream", "stream_seq", "created_at", "reason")


class State(str, Enum):  # noqa: UP042 — as options.Format
    """What became of a letter."""

    OPEN = "open"
    RETRIED = "retried"
    DISCARDED = "discarded"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("dlq", "Dead letters: messages that could not be applied.")
    commands.command("list")(listing)
    commands.command("show")(show_one)
    commands.command("retry")(retry)
    commands.command("discard")(discard)
    app.add_typer(commands)


def listing(
    service: Annotated[str | None, typer.Option(help="Only those of this service.")] = None,
    state: Annotated[State, typer.Option(help="What became of them.")] = State.OPEN,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Dead letters, oldest first. Code 3 when a service did not answer, since the list is then not whole."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/dead-letters", service=service, state=state.value, limit=limit)
    show.answer(found, output, COLUMNS)
    if found["unanswered"]:
        raise NotReachable(f"The list is not whole; no answer from: {', '.join(found['unanswered'])}.")


def show_one(service: str, number: int, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One letter with its payload."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        show.answer(client.get(f"/dead-letters/{segment(service)}/{number}"), output)


def retry(
    service: str, number: int, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Apply a letter, and those parked behind it, again, in order."""
    _resolve("retry", service, number, rationale, data_dir, output)


def discard(
    service: str, number: int, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Let a letter go; it stays listed with --state discarded."""
    _resolve("discard", service, number, rationale, data_dir, output)


def _resolve(verb: str, service: str, number: int, rationale: str, data_dir: DataDir, output: Format) -> None:
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        path = f"/dead-letters/{segment(service)}/{number}/{verb}"
        show.answer(client.post(path, {"rationale": rationale}), output)
