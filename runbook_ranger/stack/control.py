"""Asking and stopping a running stack from outside: what `rangerctl status`, `down` and `up --detach` do."""

import os
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from runbook_ranger.stack import identity, state
from runbook_ranger.stack.errors import AlreadyRunningError, NotRunningError, StackError
from runbook_ranger.stack.fleet import FORKSERVER, Plan
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.probe import asked_now
from runbook_ranger.stack.supervisor import NAME, Supervisor
from runbook_ranger.stack.units import State

STOP_PATIENCE = 90.0  # every stage may use its grace
READY_MARK = "\0"


@dataclass(frozen=True)
class ProcessStatus:
    """One row of `status`; memory is the proportional share of the process and of what it started, in MB."""

    name: str
    pid: int | None
    state: str
    restarts: int
    uptime_seconds: float | None
    pss_mb: float | None
    readyz: str


@dataclass(frozen=True)
class Status:
    """The whole stack at this moment."""

    ready: bool
    url: str
    uptime_seconds: float
    processes: list[ProcessStatus]


def running(layout: Layout) -> identity.Identity:
    """The supervisor of a data directory; raises NotRunningError."""
    found = identity.recall(layout.record(NAME))
    if found is None:
        raise NotRunningError(layout.root)
    return found


def status(layout: Layout) -> Status:
    """What runs, with its memory measured and its readiness asked for now; raises NotRunningError."""
    supervisor = running(layout)
    known = state.read(layout.state)
    processes = known.get("processes", [])
    asked = {p["name"]: p["ready_url"] for p in processes if p["state"] == State.READY and p.get("ready_url")}
    said = asked_now(asked)
    children = _children_by_parent()
    alone = {process["pid"] for process in processes if process["name"] == FORKSERVER}
    now = time.time()
    rows = [ProcessStatus(NAME, supervisor.pid, "running", 0, now - known["since"], pss_mb(supervisor.pid), "")]
    for process in processes:
        pid = process["pid"]
        tree = [pid] if pid in alone else _descendants(pid, children)
        shares = [share for share in map(pss_mb, tree) if share is not None] if pid else []
        rows.append(
            ProcessStatus(
                process["name"],
                pid,
                process["state"],
                process["restarts"],
                now - process["since"] if pid else None,
                round(sum(shares), 1) if shares else None,
                said.get(process["name"], process["detail"]) or ("ok" if process["state"] == State.READY else ""),
            )
        )
    settled = all(p["state"] == State.READY and not said.get(p["name"], p["detail"]) for p in processes)
    return Status(settled, known["url"], now - known["since"], rows)


def down(layout: Layout) -> float:
    """Stop a running stack in order and return the seconds it took.

    Raises:
        NotRunningError: nothing runs.
        StackError: it still runs after every stage has used its grace.
    """
    supervisor = running(layout)
    began = time.monotonic()
    os.kill(supervisor.pid, signal.SIGTERM)
    if not identity.wait_for_end(supervisor, STOP_PATIENCE):
        raise StackError(f"the supervisor (process {supervisor.pid}) still runs after {STOP_PATIENCE:.0f} s")
    return time.monotonic() - began


def up_detached(layout: Layout, plan: Callable[[], Plan], tell: Callable[[str], None], patience: float) -> None:
    """Start a supervisor in the background and return once everything is ready.

    Raises:
        StackError: it ended before that, or is not ready after `patience` seconds (and then still runs).
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _become_daemon(layout, plan, writing)
    os.close(writing)
    deadline = time.monotonic() + patience
    with os.fdopen(reading) as said:
        for line in said:
            if line.startswith(READY_MARK):
                return
            tell(line.rstrip("\n"))
            if time.monotonic() > deadline:
                raise StackError(f"not ready after {patience:.0f} s, but still running: see `rangerctl status`")
    os.waitpid(pid, 0)
    raise StackError("the stack did not start")


def _become_daemon(layout: Layout, plan: Callable[[], Plan], channel: int) -> None:
    """In the forked child: a session of its own, speaking to the parent until ready and to nobody afterwards."""
    os.setsid()
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(channel, 1)
    os.dup2(channel, 2)
    os.close(channel)

    def hand_back() -> None:
        sys.stdout.write(f"{READY_MARK}\n")
        sys.stdout.flush()
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)

    code = 1
    try:
        code = Supervisor(layout, plan(), echo=False, on_ready=hand_back).run()
    except StackError as refusal:
        sys.stderr.write(f"{refusal}\n")
    finally:
        sys.stdout.flush()
        os._exit(code)


def refuse_second(layout: Layout) -> None:
    """Raise AlreadyRunningError early, before anything is written, when a supervisor runs on this directory."""
    found = identity.recall(layout.record(NAME))
    if found is not None:
        raise AlreadyRunningError(layout.root, found.pid)


def pss_mb(pid: int) -> float | None:
    """The proportional share of memory of one process in MB; None when it cannot be read."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), None)


def _children_by_parent() -> dict[int, list[int]]:
    found: dict[int, list[int]] = defaultdict(list)
    for entry in Path("/proc").glob("[0-9]*"):
        fields = identity.stat_fields(int(entry.name))
        if fields is not None:
            found[int(fields[identity.STAT_PARENT])].append(int(entry.name))
    return found


def _descendants(pid: int, children: dict[int, list[int]]) -> list[int]:
    return [pid, *(deeper for child in children.get(pid, []) for deeper in _descendants(child, children))]
