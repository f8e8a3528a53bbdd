"""`rangerctl trace`: one trace as a tree, from the alert to its timeline entry, with durations and services."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, NotAuthorised, NotReachable, WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Output

if TYPE_CHECKING:
    from rich.tree import Tree

    from runbook_ranger.cli.spans import Span


def register(app: typer.Typer) -> None:
    """Add this command to the program."""
    app.command("trace")(trace)


def trace(
    trace_id: Annotated[str | None, typer.Argument(help="32 hexadecimal digits; every answer names its own.")] = None,
    incident: Annotated[str | None, typer.Option(help="Instead: the trace that opened this incident.")] = None,
    file: Annotated[
        list[Path] | None, typer.Option(help="Files of spans.  [default: RR_TRACE_FILE, then <data-dir>/traces]")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Draw the spans of a trace. Code 1 when there are none."""
    from runbook_ranger.cli import spans

    if (trace_id is None) == (incident is None):
        raise WrongUsage("Name either a trace or --incident.")
    known = _parsed(trace_id) if trace_id is not None else None
    files = _files(file, data_dir)
    wanted = known or _opened(incident or "", files, data_dir)
    found = spans.trace(files, wanted)
    if not found:
        raise CliError(f"No span of trace {wanted} was recorded.", fix="A moment later there may be; files: --file.")
    roots = spans.tree(found)
    if output is Format.JSON:
        show.as_json({"trace_id": wanted, "spans": len(found), "roots": [root.as_json() for root in roots]})
    else:
        show.console().print(_drawn(wanted, found, roots))


def _parsed(trace_id: str) -> str:
    wanted = trace_id.lower().removeprefix("0x")
    if len(wanted) != 32 or not all(c in "0123456789abcdef" for c in wanted):
        raise WrongUsage("A trace is 32 hexadecimal digits.")
    return wanted


def _opened(incident: str, files: list[Path], data_dir: Path | None) -> str:
    """The trace that opened an incident: that of its first event, else the earliest that mentions it."""
    from runbook_ranger.cli import spans

    for value in (_first_event(incident, data_dir), incident):
        found = spans.first_mention(files, value) if value else None
        if found:
            return found
    raise CliError(f"No span mentions incident {incident}.", fix="Spans are written every half second; try again.")


def _first_event(incident: str, data_dir: Path | None) -> str | None:
    """The event that opened the incident, from the timeline; None when it cannot be asked."""
    from runbook_ranger.cli.client import Client

    try:
        with Client.open(data_dir) as client:
            entries = client.get("/timeline", incident_id=incident, limit=1)["entries"]
    except (NotReachable, NotAuthorised):
        return None
    return entries[0]["event_id"] if entries else None


def _files(given: list[Path] | None, data_dir: Path | None) -> list[Path]:
    from runbook_ranger.cli.client import DEFAULT_DATA_DIR

    if given:
        missing = [str(path) for path in given if not path.is_file()]
        if missing:
            raise WrongUsage(f"There is no file {', '.join(missing)}.")
        return given
    if named := os.environ.get("RR_TRACE_FILE"):
        return [Path(named)]
    folder = (data_dir or Path(os.environ.get("RR_DATA_DIR") or DEFAULT_DATA_DIR)) / "traces"
    found = sorted(folder.glob("*.jsonl*"))
    if not found:
        raise CliError(f"There are no spans in {folder}.", fix="Name a file with --file, or set RR_TRACE_FILE.")
    return found


def _drawn(trace_id: str, spans: "list[Span]", roots: "list[Span]") -> "Tree":
    from rich.tree import Tree

    began, ended = min(span.start for span in spans), max(span.end for span in spans)
    services = sorted({span.service for span in spans})
    drawn = Tree(
        show.cell(f"trace {trace_id}: {len(spans)} spans, {(ended - began) * 1000:.1f} ms, {', '.join(services)}"),
        guide_style="dim",
    )
    for root in roots:
        _grow(drawn, root, began)
    return drawn


def _grow(tree: "Tree", span: "Span", began: float) -> None:
    from rich.text import Text

    label = Text(f"+{(span.start - began) * 1000:.1f} ms  ", style="dim")
    label.append(show.harmless(f"{span.service}  "), style="cyan")
    label.append(show.harmless(span.name), style="bold red" if span.error else "")
    label.append(f"  {span.milliseconds:.1f} ms", style="dim")
    if span.error:
        label.append(show.harmless(f"  {span.error}"), style="red")
    branch = tree.add(label)
    for child in span.children:
        _grow(branch, child, began)
