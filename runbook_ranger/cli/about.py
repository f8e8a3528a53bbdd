"""`rangerctl version`."""

import typer

from runbook_ranger.cli.options import Format, Output


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("version")(version)


def version(output: Output = Format.TABLE) -> None:
    """Which version this is."""
    from importlib.metadata import version as version_of

    from runbook_ranger.cli import show

    number = version_of("runbook-ranger")
    if output is Format.JSON:
        show.as_json({"version": number})
    else:
        typer.echo(number)
