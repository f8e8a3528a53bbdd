"""`rangerctl execution`: look at executions, watch one, decide, end it."""

from enum import Enum
from typing import Annotated, Any

import typer

from runbook_ranger.cli import guards, show, steering
from runbook_ranger.cli.options import DataDir, Format, Limit, Output, Rationale, group
from runbook_ranger.cli.runbooks import ForIncident, Inputs, OfVersion, OpenIncident, order_of, pairs

COLUMNS = (
    "execution_id",
    "state",
    "phase",
    "blocked_reason",
    "runbook_id",
    "runbook_version",
    "incident_id",
    "created_at",
)


class Decision(str, Enum):  # noqa: UP042 — as options.Format
    """What became of a step."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    ABORT = "abort"


class Outcome(str, Enum):  # noqa: UP042 — as options.Format
    """How a manual step went."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"


def register(app: typer.Typer) -> None:
    """Add these commands to the program."""
    commands = group("execution", "Look at executions, decide, end them.")
    commands.command("list")(listing)
    commands.command("show")(show_one)
    commands.command("plan")(plan)
    commands.command("watch")(watch)
    commands.command("complete")(complete)
    commands.command("decide")(decide)
    commands.command("abort")(abort)
    commands.command("fail")(fail)
    commands.command("break-lock")(break_lock)
    steering.register(commands)
    guards.register(commands)
    app.add_typer(commands)


def listing(
    incident: Annotated[str | None, typer.Option(help="Only those for this incident.")] = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    after: Annotated[str | None, typer.Option(help="Go on after this execution.")] = None,
    limit: Limit = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Executions, newest first."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        found = client.get("/executions", incident_id=incident, state=state, after=after, limit=limit)
    if output is Format.TABLE:
        found["items"] = [_marked(item) for item in found["items"]]
    show.answer(found, output, COLUMNS)


def _marked(execution: dict[str, Any]) -> dict[str, Any]:
    """An execution whose state says that it is a dry run, if it is one."""
    return {**execution, "state": f"{execution['state']} (dry run)"} if execution.get("dry_run") else execution


def show_one(execution_id: str, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """One execution with its steps and attempts."""
    from runbook_ranger.cli import progress, provenance
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        found = client.get(f"/executions/{segment(execution_id)}")
    if output is Format.JSON:
        show.as_json(found)
    else:
        people = provenance.shown(found)
        show.fields({key: value for key, value in people.items() if key != "steps"})
        show.console().print(progress.table(found))


def watch(
    execution_id: str,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between looks.")] = 0.5,
    timeout: Annotated[float | None, typer.Option(min=0, help="Give up after so many seconds (code 1).")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Watch until it has ended. Code 0 when it completed, 1 otherwise."""
    from runbook_ranger.cli import progress
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        path = f"/executions/{segment(execution_id)}"
        ended = progress.follow(lambda: client.get(path), interval=interval, timeout=timeout, output=output)
    progress.conclude(ended)


def plan(
    runbook_id: str,
    input_: Inputs = None,
    version: OfVersion = None,
    incident: ForIncident = None,
    open_incident: OpenIncident = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """What executing a runbook would do, and what stands in its way. Nothing changes."""
    from runbook_ranger.cli import plans

    plans.ask(data_dir, runbook_id, order_of(input_, version, incident, open_incident=open_incident), output)


def decide(
    execution_id: str,
    step: str,
    decision: Decision,
    rationale: Rationale,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Say what became of a step whose effect nobody knows."""
    from runbook_ranger.cli.client import Client, segment, step_path

    with Client.open(data_dir) as client:
        path = f"/executions/{segment(execution_id)}/steps/{step_path(step)}/decide"
        show.answer(client.post(path, {"decision": decision.value, "rationale": rationale}), output)


def complete(
    execution_id: str,
    step: str,
    outcome: Annotated[Outcome, typer.Argument(help="Whether what the step asks for was done.")],
    evidence: Annotated[str | None, typer.Option(help="What proves it: a reference or a URL.")] = None,
    approval: Annotated[list[str] | None, typer.Option(help="A granted approval; may be repeated.")] = None,
    value: Annotated[list[str] | None, typer.Option("--value", help="name=value; may be repeated.")] = None,
    rationale: Annotated[str | None, typer.Option("--rationale", "-r", help="Why; it stands in the timeline.")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Finish a manual step that waits for a person."""
    from runbook_ranger.cli.client import Client, segment, step_path

    done = {
        "outcome": outcome.value,
        "evidence_ref": evidence,
        "approval_ids": approval or None,
        "values": pairs(value or []) or None,
        "rationale": rationale,
    }
    with Client.open(data_dir) as client:
        path = f"/executions/{segment(execution_id)}/steps/{step_path(step)}/complete"
        show.answer(client.post(path, done), output)


def fail(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Declare that an execution did not help; it ends as failed."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        steering.met(client.post(f"/executions/{segment(execution_id)}/fail", {"rationale": rationale}), output)


def abort(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """End an execution, whatever state it is in."""
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        steering.met(client.post(f"/executions/{segment(execution_id)}/abort", {"rationale": rationale}), output)


def break_lock(resource_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Free a resource that nobody will free any more."""
    from runbook_ranger.cli.client import Client

    with Client.open(data_dir) as client:
        show.answer(client.post("/locks/break", {"resource_id": resource_id, "rationale": rationale}), output)
