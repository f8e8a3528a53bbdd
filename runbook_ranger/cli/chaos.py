"""`rangerctl chaos`: hurts a whole stack of its own while it works, then says whether every promise was kept."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from runbook_ranger.cli.options import Format, Output


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(chaos)


def chaos(
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long faults come.")] = 60,
    seed: Annotated[int | None, typer.Option(help="Repeats a schedule of faults; drawn and printed otherwise.")] = None,
    faults: Annotated[str, typer.Option(help="Only these kinds, with commas between them.")] = "",
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many workers carry out steps.")] = 3,
    rate: Annotated[float, typer.Option(min=0.1, max=50, help="Cases a second.")] = 2,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            help="Where the run lives; emptied at its start.  [default: chaos in RR_DATA_DIR or .ranger]",
        ),
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Kill, freeze, wipe and poison under load, heal, and check the fourteen invariants; code 1 when one is broken."""
    # Imported here, so that `rangerctl --help` does not pay for it.
    import asyncio
    import random

    from runbook_ranger.chaos import report
    from runbook_ranger.chaos.run import Order, run
    from runbook_ranger.cli import show
    from runbook_ranger.cli.errors import CliError, WrongUsage
    from runbook_ranger.stack.errors import StackError

    def tell(text: str) -> None:
        typer.echo(text, err=True)

    chosen = seed if seed is not None else random.SystemRandom().randrange(2**32)
    kinds = [kind.strip() for kind in faults.split(",") if kind.strip()]
    tell(f"seed {chosen}")
    root = data_dir or Path(os.environ.get("RR_DATA_DIR") or ".ranger") / "chaos"
    order = Order(root.resolve(), chosen, seconds, kinds, workers, rate)
    try:
        result = asyncio.run(run(order, tell))
    except ValueError as error:
        raise WrongUsage(f"{error}.") from None
    except (StackError, TimeoutError) as error:
        fix = f"`rangerctl logs --data-dir {order.root / 'data'}` says more; --seed {chosen} repeats it."
        raise CliError(f"The run broke off: {type(error).__name__}: {error}.", fix=fix) from None
    if output is Format.JSON:
        show.as_json(report.summary(result))
    else:
        for line in report.lines(result):
            typer.echo(line)
    sys.stdout.flush()
    raise typer.Exit(0 if result.good else 1)
