"""`rangerctl flag`: which parts of the product a tenant has, and switching them."""

from typing import Annotated, Literal

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Format, Output, group

COLUMNS = ("name", "enabled", "state", "tenants", "changed_by", "changed_at", "about")


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    flags = group("flag", "Which parts of the product a tenant has, switched while everything runs.")
    flags.command("list")(listing)
    flags.command("set")(change)
    app.add_typer(flags)


def listing(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Every flag, and whether your tenant has what it holds."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/flags")
    show.answer(found, output, COLUMNS)


def change(
    name: str,
    state: Annotated[Literal["on", "off", "listed"], typer.Argument(help="`listed` is on for --tenant alone.")],
    rationale: Annotated[str, typer.Option(help="Why; it stands in the timeline.")],
    tenant: Annotated[list[str] | None, typer.Option(help="Who has it while it is listed; repeatable.")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Switch a part on or off, for everyone or for the tenants of a list; every gateway knows within two seconds."""
    from runbook_ranger.cli.client import Client, segment

    body = {"state": state, "tenants": tenant, "rationale": rationale}
    with Client.open(data_dir) as client:
        found = client.post(f"/flags/{segment(name)}", body)
    show.answer({"items": [found]}, output, COLUMNS)
