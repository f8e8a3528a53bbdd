"""The prototype running: its servers and processes, from the inside of a bench."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from bench.errors import BenchFailed
from bench.limits.servers import Servers

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).resolve().parents[3]
ROLES: Final = ("engine", "timeline")


class Prototype:
    """A context manager; `environment` says where its servers are.

    `sync` is JetStream's `sync_interval`, `atomic` the least number of messages that go as one atomic batch (0: none).
    """

    def __init__(self, *, sync: str | None = None, atomic: int = 0, workers: int = 1, batch: int = 256) -> None:
        self._servers = Servers(sync)
        self._workers = workers
        self._own = {"LIMIT_ATOMIC": str(atomic), "LIMIT_BATCH": str(batch)}
        self._closing = ExitStack()
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self.environment: Mapping[str, str] = {}

    def __enter__(self) -> Self:
        try:
            servers = self._closing.enter_context(self._servers)
            self.environment = {**servers.environment(), **self._own}
            self._build()
            for name in (*ROLES, *(f"worker-{number}" for number in range(1, self._workers + 1))):
                self._processes[name] = self._run(name.partition("-")[0])
        except BaseException:
            self._closing.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._closing.close()

    def pids(self) -> dict[str, int]:
        """Every process by name, the servers included."""
        return {**self._servers.pids(), **{name: process.pid for name, process in self._processes.items()}}

    def _build(self) -> None:
        if self._run("stage").wait(60):
            said = (self._servers.root / "stage.log").read_text()
            raise BenchFailed(f"the prototype cannot be built: {said[-2000:]}")

    def _run(self, role: str) -> subprocess.Popen[bytes]:
        return self._closing.enter_context(_process(role, self._servers.root / f"{role}.log", self.environment))


@contextmanager
def _process(role: str, log: Path, environment: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the prototype, ended on the way out."""
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    command = [sys.executable, "-m", "bench.limits.pipeline", role]
    with log.open("ab") as output:
        process = subprocess.Popen(command, env=env, stdout=output, stderr=output, cwd=ROOT)  # noqa: S603 -- our own
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)
