"""`rangerctl audit exporter` and `rebuild`: the log copied for long keeping, and made again from there.

Both are processes of the product, started with what the stack gives to theirs.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import typer

from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir
from runbook_ranger.cli.stack import existing, refusals

Target = Annotated[
    str, typer.Option("--to", help="A folder (or file:///folder), or s3://bucket/prefix?region=…&endpoint=…")
]
EXPORTER: Final = "exporter"
TIMELINE: Final = "timeline"


def exporter(
    to: Target,
    first: Annotated[
        int | None, typer.Option("--from", min=0, help="The index that an empty target begins at.")
    ] = None,
    seq: Annotated[
        int | None, typer.Option("--from-seq", min=1, help="The same, by the sequence of the stream.")
    ] = None,
    seconds: Annotated[
        float | None, typer.Option("--every", min=0, help="A segment is at least so old in seconds, or full (60).")
    ] = None,
    health_port: Annotated[
        int, typer.Option(help="The loopback port of /healthz, /readyz and /metrics; 0 takes a free one.")
    ] = 0,
    data_dir: DataDir = None,
) -> None:
    """Copy the log, segment after segment, for as long as this runs; it goes on where the target ends."""
    if first is not None and seq is not None:
        raise WrongUsage("--from and --from-seq are one or the other.")
    given = {
        "RR_EXPORT_URL": target(to),
        "RR_EXPORT_FROM": first,
        "RR_EXPORT_FROM_SEQ": seq,
        "RR_EXPORT_SECONDS": seconds,
        "RR_HEALTH_PORT": health_port,
    }
    run(EXPORTER, "services.timeline.exporter", data_dir, {k: str(v) for k, v in given.items() if v is not None})


def rebuild(
    source: Annotated[
        str | None,
        typer.Option("--from", help="Where the exporter copied to, or a folder of exports."),
    ] = None,
    keys: Annotated[
        list[str] | None,
        typer.Option("--vkey", help="A key that must have signed.  [default: the log's own]"),
    ] = None,
    go_on: Annotated[
        bool, typer.Option("--continue", help="Go on with the older log that the database holds, once it verifies.")
    ] = False,
    unmarked: Annotated[
        bool,
        typer.Option("--unmarked", help="Take events without marks, for the highest clearance alone."),
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Make a lost log again in an empty schema: from exports, from what is published, and from the stream."""
    from runbook_ranger.stack.plan import KEPT

    arguments = [word for key in keys or [] for word in ("--vkey", key)]
    arguments += ["--continue"] * go_on + ["--unmarked"] * unmarked + ["--exports"] * (source is not None)
    given = {name: value for name, value in os.environ.items() if name in KEPT} if source else {}
    more = given | ({"RR_EXPORT_URL": target(source)} if source else {})
    run(TIMELINE, "services.timeline.rebuild", data_dir, more, *arguments)


def target(text: str) -> str:
    """A store's URL; a path is a folder. Raises WrongUsage."""
    from libs.common.objectstore import ObjectStore

    url = text if "://" in text else Path(text).absolute().as_uri()
    try:
        ObjectStore.open(url)
    except ValueError as error:
        raise WrongUsage(f"{error}.") from None
    return url


def run(name: str, module: str, data_dir: Path | None, more: Mapping[str, str], *arguments: str) -> None:
    """Become a process of the stack's, which is the running one of a folder unless `RR_POSTGRES_URL` names servers."""
    from runbook_ranger.stack.control import running
    from runbook_ranger.stack.plan import beside

    with refusals():
        layout = existing(data_dir)
        if not os.environ.get("RR_POSTGRES_URL"):
            running(layout)
        spec = beside(layout, name, more)
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], dict(spec.env))  # noqa: S606 -- ourselves
