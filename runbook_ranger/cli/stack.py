"""Running the whole product on one machine: up, down, status, logs; provisioning and migrations alone."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from runbook_ranger.stack.control import ProcessStatus, Status
    from runbook_ranger.stack.layout import Layout

DataDir = Annotated[
    Path | None, typer.Option("--data-dir", envvar="RR_DATA_DIR", help="Where everything is kept.  [default: .ranger]")
]
NOT_RUNNING = 3


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    for command in (up, down, status, logs, provision, republish, migrate):
        app.command()(command)


def up(
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many workers carry out steps.")] = 2,
    data_dir: DataDir = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when ready; stop it with `down`.")] = False,
    fork: Annotated[bool, typer.Option(envvar="RR_FORK", help="Fork services from one process, or start each.")] = True,
    timeout: Annotated[float, typer.Option(help="Seconds that --detach waits for everything to be ready.")] = 120,
) -> None:
    """Start the servers and every service, and keep them alive."""
    from runbook_ranger.stack.control import refuse_second, up_detached
    from runbook_ranger.stack.fleet import Plan
    from runbook_ranger.stack.plan import standard
    from runbook_ranger.stack.supervisor import Supervisor

    with refusals():
        layout = _layout(data_dir)
        refuse_second(layout)

        def plan() -> Plan:
            return standard(layout, workers=workers, fork=fork)

        if detach:
            up_detached(layout, plan, typer.echo, timeout)
        else:
            raise typer.Exit(Supervisor(layout, plan()).run())


def down(data_dir: DataDir = None) -> None:
    """Stop everything in order and wait for it."""
    from runbook_ranger.stack import control

    with refusals():
        typer.echo(f"stopped in {control.down(existing(data_dir)):.1f} s")


def status(
    data_dir: DataDir = None,
    output: Annotated[str, typer.Option("-o", "--output", help="table or json")] = "table",
) -> None:
    """What runs: process, state, restarts, uptime, memory, readiness. Code 3 when nothing does."""
    from runbook_ranger.stack import control

    with refusals():
        found = control.status(existing(data_dir))
    if output == "json":
        typer.echo(json.dumps(asdict(found), indent=1))
    else:
        _print_table(found)


def logs(
    name: Annotated[str | None, typer.Argument(help="One process; all of them otherwise.")] = None,
    data_dir: DataDir = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines of each to begin with.")] = 100,
) -> None:
    """What the processes have said."""
    from runbook_ranger.stack import tail
    from runbook_ranger.stack.console import prefixed

    with refusals():
        folder = existing(data_dir).logs
    found = tail.logs(folder, name)
    if not found and not follow:
        typer.echo(f"no log of {name or 'anything'} in {folder}", err=True)
        raise typer.Exit(1)
    numbers = {process: number for number, process in enumerate(found)}
    shown = (
        tail.follow(folder, name, lines)
        if follow
        else ((process, line) for process, one in found.items() for line in one.last(lines))
    )
    try:
        for process, line in shown:
            mark = "" if name else prefixed(process, numbers.setdefault(process, len(numbers)))
            sys.stdout.write(f"{mark}{line}\n")
            sys.stdout.flush()
    except (KeyboardInterrupt, BrokenPipeError):
        raise typer.Exit(0) from None


def provision(
    data_dir: DataDir = None,
    recreate: Annotated[
        list[str] | None, typer.Option(help="A consumer (NAME or STREAM/NAME) to make anew where it stands.")
    ] = None,
    update: Annotated[list[str] | None, typer.Option(help="A stream to change in place.")] = None,
    renew: Annotated[
        list[str] | None, typer.Option(help="A stream to delete and start in a new epoch; EVENTS gets its facts back.")
    ] = None,
) -> None:
    """Make streams, consumers, roles and schemas; refuse when something differs from what is wanted."""
    import asyncio

    from runbook_ranger.stack.provision import Purpose, Targets
    from runbook_ranger.stack.provision import provision as run

    with refusals():
        _use_embedded(data_dir)
        asyncio.run(run(Targets.from_environment(), Purpose(recreate or (), update or (), renew or ())))
        typer.echo("everything is as wanted")


def republish(
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what is missing.")] = False,
) -> None:
    """Give the stream of facts back what it lost, from outboxes and log; nothing is applied twice.

    Provisioning does this by itself for a stream that it makes anew.
    """
    import asyncio

    from runbook_ranger.stack.provision import Targets, republish_facts

    with refusals():
        _use_embedded(data_dir)
        found = asyncio.run(republish_facts(Targets.from_environment(), dry_run=dry_run))
        verb = "would be published" if dry_run else "published"
        typer.echo(f"{found.from_outboxes} facts of outboxes {verb} again by their relays")
        for service, count in sorted(found.from_log.items()):
            typer.echo(f"{count} facts of the log {verb} again for {service}")


def migrate(data_dir: DataDir = None) -> None:
    """Bring every service's schema to its newest revision."""
    import asyncio

    from runbook_ranger.stack.migrate import migrate as run

    with refusals():
        _use_embedded(data_dir)
        changed = asyncio.run(run(os.environ["RR_POSTGRES_URL"]))
        for service, revision in changed.items():
            typer.echo(f"{service} is at {revision}")
        if not changed:
            typer.echo("nothing to migrate")


@contextmanager
def refusals() -> Iterator[None]:
    """Print a refusal as a sentence and end with its code."""
    from runbook_ranger.stack.errors import NotRunningError, StackError

    try:
        yield
    except StackError as refusal:
        typer.echo(str(refusal), err=True)
        raise typer.Exit(NOT_RUNNING if isinstance(refusal, NotRunningError) else 1) from None


def _layout(data_dir: Path | None) -> "Layout":
    from runbook_ranger.stack.layout import Layout

    return Layout.open(data_dir)


def existing(data_dir: Path | None) -> "Layout":
    """The layout of a directory that was used before: asking makes no folders."""
    from runbook_ranger.stack.errors import NotRunningError
    from runbook_ranger.stack.layout import chosen_root

    if not chosen_root(data_dir).is_dir():
        raise NotRunningError(chosen_root(data_dir))
    return _layout(data_dir)


def _use_embedded(data_dir: Path | None) -> None:
    """Without URLs in the environment, the servers of the running stack are meant."""
    if os.environ.get("RR_POSTGRES_URL"):
        return
    from runbook_ranger.stack.control import running
    from runbook_ranger.stack.plan import Stack
    from runbook_ranger.stack.ports import Ports

    layout = existing(data_dir)
    running(layout)
    os.environ.update(Stack.choose(layout, Ports.load(layout.root / "ports.json", running=True)).admin_environment())


def _print_table(found: "Status") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("process", "pid", "state", "restarts", "up", "PSS MB", "readyz", box=None)
    for row in found.processes:
        table.add_row(*_cells(row))
    total = sum(row.pss_mb or 0 for row in found.processes)
    table.add_row("all", "", "ready" if found.ready else "not ready", "", "", f"{total:.0f}", found.url)
    Console().print(table)


def _cells(row: "ProcessStatus") -> tuple[str, ...]:
    up_for = time.strftime("%H:%M:%S", time.gmtime(row.uptime_seconds)) if row.uptime_seconds is not None else ""
    memory = f"{row.pss_mb:.1f}" if row.pss_mb is not None else ""
    return row.name, str(row.pid or ""), row.state, str(row.restarts), up_for, memory, row.readyz
