"""What the supervisor runs: how a process is described, started alone, and held."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from runbook_ranger.stack.spawn import spawn

KEPT = ("HOME", "USER", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE")
SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class ProcessSpec:
    """One Python process: `module` has `main()` and also runs as `python -m module`.

    `env` is its whole environment. `ready_url` answers 200 when the process does its work; without one it is ready as
    soon as it runs. Lower stages stop first.
    """

    name: str
    module: str
    env: Mapping[str, str] = field(repr=False)
    ready_url: str = ""
    stage: int = 0


class Child(Protocol):
    """A running process of ours."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def poll(self) -> int | None:
        """Its exit code (negative: the signal that ended it); None while it runs."""

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""


class Launcher(Protocol):
    """A way to start a process from its description."""

    def launch(self, spec: ProcessSpec, output: int) -> Child:
        """Start it with standard output and error going to the descriptor `output`."""


@dataclass
class ExecChild:
    """A child that we started and reap ourselves."""

    process: subprocess.Popen[bytes]

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless it was reaped."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


class ExecLauncher:
    """Starts every process alone, with an interpreter of its own."""

    def launch(self, spec: ProcessSpec, output: int) -> ExecChild:
        """Start `python -m module`."""
        command = [sys.executable, "-m", spec.module]
        return ExecChild(spawn(command, env=spec.env, output=output, cwd=Path.cwd()))


def base_environment() -> dict[str, str]:
    """What every Python process of ours needs to run at all; no setting and no secret."""
    found = {key: os.environ[key] for key in KEPT if key in os.environ}
    inherited = os.environ.get("PYTHONPATH")
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONPATH": os.pathsep.join([str(SOURCE), *([inherited] if inherited else [])]),
        "PYTHONUNBUFFERED": "1",
        **found,
    }
