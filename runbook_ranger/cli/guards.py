"""`rangerctl execution locks | breakers | reset-breaker`: who holds and who waits, and a runbook let go on."""

import sys
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale

_LOCKS = ("resource_id", "state", "execution_id", "runbook_id", "since", "waiting")
_PLACES = ("key", "limit", "waiting")
_IN_PLACES = ("key", "position", "execution_id", "runbook_id", "since")
_HELD = ("reason", "execution_id", "step", "resource_id", "until", "detail")
_BREAKERS = ("state", "runbook_id", "resource_id", "failures", "opened_at", "reset_by", "rationale")


def register(commands: typer.Typer) -> None:
    """Add these commands to the group."""
    commands.command("locks")(locks)
    commands.command("breakers")(breakers)
    commands.command("reset-breaker")(reset_breaker)


def locks(
    resource: Annotated[str | None, typer.Option(help="Only this resource.")] = None,
    key: Annotated[str | None, typer.Option(help="Only this concurrency key.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Who holds and who waits: locks, places under concurrency keys, and changes that a guard holds."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/locks", resource_id=resource, key=key, limit=limit)
    if output is Format.JSON:
        show.as_json(found)
        return
    waiters = [{"resource_id": lock["resource_id"], **who} for lock in found["locks"] for who in lock["waiters"]]
    within = [{"key": place["key"], **who} for place in found["places"] for who in (*place["holders"], *place["queue"])]
    for title, rows, columns in (
        ("locks", found["locks"], _LOCKS),
        ("waiting for a lock", waiters, ("resource_id", "execution_id", "step", "since")),
        ("concurrency keys", found["places"], _PLACES),
        ("holding a place, or (with a position) waiting for one", within, _IN_PLACES),
        ("held by a guard", found["held"], _HELD),
    ):
        if rows or title == "locks":
            sys.stdout.write(f"{title}\n")
            sys.stdout.flush()
            show.table(rows, columns)


def breakers(limit: Limit = None, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Runbooks that failed too often on a resource: open ones first, then those that were reset."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/breakers", limit=limit), output, _BREAKERS)


def reset_breaker(
    runbook_id: str,
    resource_id: str,
    rationale: Rationale,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Let a runbook change a resource again on which it had failed too often."""
    from runbook_ranger.cli.client import Client

    said = {"runbook_id": runbook_id, "resource_id": resource_id, "rationale": rationale}
    with Client.open(data_dir) as client:
        show.answer(client.post("/breakers/reset", said), output)
