"""`rangerctl`: what people and scripts do with a running Runbook Ranger.

Each module of commands has `register(app)`, which adds them; it imports Typer alone, and whatever a command needs is
imported when that command runs, so that `rangerctl --help` answers at once. Errors derive from `errors.CliError`:
they are printed without a traceback and end the process with their exit code.
"""

import sys
from collections.abc import Sequence

import typer

from runbook_ranger.cli import (
    about,
    alerts,
    approvals,
    audit,
    buskeys,
    chaos,
    deadletters,
    demo,
    events,
    executions,
    flags,
    incidents,
    policies,
    runbooks,
    show,
    stack,
    switch,
    timeline,
    tokens,
    traces,
)
from runbook_ranger.cli.errors import CliError

COMMANDS = (
    *(stack, demo, alerts, incidents, runbooks, executions, approvals, switch),
    *(events, timeline, audit, deadletters, tokens, policies, flags, traces, chaos, buskeys, about),
)

app = typer.Typer(
    name="rangerctl",
    help="Runbook Ranger: from an alert to a verified action. Exit codes: 0 done, 1 the answer is no, 2 wrong usage, "
    "3 not reachable, 4 not authorised.",
    no_args_is_help=True,
    rich_markup_mode=None,  # Rich would triple the time until help is shown
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for commands in COMMANDS:
    commands.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and end the process with its exit code."""
    try:
        app(args=arguments)
    except CliError as error:
        for line in error.lines():
            show.note(line)
        sys.exit(error.exit_code)
