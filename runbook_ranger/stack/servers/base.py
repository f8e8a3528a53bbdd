"""What starting, watching and stopping a server have in common."""

import os
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

from runbook_ranger.stack import identity
from runbook_ranger.stack.errors import ServerFailedError, StoreBusyError
from runbook_ranger.stack.files import try_lock
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.spawn import minimal_environment, open_log, spawn

START_PATIENCE = 60.0  # replaying a long write-ahead log takes its time
LOCK_PATIENCE = 10.0
STOP_PATIENCE = 15.0


class Server(ABC):
    """One server on one store.

    `start` returns as soon as the process runs; `is_ready` is one quick look. Killed at any point, the next `start`
    on the same folders resumes with everything that had been acknowledged durably. Two servers never share a store:
    the lock is inherited by the server and by all that it forks, and is free only when the last of them is gone.
    """

    name: str
    stop_signal = signal.SIGTERM

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.process: subprocess.Popen[bytes] | None = None
        self._prepared = False

    @property
    def log(self) -> Path:
        """Where the server writes; appended over restarts."""
        return self.layout.log(self.name)

    @abstractmethod
    def prepare(self) -> None:
        """Find the binary and make store and configuration; repeatable, leaves no half-made store behind."""

    @abstractmethod
    def command(self) -> list[str]:
        """The server's command line."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers now; at most a fraction of a second."""

    @abstractmethod
    def clean(self) -> None:
        """Remove what a killed server left in its store; called under the lock only."""

    def environment(self) -> dict[str, str]:
        """The server's whole environment."""
        return minimal_environment()

    def start(self) -> subprocess.Popen[bytes]:
        """Start the server on its store; raises StoreBusyError while an earlier one's descendants still hold it."""
        self.stop_orphan()
        lock = try_lock(self.layout.lock(self.name))
        if lock is None:
            raise StoreBusyError(self.name)
        output = open_log(self.log)
        try:
            self._prepare_once()
            self.clean()
            self.process = spawn(
                self.command(),
                env=self.environment(),
                output=output,
                account=self.layout.account,
                keep=(lock,),
                on_parent_death=self.stop_signal,
            )
        finally:
            os.close(lock)  # the child's copy keeps it
            os.close(output)
        identity.remember(self.layout.record(self.name), self.process.pid)
        return self.process

    def stop_orphan(self) -> None:
        """Stop the server that a killed supervisor left behind, if it still runs."""
        found = identity.recall(self.layout.record(self.name))
        if found is not None and (self.process is None or found.pid != self.process.pid):
            identity.end(found, self.stop_signal, STOP_PATIENCE)

    def start_and_wait(self) -> None:
        """Start the server and return once it answers; raises ServerFailedError with the log's place."""
        deadline = time.monotonic() + LOCK_PATIENCE
        while True:
            try:
                return self.wait(self.start())
            except StoreBusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def wait(self, process: subprocess.Popen[bytes]) -> None:
        """Return once the started server answers; raises ServerFailedError when it ends or stays silent."""
        deadline = time.monotonic() + START_PATIENCE
        while not self.is_ready():
            if process.poll() is not None:
                raise ServerFailedError(self.name, f"it ended with {process.returncode}", self.log)
            if time.monotonic() > deadline:
                raise ServerFailedError(self.name, f"silent for {START_PATIENCE:.0f} s", self.log)
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop in order and wait; a server that does not is killed. Safe to call when nothing runs."""
        if self.process is None:
            return
        with suppress(ProcessLookupError):
            self.process.send_signal(self.stop_signal)
        try:
            self.process.wait(STOP_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None
        self.layout.record(self.name).unlink(missing_ok=True)

    def kill(self) -> None:
        """End the server as a crash would (SIGKILL) and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def _prepare_once(self) -> None:
        if not self._prepared:
            self.prepare()
            self._prepared = True
