"""`rangerctl execution pause | resume | skip | choose | retry | rollback | terminate | signal`: lead one, or end it."""

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from runbook_ranger.cli import show
from runbook_ranger.cli.options import DataDir, Format, Output, Rationale
from runbook_ranger.cli.runbooks import pairs

_BRIEF: Final = ("execution_id", "state", "phase", "blocked_reason", "reason", "paused", "changes", "heard", "freed")
_MET: Final = {
    "running": "let finish",
    "stopping": "told to stop; `rangerctl execution show` tells what became of it",
    "unstopped": "could not be stopped: nobody knows what became of it, look at the target",
}
"""Attempts that a command met, by the name that the answer has for them."""
_ATTEMPT: Final = ("step", "action", "effect", "resource_id", "worker_id", "started_at")


class Choice(str, Enum):  # noqa: UP042 — as options.Format
    """How it goes on with a step that failed and asks."""

    RETRY = "retry"
    SKIP = "skip"
    ABORT = "abort"


def register(commands: typer.Typer) -> None:
    """Add these commands to the group."""
    for command in (pause, resume, skip, choose, retry, rollback, terminate, signal):
        commands.command(command.__name__)(command)


def pause(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Let nothing more of it begin. What runs is let finish, and times go on."""
    _tell(data_dir, execution_id, "pause", {"rationale": rationale}, output)


def resume(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Let it go on where it was paused."""
    _tell(data_dir, execution_id, "resume", {"rationale": rationale}, output)


def rollback(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """Take back what it changed, the last change first; then it has failed."""
    _tell(data_dir, execution_id, "rollback", {"rationale": rationale}, output)


def terminate(execution_id: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE) -> None:
    """End it by force: what runs is unknown from now on, and its locks are free. Try abort first."""
    _tell(data_dir, execution_id, "terminate", {"rationale": rationale}, output)


def signal(
    execution_id: str,
    name: str,
    rationale: Rationale,
    value: Annotated[list[str] | None, typer.Option("--value", help="name=value; may be repeated.")] = None,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Tell the steps that wait for it that an event has come; values become their outputs."""
    body = {"name": name, "data": pairs(value or []) or None, "rationale": rationale}
    _tell(data_dir, execution_id, "signal", body, output)


def skip(
    execution_id: str, step: str, rationale: Rationale, data_dir: DataDir = None, output: Output = Format.TABLE
) -> None:
    """Leave out a step that waits, has not begun, or failed and asks."""
    _tell(data_dir, execution_id, f"steps/{_path(step)}/skip", {"rationale": rationale}, output)


def choose(
    execution_id: str,
    step: str,
    choice: Choice,
    rationale: Rationale,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Say how it goes on with a step that failed and asks: again, without it, or not at all."""
    body = {"choice": choice.value, "rationale": rationale}
    _tell(data_dir, execution_id, f"steps/{_path(step)}/choose", body, output)


def retry(
    execution_id: str,
    rationale: Rationale,
    repeat_unknown: Annotated[
        bool, typer.Option("--repeat-unknown", help="Also do again what nobody knows the effect of.")
    ] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Watch it until it has ended; code 0 when it completed.")
    ] = False,
    data_dir: DataDir = None,
    output: Output = Format.TABLE,
) -> None:
    """Begin a new execution where this one failed or was aborted; what stands is not done again."""
    from runbook_ranger.cli import progress
    from runbook_ranger.cli.client import Client, segment

    body = {"rationale": rationale, "repeat_unknown": True if repeat_unknown else None}
    with Client.open(data_dir) as client:
        begun = client.post(f"/executions/{segment(execution_id)}/retry", body)
        if not wait:
            show.answer(begun, output)
            return
        path = f"/executions/{segment(begun['execution_id'])}"
        show.note(f"execution {begun['execution_id']}")
        ended = progress.follow(lambda: client.get(path), interval=0.5, timeout=None, output=output)
    progress.conclude(ended)


def met(answer: Mapping[str, Any], output: Format) -> None:
    """Print how an execution stands after a command, and the attempts that the command met."""
    if output is Format.JSON:
        show.as_json(answer)
        return
    show.fields({name: answer[name] for name in _BRIEF if name in answer})
    for name, text in _MET.items():
        if answer.get(name):
            typer.echo(f"\n{text}")
            show.table(answer[name], _ATTEMPT)


def _tell(data_dir: Path | None, execution_id: str, verb: str, body: Mapping[str, Any], output: Format) -> None:
    from runbook_ranger.cli.client import Client, segment

    with Client.open(data_dir) as client:
        met(client.post(f"/executions/{segment(execution_id)}/{verb}", body), output)


def _path(step: str) -> str:
    from runbook_ranger.cli.client import step_path

    return step_path(step)
