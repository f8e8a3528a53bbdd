"""One timeline process over servers of its own, and whoever tells it things: for what the log alone can carry."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.errors import BenchFailed
from bench.limits.servers import Servers
from libs.common.bus import Bus, Outgoing, Stored
from libs.common.clock import rfc3339, utc_now
from libs.common.contracts.envelope import Envelope
from libs.tlog.note import Signer
from libs.tlog.secretkey import private_text
from runbook_ranger.stack import keyring
from runbook_ranger.stack.migrate import migrate
from runbook_ranger.stack.provision import Targets, provision
from runbook_ranger.stack.roles import service_url

ROOT: Final = Path(__file__).resolve().parents[2]
ORIGIN: Final = "bench.example/timeline"
DATABASE: Final = "ranger"
EACH: Final = 12  # events of an incident: two of its own, ten of its execution
OF_INCIDENT: Final = 2
PAYLOAD: Final = '{"step":"look","outcome":"succeeded","attempt":1,"fence":%d,"outputs":{"p99":%d},"note":"%s"}'
WINDOW: Final = 500
SAMPLED: Final = 100  # one trace in so many is kept


class LogAlone:
    """The timeline's process, started and ended at will. A context manager: the servers are there within it."""

    def __init__(self) -> None:
        self.servers = Servers()
        self.objects = self.servers.root / "objects"
        self._process: subprocess.Popen[bytes] | None = None
        self._told = 0

    def __enter__(self) -> Self:
        self.servers.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()
        self.servers.__exit__(kind, error, at)

    async def prepare(self) -> None:
        """Streams, roles, schemas and the key that signs."""
        where = self.servers.environment()
        secret = self.servers.layout.secret("roles")
        admin = self.servers.database(DATABASE)
        bus, hints = where["LIMIT_NATS"], where["LIMIT_REDIS"]
        await provision(Targets(postgres=admin, nats=bus, redis=hints, role_secret=secret))
        await migrate(admin)
        self._key().write_text(private_text(Signer(ORIGIN, bytes(range(32)))) + "\n")

    def start(self) -> int:
        """Start it; returns its pid."""
        keys = self.servers.keys
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RR_")}
        own = {
            "RR_POSTGRES_URL": self.database,
            "RR_NATS_URL": self.servers.nats_url,
            "RR_NATS_NKEY_FILE": str(keyring.path(keys, "timeline")),
            "RR_INSTANCE": "timeline",
            "RR_HEALTH_PORT": "0",
            "RR_OBJECTS_DIR": str(self.objects),
            "RR_TIMELINE_ORIGIN": ORIGIN,
            "RR_TIMELINE_KEY_FILE": str(self._key()),
            "RR_TRACE_SAMPLE": "0.01",
            "RR_LOG_LEVEL": "WARNING",
        }
        with (self.servers.root / "timeline.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.timeline"],
                env={**kept, **own, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
        return self._process.pid

    def end(self) -> None:
        """Stop it in order, if it runs."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    @property
    def database(self) -> str:
        """The timeline's schema, in its own role."""
        return service_url(self.servers.database(DATABASE), "timeline", self.servers.layout.secret("roles"))

    @property
    def checkpoint(self) -> Path:
        """The newest checkpoint that is published."""
        return self.objects / "checkpoint"

    async def tell(self, bus: Bus, count: int) -> None:
        """Publish so many more facts, every one acknowledged, a window at a time."""
        for start in range(0, count, WINDOW):
            numbers = range(self._told, self._told + min(WINDOW, count - start))
            outcomes = await bus.publish([fact(number) for number in numbers])
            refused = [outcome for outcome in outcomes if not isinstance(outcome, Stored)]
            if refused:
                raise BenchFailed(f"the bus refused a fact: {refused[0]}")
            self._told = numbers.stop

    def _key(self) -> Path:
        return self.servers.root / "timeline.key"


def fact(number: int) -> Outgoing:
    """The fact of this number, as an execution tells them: always the same but for time and salt."""
    group, place = divmod(number, EACH)
    incident, execution = f"0192f0c1-0000-7000-8000-{group:012d}", f"0192f0c3-0000-7000-8000-{group:012d}"
    of_incident = place < OF_INCIDENT
    payload = (PAYLOAD % (number, number % 997, "x" * (number % 160))).encode()
    told = Envelope(
        id=f"0192f0c2-0000-7000-8000-{number:012d}",
        type="incident.severity_changed" if of_incident else "runbook.step_completed",
        source="/svc/incident" if of_incident else "/svc/executor",
        time=rfc3339(utc_now()),
        aggregate_type="incident" if of_incident else "execution",
        aggregate_id=incident if of_incident else execution,
        aggregate_version=place + 1,
        tenant="acme",
        actor="svc:executor",
        correlation=f"0192f0c2-0000-7000-8000-{group * EACH:012d}",
        incident_id=incident,
        execution_id="" if of_incident else execution,
        runbook_id="" if of_incident else "evidence-storage-latency",
        traceparent=f"00-{group + 1:032x}-{number + 1:016x}-{'01' if group % SAMPLED == 0 else '00'}",
    )
    return Outgoing(told.type, payload, told.to_headers())
