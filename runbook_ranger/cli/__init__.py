"""`rangerctl`, the command line. Every command imports what it needs when it runs, so that `--help` starts fast."""

import typer

from runbook_ranger.cli import stack

app = typer.Typer(
    name="rangerctl",
    help="Runbook Ranger: from an alert to a verified action.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
stack.register(app)


def main() -> None:
    """The program."""
    app()
