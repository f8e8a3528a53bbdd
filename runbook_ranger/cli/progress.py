"""An execution on its way: asked again and again, drawn in place on a terminal, one line a change elsewhere."""

import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from runbook_ranger.cli import show
from runbook_ranger.cli.errors import CliError, NotReachable
from runbook_ranger.cli.options import Format

if TYPE_CHECKING:
    from rich.table import Table

TERMINAL: Final = frozenset({"completed", "failed", "aborted"})
SILENCE_SECONDS: Final = 30.0
Execution = Mapping[str, Any]


def follow(
    look: Callable[[], Execution], *, interval: float, timeout: float | None, output: Format = Format.TABLE
) -> Execution:
    """The execution once it has ended.

    Raises:
        CliError: it had not ended after `timeout` seconds.
    """
    from rich.live import Live

    deadline = None if timeout is None else time.monotonic() + timeout
    look = _patient(look, interval)
    found = look()
    if output is Format.TABLE and sys.stdout.isatty():
        with Live(table(found), console=show.console(), auto_refresh=False) as live:
            while found["state"] not in TERMINAL:
                _pause(interval, deadline, found)
                found = look()
                live.update(table(found), refresh=True)
        return found
    said: dict[str, str] = {}
    while True:
        _say_changes(found, said, output)
        if found["state"] in TERMINAL:
            return found
        _pause(interval, deadline, found)
        found = look()


def conclude(ended: Execution) -> None:
    """Return when it completed.

    Raises:
        CliError: it failed or was aborted.
    """
    if ended["state"] != "completed":
        raise CliError(
            f"The execution {ended['state']}: {show.harmless(str(ended.get('reason') or 'no reason given'))}."
        )


def table(execution: Execution) -> "Table":
    """State and steps as they stand."""
    from rich.table import Table

    blocked = f", blocked on {execution['blocked_reason']}" if execution.get("blocked_reason") else ""
    dry = "dry run, " if execution.get("dry_run") else ""
    title = f"{dry}{execution['state']} ({execution.get('phase') or '-'}{blocked})"
    shown = Table(box=None, pad_edge=False, title=title, title_justify="left", header_style="bold")
    for name in ("step", "visit", "state", "attempts", "waiting for", "message"):
        shown.add_column(name, overflow="fold")
    for step in execution.get("steps", ()):
        shown.add_row(
            show.cell(step["step"]),
            show.cell(step["visit"]),
            show.cell(_state(step)),
            show.cell(len(step.get("attempts", ()))),
            show.cell(step.get("waiting_for")),
            show.cell(step.get("message")),
        )
    return shown


def _state(step: Mapping[str, Any]) -> str:
    """A step's state; of a dry run, what was only simulated says so."""
    how = step.get("simulation") or "carried_out"
    return str(step["state"]) if how == "carried_out" else how.replace("_", " ")


def _say_changes(found: Execution, said: dict[str, str], output: Format) -> None:
    if output is Format.JSON:
        if found["state"] in TERMINAL:
            show.as_json(found)
        return
    blocked = f" (blocked on {found['blocked_reason']})" if found.get("blocked_reason") else ""
    blocked += " (dry run)" if found.get("dry_run") else ""
    states = {f"{step['step']} #{step['visit']}": _state(step) for step in found.get("steps", ())}
    for what, state in {"execution": f"{found['state']}{blocked}", **states}.items():
        if said.get(what) != state:
            said[what] = state
            sys.stdout.write(f"{show.harmless(f'{what} {state}')}\n")
            sys.stdout.flush()


def _patient(look: Callable[[], Execution], interval: float) -> Callable[[], Execution]:
    """`look`, which gives up only when nobody has answered for `SILENCE_SECONDS` after a first answer."""
    answered = float("-inf")

    def patient() -> Execution:
        nonlocal answered
        while True:
            try:
                found = look()
            except NotReachable:
                if time.monotonic() - answered > SILENCE_SECONDS:
                    raise
                time.sleep(interval)
            else:
                answered = time.monotonic()
                return found

    return patient


def _pause(interval: float, deadline: float | None, found: Execution) -> None:
    if deadline is not None and time.monotonic() > deadline:
        raise CliError(f"It had not ended in time; it is {found['state']}.", fix="It goes on; watch it again.")
    time.sleep(interval)
