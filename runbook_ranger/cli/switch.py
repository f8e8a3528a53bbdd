"""`rangerctl kill-switch`: hold every mutation back, and let it go again."""

from enum import Enum
from typing import Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Format, Output, group

COLUMNS = ("scope", "engaged", "epoch", "changed_by", "changed_at", "reason")


class Scope(str, Enum):  # noqa: UP042 — as options.Format
    """Whose mutations."""

    GLOBAL = "global"
    TENANT = "tenant"


Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it stands in the timeline.")]
Whose = Annotated[Scope, typer.Option(help="Everyone's mutations, or those of your tenant.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("kill-switch", "Hold mutations back, and let them go.")
    commands.command("show")(show_all)
    commands.command("on")(engage)
    commands.command("off")(release)
    app.add_typer(commands)


def show_all(data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Whether mutations are held back, by whom and why."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/kill-switch")
    show.answer(found, output, COLUMNS)
    if output is Format.TABLE and not any(item["engaged"] for item in found["items"]):
        show.note("nothing is held back")


def engage(
    reason: Reason, scope: Whose = Scope.TENANT, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Hold mutations back; once this returns, none starts."""
    _set(reason, scope, data_dir, output, engaged=True)


def release(
    reason: Reason, scope: Whose = Scope.TENANT, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Let mutations go on."""
    _set(reason, scope, data_dir, output, engaged=False)


def _set(reason: str, scope: Scope, data_dir: DataDir, output: Format, *, engaged: bool) -> None:
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        done = client.post("/kill-switch", {"engaged": engaged, "reason": reason, "scope": scope.value})
    if output is Format.TABLE and not done.get("changed", True):
        show.note("it was so already")
    show.answer(done, output, COLUMNS)
