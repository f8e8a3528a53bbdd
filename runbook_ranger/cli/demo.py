"""`rangerctl demo`: from an alert to a verified action, on real servers that it starts and stops by itself."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command()(demo)


def demo(
    data_dir: Annotated[
        Path, typer.Option("--data-dir", help="Where the demo's stack lives; emptied at the start.")
    ] = Path(".ranger/demo"),
    workers: Annotated[int, typer.Option(min=1, max=8, help="How many workers carry out steps.")] = 2,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running, to look around.")] = False,
    output: Annotated[str, typer.Option("-o", "--output", help="text, or json: one object as the last line")] = "text",
) -> None:
    """Break a service's storage and watch an alert become one incident, one action, one verified log."""
    # Imported here, so that `rangerctl --help` does not pay for it.
    from dataclasses import asdict

    import httpx
    import orjson

    from runbook_ranger.cli.client import Client
    from runbook_ranger.cli.errors import CliError
    from runbook_ranger.demo.stage import stage
    from runbook_ranger.demo.story import Story, StoryBroken
    from runbook_ranger.stack.errors import StackError

    def tell(text: str) -> None:
        typer.echo(text, err=output == "json")

    began = time.monotonic()
    try:
        with stage(data_dir, workers=workers, keep=keep, tell=tell) as place:
            ready = time.monotonic() - began
            story = Story(place.api, place.target, tell)
            story.outcome.seconds["stack_ready"] = round(ready, 3)
            outcome = story.run()
            story.show_timeline()
            with Client.open(data_dir) as client:
                story.verify_log(client)
            outcome.seconds["total"] = round(time.monotonic() - began, 3)
    except (StoryBroken, StackError, httpx.HTTPError, RuntimeError) as error:
        raise CliError(
            f"the demo broke off: {error}", fix=f"`rangerctl logs --data-dir {data_dir}` says more"
        ) from None
    if output == "json":
        sys.stdout.buffer.write(orjson.dumps(asdict(outcome)) + b"\n")
    else:
        tell(f"done in {outcome.seconds['total']:.1f} s: {outcome.execution_state}, verified: {outcome.chain_verified}")
    raise typer.Exit(0 if outcome.good else 1)
