"""Looking at the process table."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] not in {"Z", "X"}


def environment(pid: int) -> str:
    """The environment a process was started with."""
    return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace")


def parent(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def freeze(pid: int) -> None:
    """SIGSTOP; returns when every thread of the process has stopped, which is not at once."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while not all(_state(task) in {"T", "t"} for task in Path(f"/proc/{pid}/task").iterdir()):
        assert time.monotonic() < deadline, f"process {pid} does not stop"
        time.sleep(0.001)


def _state(task: Path) -> str:
    """One letter of `/proc/…/stat`, behind the name in parentheses."""
    return (task / "stat").read_text().rpartition(")")[2].split()[0]
