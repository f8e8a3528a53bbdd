"""The whole product in a temporary folder, as `rangerctl up` runs it, with servers of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench import plugin
from bench.errors import BenchFailed
from bench.limits import unguarded as doors
from bench.options import Options
from runbook_ranger.cli.client import Address, Client
from runbook_ranger.stack import control, identity, state
from runbook_ranger.stack.errors import NotRunningError
from runbook_ranger.stack.fleet import FORKSERVER
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import Stack, Urls
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.supervisor import NAME as SUPERVISOR

ROOT: Final = Path(__file__).resolve().parents[1]
RUNBOOKS: Final = Path(__file__).parent / "runbooks"
SAMPLED: Final = {"RR_TRACE_SAMPLE": "0.01"}
"""Traces as a busy installation keeps them."""
ALONE: Final = frozenset({FORKSERVER, SUPERVISOR})
SERVERS: Final = frozenset({"nats", "valkey", "postgres"})
"""Processes whose children are processes of their own account."""


class Product:
    """A context manager: up on the way in, down and gone on the way out; after an error it says where the logs are.

    `environment` adds variables. `unguarded`: nobody is asked whether anything is allowed.
    """

    def __init__(
        self, options: Options, environment: Mapping[str, str] | None = None, *, unguarded: bool = False
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="rr-bench-", dir="/tmp"))
        self.root.chmod(0o711)
        self.layout = Layout.open(self.root / "data")
        self._workers = options.workers
        self._tell = options.tell
        self._environment = {**SAMPLED, **(environment or {})}
        first = plugin.install(self.root / "plugin")
        if unguarded:
            doors.install(first)
        self._path = os.pathsep.join([str(first), str(ROOT)])
        self._client: Client | None = None

    def __enter__(self) -> Self:
        try:
            self.up()
        except BaseException:
            self._keep_logs()
            self._remove()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is not None:
            self._keep_logs()
        self._remove()

    def up(self) -> float:
        """Start, or start again on the same data; returns the seconds until everything was ready."""
        began = time.perf_counter()
        self._rangerctl("up", "--detach", "--workers", str(self._workers), "--timeout", "120")
        return time.perf_counter() - began

    def down(self) -> None:
        """Stop in order."""
        if self._client is not None:
            self._client.__exit__(None, None, None)
            self._client = None
        control.down(self.layout)

    @property
    def api(self) -> Client:
        """The gateway, as the operator."""
        if self._client is None:
            self._client = Client(self.address)
        return self._client

    @property
    def address(self) -> Address:
        """Where the gateway is, and the operator's token."""
        found = json.loads(self.layout.client.read_text())
        return Address(found["url"], found["token"])

    @property
    def urls(self) -> Urls:
        """Where the servers are, as administrator."""
        return Stack.choose(self.layout, Ports.load(self.layout.root / "ports.json", running=True)).urls

    def publish(self, name: str) -> None:
        """Publish one of the benches' runbooks."""
        self.api.post_text("/runbooks", (RUNBOOKS / f"{name}.yaml").read_bytes(), "application/yaml")

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of each process, by name."""
        return {process["name"]: process for process in state.read(self.layout.state).get("processes", [])}

    def pids(self) -> dict[str, int]:
        """Every process by name, the supervisor's included."""
        found = {name: int(process["pid"]) for name, process in self.processes().items() if process["pid"]}
        supervisor = identity.recall(self.layout.record(SUPERVISOR))
        return found if supervisor is None else {**found, SUPERVISOR: supervisor.pid}

    def restarts(self) -> dict[str, int]:
        """Processes that have ended and were started again: none may, in a bench."""
        return {name: process["restarts"] for name, process in self.processes().items() if process["restarts"]}

    def _rangerctl(self, *command: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
        env = {**kept, "RR_DATA_DIR": str(self.layout.root), "PYTHONPATH": self._path, **self._environment}
        words = [sys.executable, "-m", "runbook_ranger.cli", *command]
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=180, check=False)  # noqa: S603
        if done.returncode:
            raise BenchFailed(f"rangerctl {' '.join(command)}: {done.stdout}{done.stderr}")

    def _keep_logs(self) -> None:
        kept = Path(tempfile.mkdtemp(prefix="rr-bench-logs-", dir="/tmp"))
        shutil.copytree(self.layout.logs, kept, dirs_exist_ok=True)
        self._tell(f"what the processes said is kept in {kept}")

    def _remove(self) -> None:
        try:
            self.down()
        except NotRunningError:
            pass
        finally:
            for folder in (self.layout.servers, self.layout.sockets, self.root):
                shutil.rmtree(folder, ignore_errors=True)
