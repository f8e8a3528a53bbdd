"""The whole product in a temporary folder, as `rangerctl up` runs it, with short leases; any process can be killed.

Times are short so that recovery is, and every wait is for a condition. `Case` is one alert with its execution.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from libs.common.contracts.choreography import EVENTS
from libs.common.contracts.choreography import consumers as wanted_consumers
from libs.common.ids import new_id
from runbook_ranger.stack import identity, state
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import Stack as Servers
from runbook_ranger.stack.plan import Urls
from runbook_ranger.stack.ports import Ports
from runbook_ranger.stack.servers.valkey import ADMIN, Valkey
from services.executor.hints import GROUP, STREAMS
from tests.support import scratch
from tests.support.eventually import eventually
from tests.support.log import verify_log

ROOT = Path(__file__).resolve().parents[2]
SUPERVISOR = "supervisor"
SHORT = {
    "RR_EGRESS_ALLOW": "127.0.0.0/8",
    "RR_LEASE_SECONDS": "2",
    "RR_LEASE_RENEW_SECONDS": "0.5",
    "RR_SWEEP_SECONDS": "0.2",
    "RR_REHINT_SECONDS": "1",
}
SERVICES = ("gateway", "incident", "catalog", "approvals", "executor", "timeline")
PUBLISHERS = ("gateway", "incident", "catalog", "approvals", "executor")
STARTS_AT = "2026-03-01T10:00:00Z"
NOT_THERE = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


@dataclass
class Stack:
    """One stack. `env` adds variables."""

    workers: int = 2
    env: Mapping[str, str] = field(default_factory=dict)
    root: Path = field(default_factory=lambda: scratch.folder("rr-chaos-"))

    def __post_init__(self) -> None:
        self.root.chmod(0o711)
        self.layout = Layout.open(self.root / "data")
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._one_at_a_time = asyncio.Lock()

    # ── processes ────────────────────────────────────────────────────────────────────────────────────────────────

    def up(self) -> None:
        """Start, or start again on the same data; returns when everything is ready."""
        self.ranger("up", "--detach", "--workers", str(self.workers), "--timeout", "90")

    def down(self) -> None:
        """Stop in order."""
        self.ranger("down")

    def ranger(self, *command: str) -> str:
        """What a command of `rangerctl` prints."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
        env = {
            **kept,
            **SHORT,
            "RR_DATA_DIR": str(self.layout.root),
            "PYTHONPATH": str(ROOT),
            **self.env,
        }
        done = subprocess.run(
            [sys.executable, "-m", "runbook_ranger.cli", *command],
            env=env,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    @property
    def worker_names(self) -> list[str]:
        """The workers' process names."""
        return [f"worker-{number}" for number in range(1, self.workers + 1)]

    def processes(self) -> dict[str, dict[str, Any]]:
        """What the supervisor says of each process, by name."""
        return {process["name"]: process for process in state.read(self.layout.state).get("processes", [])}

    def pid(self, name: str) -> int:
        """The process that runs under this name."""
        if name == SUPERVISOR:
            found = identity.recall(self.layout.record(SUPERVISOR))
            assert found is not None
            return found.pid
        pid = self.processes()[name]["pid"]
        assert isinstance(pid, int), f"{name} does not run"
        return pid

    def ready(self) -> bool:
        """Whether every process is."""
        return bool(state.read(self.layout.state).get("ready"))

    def send(self, name: str, number: signal.Signals) -> None:
        """Send a signal to one process."""
        os.kill(self.pid(name), number)

    async def kill(self, name: str, *, erase: bool = False, ready: bool = True) -> None:
        """kill -9; returns when it was started again and, if asked for, all is ready. `erase` takes its files."""
        pid = self.pid(name)
        if erase:
            shutil.rmtree(self.layout.root / "servers" / name / "store")
        others = [process["pid"] for process in self.processes().values()]
        os.kill(pid, signal.SIGKILL)
        await eventually(lambda: identity.start_time(pid) is None)
        if name == SUPERVISOR:
            await eventually(lambda: all(identity.start_time(other) is None for other in others if other), timeout=20)
            self.up()
            return
        await self.back(name, pid, ready=ready)

    async def back(self, name: str, pid: int, *, ready: bool = True) -> None:
        """Wait until another process than `pid` runs under this name and, if asked for, everything is ready."""

        def again() -> bool:
            process = self.processes().get(name, {})
            return process.get("pid") not in {None, pid} and (not ready or self.ready())

        await eventually(again, timeout=60, interval=0.05)

    # ── servers ──────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def urls(self) -> Urls:
        """Where the servers are, as administrator."""
        return Servers.choose(self.layout, Ports.load(self.layout.root / "ports.json", running=True)).urls

    def redis(self, *command: str) -> str:
        """One command to Valkey, as administrator."""
        return Valkey(self.layout).ask(*command, user=ADMIN)

    async def rows(self, query: str, *arguments: Any) -> Sequence[asyncpg.Record]:
        """Rows of any schema; none while Postgres does not answer."""
        async with self._one_at_a_time:
            try:
                if self._connection is None or self._connection.is_closed():
                    self._connection = await asyncpg.connect(self.urls.postgres, timeout=5)
                return await self._connection.fetch(query, *arguments, timeout=10)
            except NOT_THERE:
                if self._connection is not None:
                    self._connection.terminate()
                self._connection = None
                return []

    def close(self) -> None:
        """Let go of the connection to Postgres."""
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    # ── the API ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def ask(
        self, method: str, path: str, body: Any = None, *, text: str = "", retried: bool = True, **query: Any
    ) -> Any:
        """The JSON of an answer. While a server is away the same request is repeated with the same key.

        Raises:
            httpx.HTTPStatusError: the request was refused.
        """
        client = json.loads(self.layout.client.read_text())
        headers = {"Authorization": f"Bearer {client['token']}", "Idempotency-Key": new_id()}
        if body is not None or text:
            headers["Content-Type"] = "application/yaml" if text else "application/json"
        content = text or (json.dumps(body) if body is not None else None)

        async def once() -> httpx.Response | None:
            try:
                async with httpx.AsyncClient(base_url=client["url"], trust_env=False, timeout=15) as http:
                    answer = await http.request(method, path, content=content, headers=headers, params=query)
            except httpx.TransportError:
                return None
            return None if retried and answer.status_code in {503, 504} else answer

        answer = await eventually(once, timeout=60, interval=0.1)
        assert answer is not None
        return answer.raise_for_status().json()

    async def get(self, path: str, **query: Any) -> Any:
        """Read."""
        return await self.ask("GET", path, **query)

    async def post(self, path: str, body: Any) -> Any:
        """Change."""
        return await self.ask("POST", path, body)

    async def publish(self, source: str) -> None:
        """Publish a runbook."""
        await self.ask("POST", "/runbooks", text=source)

    # ── what holds when everything has healed ────────────────────────────────────────────────────────────────────

    async def settled(self, timeout: float = 30) -> None:
        """Wait until nothing is left to do, and check what holds then: see `unsettled`; the log verifies."""
        last: list[str] = []

        async def quiet() -> bool:
            last[:] = await self.unsettled()
            return not last

        try:
            await eventually(quiet, timeout=timeout, interval=0.1)
        except AssertionError:
            raise AssertionError(f"not settled within {timeout} s: {last}") from None
        await verify_log(self.get)

    async def unsettled(self) -> list[str]:
        """What is not yet as it should be: unpublished facts, dead letters, leases, hints, consumers behind."""
        found = []
        for schema in PUBLISHERS:
            rows = await self.rows(_LEFT.format(schema=schema))
            if not rows or any(rows[0].values()):
                found.append(f"{schema}: {[dict(row) for row in rows] or 'no answer'}")
        found += [f"action: {dict(row)}" for row in await self.rows(_ACTIONS)]
        found += [f"{stream}: {count} pending" for stream in STREAMS if (count := self._pending(stream))]
        return found + await self._behind()

    def _pending(self, stream: str) -> int:
        """Hints that were read and not acknowledged."""
        answer = self.redis("EVAL", "return redis.call('XPENDING', KEYS[1], ARGV[1])[1]", "1", stream, GROUP)
        return int(answer)

    async def _behind(self) -> list[str]:
        """Consumers that have not applied everything."""
        client = await self.urls.bus(allow_reconnect=False)
        try:
            found = []
            manager = client.jetstream()
            for stream, durable in wanted_consumers():
                info = await manager.consumer_info(stream, durable)
                unheard = not info.num_waiting and not info.delivered.consumer_seq  # nobody has ever asked
                if not unheard and (info.num_pending or info.num_ack_pending):
                    found.append(f"consumer {stream}/{durable}: {info.num_pending} + {info.num_ack_pending}")
            last = (await manager.stream_info(EVENTS)).state.last_seq
        finally:
            await client.close()
        log = await self.rows("SELECT seq FROM timeline.log_state")
        return found if log and log[0]["seq"] == last else [*found, f"log at {log} of {last}"]


_LEFT = """
SELECT (SELECT count(*) FROM {schema}.outbox WHERE published_at IS NULL) AS unpublished,
  (SELECT count(*) FROM {schema}.dead_letter) AS dead
"""
_ACTIONS = """
SELECT action_id, state, lease_until FROM executor.action_log
WHERE state = 'running' OR (state = 'ready' AND held_reason IS DISTINCT FROM 'lock')
"""


@dataclass
class Case:
    """One alert, its incident and its execution."""

    stack: Stack
    target: str
    alert: str
    name: str = field(default_factory=lambda: f"case-{new_id()}")
    execution: str = ""

    def event(self, status: str = "firing", **more: Any) -> dict[str, Any]:
        """The alert in our own form."""
        ends = {"ends_at": "2026-03-01T11:00:00Z"} if status == "resolved" else {}
        return {
            "name": self.alert,
            "status": status,
            "severity": "high",
            "labels": {"case": self.name},
            "fingerprint": self.name,
            "annotations": {"target": self.target},
            "starts_at": STARTS_AT,
            **ends,
            **more,
        }

    async def fire(self) -> None:
        """Post the alert, and wait for its execution."""
        await self.stack.post("/webhooks/events", self.event())
        await self.planned()

    async def planned(self) -> None:
        """Wait for the execution."""
        rows = await eventually(self._executions, timeout=30)
        [self.execution] = [str(row["execution_id"]) for row in rows]

    async def _executions(self) -> Sequence[asyncpg.Record]:
        query = "SELECT execution_id, incident_id FROM executor.execution WHERE alert->'labels'->>'case' = $1"
        return await self.stack.rows(query, self.name)

    async def resolve(self) -> None:
        """Post the alert's end."""
        await self.stack.post("/webhooks/events", self.event("resolved"))

    async def show(self) -> dict[str, Any]:
        """The execution as the API shows it."""
        shown: dict[str, Any] = await self.stack.get(f"/executions/{self.execution}")
        return shown

    async def reaches(self, **wanted: Any) -> dict[str, Any]:
        """Wait until the execution has these values."""
        shown: dict[str, Any] = {}
        deadline = time.monotonic() + 40
        while any(shown.get(key) != value for key, value in wanted.items()):
            assert time.monotonic() < deadline, f"wanted {wanted}: {json.dumps(shown, indent=1)}"
            await asyncio.sleep(0.05)
            shown = await self.show()
        return shown

    async def worker(self) -> str:
        """The worker that runs the current attempt."""

        async def running() -> str | None:
            query = "SELECT worker_id FROM executor.action_log WHERE execution_id::text = $1 AND state = 'running'"
            rows = await self.stack.rows(query, self.execution)
            return rows[0]["worker_id"] if rows else None

        return str(await eventually(running))

    async def keys(self) -> set[str]:
        """The idempotency keys of the execution's changes."""
        query = "SELECT idem_key FROM executor.action_log WHERE execution_id::text = $1 AND effect <> 'read'"
        return {row["idem_key"] for row in await self.stack.rows(query, self.execution)}
