"""Where a run takes place: a whole embedded stack and a target of its own, started from nothing and stopped again.

Leases are short, so that what takes minutes in production takes seconds here.
"""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from runbook_ranger.chaos.waiting import until
from runbook_ranger.stack import control, first_token, identity, state
from runbook_ranger.stack.errors import NotRunningError, StackError
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import SERVICES, Urls
from runbook_ranger.stack.plan import Stack as Servers
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.servers.valkey import ADMIN, Valkey

SUPERVISOR: Final = "supervisor"
SERVERS: Final = ("nats", "valkey", "postgres")
APPROVER: Final = "approver"
SHORT: Final[Mapping[str, str]] = {
    "RR_LEASE_SECONDS": "2",
    "RR_LEASE_RENEW_SECONDS": "0.5",
    "RR_SWEEP_SECONDS": "0.2",
    "RR_REHINT_SECONDS": "1",
    "RR_CONSUMER_CHECK_SECONDS": "1",
    "RR_EGRESS_PUBLIC": "false",
}
UP_SECONDS: Final = 120


@dataclass
class Place:
    """One stack. `env` adds variables; each process obeys orders to crash (`crash`)."""

    root: Path
    workers: int = 3
    env: Mapping[str, str] = field(default_factory=dict)
    target_url: str = ""

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)
        self.layout = Layout.open(self.root / "data")

    # ── starting and stopping ────────────────────────────────────────────────────────────────────────────────────

    async def up(self) -> None:
        """Start, or start again on the same data; returns when everything is ready.

        Raises:
            StackError: it did not.
        """
        ports = Ports.load(self.layout.root / "ports.json")
        ports.claim("gateway")  # not the preferred one: there may be other stacks
        ports.release()
        command = ["up", "--detach", "--workers", str(self.workers), "--timeout", str(UP_SECONDS)]
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "runbook_ranger.cli", *command,
            env=self._environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        said, _ = await process.communicate()
        if process.returncode:
            raise StackError(f"the stack did not start: {said.decode(errors='replace').strip()}")

    async def down(self) -> None:
        """Stop in order."""
        with suppress(NotRunningError):
            await asyncio.to_thread(control.down, self.layout)

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
        orders = {name: {"RR_CRASH_ORDER": str(self.order(name))} for name in self.processes_wanted}
        tokens = {self.approver_token: {"actor": APPROVER, "tenants": ["*"], "roles": ["admin"]}}
        return {
            **kept,
            **self.settings,
            "RR_DATA_DIR": str(self.layout.root),
            "RR_EGRESS_ALLOW": self.target_url.removeprefix("http://"),
            "RR_PROCESS_ENV": json.dumps(orders),
            "RR_TOKENS": json.dumps(tokens),
        }

    @property
    def settings(self) -> Mapping[str, str]:
        """Intervals and the like, as this stack has them."""
        return {**SHORT, **self.env}

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def worker_names(self) -> list[str]:
        """The workers."""
        return [f"worker-{number}" for number in range(1, self.workers + 1)]

    @property
    def processes_wanted(self) -> list[str]:
        """Every process of the product."""
        return [*SERVICES, *self.worker_names]

    def pid(self, name: str) -> int | None:
        """The process that runs under this name now."""
        if name == SUPERVISOR:
            found = identity.recall(self.layout.record(SUPERVISOR))
            return found.pid if found else None
        process: dict[str, Any] = next((p for p in self._known() if p["name"] == name), {})
        return process.get("pid")

    def ready(self) -> bool:
        """Whether every process is."""
        return bool(state.read(self.layout.state).get("ready"))

    def _known(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = state.read(self.layout.state).get("processes", [])
        return found

    def send(self, name: str, number: signal.Signals) -> int | None:
        """Send a signal; the pid that got it, None when nothing runs under this name."""
        pid = self.pid(name)
        if pid is None:
            return None
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return None
        return pid

    async def until_ready(self, timeout: float = 90) -> None:
        """Wait until every process is ready.

        Raises:
            TimeoutError: it takes longer.
        """
        await until(self.ready, timeout)

    async def until_gone(self, pid: int, timeout: float = 30) -> None:
        """Wait until a process has ended."""
        await until(lambda: identity.start_time(pid) is None, timeout)

    def order(self, name: str) -> Path:
        """Where the crash point is written that a process is to end at; one for all workers."""
        return self.root / f"crash-{name.partition('-')[0]}"

    def crash(self, name: str, point: str) -> None:
        """Let this process end at that point, once; `worker` is whichever worker comes there first."""
        order = self.order(name)
        fresh = order.with_suffix(".new")
        fresh.write_text(point)
        fresh.replace(order)

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def urls(self) -> Urls:
        """Where the servers are, as administrator."""
        return Servers.choose(self.layout, self.ports).urls

    @property
    def ports(self) -> Ports:
        """The ports that were chosen."""
        return Ports.load(self.layout.root / "ports.json", running=True)

    def redis(self, *command: str) -> str:
        """One command to Valkey, as administrator; raises OSError while it does not answer."""
        return Valkey(self.layout).ask(*command, user=ADMIN)

    def gateway(self) -> str:
        """The gateway's URL, as it is now."""
        found: str = json.loads(self.layout.client.read_text())["url"]
        return found

    @property
    def operator_token(self) -> str:
        """The token that `rangerctl` uses."""
        return first_token.kept(self.layout)

    @property
    def approver_token(self) -> str:
        """The token of somebody else, who may grant what the operator asked for."""
        return self.layout.secret("approver-token")


@asynccontextmanager
async def place(root: Path, *, workers: int, env: Mapping[str, str] | None = None) -> AsyncIterator[Place]:
    """A running stack with its target; both are stopped at the end, and the folder stays.

    Raises:
        StackError: a stack runs there already, or one cannot be started.
    """
    found = Place(root, workers=workers, env=env or {})
    control.refuse_second(found.layout)
    async with _target(root / "target") as url:
        found.target_url = url
        try:
            await found.up()
            yield found
        finally:
            await found.down()


def clear(root: Path) -> None:
    """Remove what an earlier run left in a folder.

    Raises:
        StackError: its stack still runs.
    """
    if (root / "data").exists():
        layout = Layout.open(root / "data")
        control.refuse_second(layout)
        for folder in (layout.servers, layout.sockets):
            shutil.rmtree(folder, ignore_errors=True)
    shutil.rmtree(root, ignore_errors=True)


@asynccontextmanager
async def _target(folder: Path) -> AsyncIterator[str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "runbook_ranger.demo.target", "--port", "0", "--dir", str(folder),
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        announced = json.loads(await process.stdout.readline())
        yield announced["url"]
    finally:
        process.terminate()
        await process.wait()
