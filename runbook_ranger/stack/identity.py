"""Which process was that: a pid alone is not a name, since pids are used again.

A process is named by pid, start time and boot. A zombie is dead. Works from `/proc` on Linux and from `ps` elsewhere.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from runbook_ranger.stack.files import write_atomically

LINUX = sys.platform == "linux"
STAT_STATE = 0  # fields of /proc/<pid>/stat counted after the parenthesised command
STAT_PARENT = 1
STAT_START = 19


@dataclass(frozen=True)
class Identity:
    """One process, for as long as it lives."""

    pid: int
    started: str
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this very process, not a later one with its pid, is still there and no zombie."""
        return start_time(self.pid) == self.started and boot_id() == self.boot


def stat_fields(pid: int) -> list[str] | None:
    """The fields of `/proc/<pid>/stat` after the command; None when there is no such process."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def start_time(pid: int) -> str | None:
    """When the process started, in whatever unit the system counts; None when it is gone or a zombie."""
    if LINUX:
        fields = stat_fields(pid)
        return None if fields is None or fields[STAT_STATE] in "ZX" else fields[STAT_START]
    shown = subprocess.run(  # noqa: S603 -- fixed program, numeric argument
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    state, _, started = shown.partition(" ")
    return None if not shown or state.startswith("Z") else started.strip()


def boot_id() -> str:
    """Names this boot of this machine; start times of another boot mean nothing."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return subprocess.run(
        ["/usr/sbin/sysctl", "-n", "kern.boottime"], capture_output=True, text=True, check=True
    ).stdout


def identify(pid: int) -> Identity | None:
    """The identity of a living process; None when it has gone already."""
    started = start_time(pid)
    return None if started is None else Identity(pid, started, boot_id())


def remember(path: Path, pid: int) -> None:
    """Record a process, so that a later start can find it if its parent dies without a word.

    On a full disk nothing is recorded: the process runs, and the lock of its store still guards it.
    """
    identity = identify(pid)
    if identity is not None:
        with suppress(OSError):
            write_atomically(path, json.dumps(asdict(identity)))


def recall(path: Path) -> Identity | None:
    """The recorded process if it still lives; None otherwise, also when the record is missing or torn."""
    try:
        identity = Identity(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return identity if identity.alive else None


def end(identity: Identity, first: signal.Signals, grace: float) -> None:
    """Ask a process (that need not be our child) to stop, then kill it; returns when it is gone."""
    for number, patience in ((first, grace), (signal.SIGKILL, 5.0)):
        if identity.alive:
            with suppress(ProcessLookupError):
                os.kill(identity.pid, number)
            wait_for_end(identity, patience)


def wait_for_end(identity: Identity, patience: float) -> bool:
    """Whether a process (that need not be our child) was gone before `patience` seconds were over."""
    deadline = time.monotonic() + patience
    while identity.alive:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
