"""`rangerctl runbook`: write, publish, start, look at."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from runbook_ranger.cli import authoring, show
from runbook_ranger.cli.errors import WrongUsage
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, group

COLUMNS = ("runbook_id", "version", "name", "risk", "mode", "tags", "published_by", "published_at")
File = Annotated[Path, typer.Argument(help="The runbook, YAML.")]
Inputs = Annotated[list[str] | None, typer.Option("--input", "-i", help="An input, name=value; may be repeated.")]
OfVersion = Annotated[int | None, typer.Option("--version", min=1, help="Not the newest, but this one.")]
ForIncident = Annotated[str | None, typer.Option("--incident", help="For this incident.")]
OpenIncident = Annotated[bool, typer.Option("--open-incident", help="For an incident that is opened.")]


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("runbook", "Write runbooks, publish, start and look at them.")
    commands.command("draft")(draft)
    commands.command("publish")(publish)
    commands.command("execute")(execute)
    commands.command("lint")(lint)
    commands.command("list")(listing)
    commands.command("show")(show_one)
    authoring.add(commands)
    app.add_typer(commands)


def draft(file: File, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Keep a runbook as a draft; `publish --draft ID` makes it a version, `show --draft` shows it."""
    from runbook_ranger.cli.client import Client

    text = authoring.read(file)
    with Client.open(data_dir) as client:
        kept = client.post_text("/runbooks", text, "application/yaml", draft="true")
    if output is Format.JSON:
        show.as_json(kept)
    else:
        typer.echo(f"draft: {kept['runbook_id']} ({kept['spec_hash']})")


def publish(
    file: Annotated[Path | None, typer.Argument(help="The runbook, YAML.")] = None,
    draft: Annotated[
        str | None, typer.Option("--draft", help="Instead of a file: the stored draft of this runbook.")
    ] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Publish a runbook; what is wrong with it is said by line, and nothing is stored then."""
    from runbook_ranger.cli.client import Client, segment

    if (file is None) == (draft is None):
        raise WrongUsage("Name a file, or a runbook's draft with --draft.")
    text = authoring.read(file) if file is not None else b""
    with Client.open(data_dir) as client:
        if file is not None:
            done = client.post_text("/runbooks", text, "application/yaml")
        else:
            done = client.post(f"/runbooks/{segment(draft or '')}/publish", {})
    if output is Format.JSON:
        show.as_json(done)
    else:
        what = "published" if done.get("created", True) else "unchanged"
        typer.echo(f"{what}: {done['runbook_id']} version {done['version']} ({done['spec_hash']})")


def execute(
    runbook_id: str,
    input_: Inputs = None,
    version: OfVersion = None,
    incident: ForIncident = None,
    open_incident: OpenIncident = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch it until it has ended; code 0 when it completed.")
    ] = False,
    timeout: Annotated[float | None, typer.Option(min=0, help="With --wait: at most so many seconds.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what it would do; nothing changes.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read and check for real, simulate the rest; nothing is changed.")
    ] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Start a runbook. Values that are numbers, true or false are sent as such; quotes make them texts: n='"7"'."""
    from runbook_ranger.cli import plans, progress
    from runbook_ranger.cli.client import Client, segment

    order = order_of(input_, version, incident, open_incident=open_incident)
    if plan:
        plans.ask(data_dir, runbook_id, order, output)
        return
    order["dry_run"] = True if dry_run else None
    with Client.open(data_dir) as client:
        started = client.post(f"/runbooks/{segment(runbook_id)}/execute", order)
        if not wait:
            show.answer(started, output)
            return
        path = f"/executions/{segment(started['execution_id'])}"
        show.note(f"execution {started['execution_id']}")
        ended = progress.follow(lambda: client.get(path), interval=0.5, timeout=timeout, output=output)
    progress.conclude(ended)


def order_of(
    inputs: list[str] | None, version: int | None, incident: str | None, *, open_incident: bool
) -> dict[str, Any]:
    """What to run, as the gateway is told; what is None is left out.

    Raises:
        WrongUsage: an input is not name=value.
    """
    order = {"inputs": pairs(inputs or []), "version": version, "incident_id": incident}
    return {**order, "open_incident": True if open_incident else None}


def pairs(given: list[str]) -> dict[str, str | int | bool]:
    """Inputs as `name=value`.

    Raises:
        WrongUsage: one is none.
    """
    found = {}
    for pair in given:
        name, sign, value = pair.partition("=")
        if not name or not sign:
            raise WrongUsage(f"{pair!r} is not name=value.")
        found[name] = _value(value)
    return found


def lint(file: File, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Say what publishing would say; nothing is stored."""
    from runbook_ranger.cli.client import Client

    text = authoring.read(file)
    with Client.open(data_dir) as client:
        found = client.post_text("/runbooks/lint", text, "application/yaml")
    if output is Format.JSON:
        show.as_json(found)
    else:
        typer.echo(f"good: {found['runbook_id']} ({found['spec_hash']})")


def listing(
    after: Annotated[str | None, typer.Option(help="Go on after this runbook.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """The newest version of each runbook."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.get("/runbooks", after=after, limit=limit), output, COLUMNS, rows="runbooks")


def show_one(
    runbook_id: str,
    version: Annotated[int | None, typer.Option(min=1, help="Not the newest, but this one.")] = None,
    draft: Annotated[bool, typer.Option("--draft", help="Not a version, but the stored draft.")] = False,
    source: Annotated[bool, typer.Option("--source", help="Only the text, as it was published.")] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """One version of a runbook, or its draft."""
    from runbook_ranger.cli.client import Client, segment

    if draft and version is not None:
        raise WrongUsage("A draft has no version.")
    with Client.open(data_dir) as client:
        path = f"/runbooks/{segment(runbook_id)}"
        if draft:
            found = client.get(f"{path}/draft")
        else:
            found = client.get(path, version=version, include_source="true" if source else None)
    if source and output is Format.TABLE:
        typer.echo(show.harmless(found["source"]), nl=False)
    elif output is Format.TABLE:
        show.fields({key: value for key, value in found.items() if key != "spec"})
        show.note("the text: --source; the spec: -o json")
    else:
        show.as_json(found)


def _value(text: str) -> str | int | bool:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str | int) else text
