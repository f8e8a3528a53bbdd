"""The approvals service as others meet it: processes, facts of executions, an executor that answers, questions."""

import asyncio
import os
import signal
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import nats.js.errors
import orjson
from nats.aio.msg import Msg

from libs.common.bus import Bus, Outgoing, Stored, round_trip
from libs.common.contracts.choreography import BY_SUBJECT, EVENTS
from libs.common.contracts.envelope import Envelope
from libs.common.contracts.execution import ExecutionBlocked, ExecutionFact
from libs.common.ids import new_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from libs.common.rpc import RpcClient
from tests.support import forked
from tests.support.consumed import consumed
from tests.support.eventually import eventually

PLAN, ACTION = "a" * 64, "b" * 64
ADA = Principal("ada", frozenset({"default"}), frozenset({"operator"}))
BOB = Principal("bob", frozenset({"default"}), frozenset({"approver"}))
RITA = Principal("rita", frozenset({"default"}), frozenset({"admin"}))
VIC = Principal("vic", frozenset({"default"}), frozenset({"viewer"}))


def blocked(execution_id: str, **more: Any) -> ExecutionBlocked:
    """The execution waits for an approval of one action, which rita asked for."""
    fields = {
        "execution_id": execution_id, "incident_id": "i-1", "runbook_id": "reroute", "reason": "approval",
        "step": "shift", "step_run_id": f"{execution_id}/shift", "plan_hash": PLAN, "action_hash": ACTION,
        "approval_of": "action", "risk": "high", "requester": "rita", "expires_seconds": 600.0,
        "prompt": "Shift all traffic?", "action": "http.request", "resource_id": "shard-7",
    }  # fmt: skip
    return ExecutionBlocked.model_validate(fields | more)


@dataclass
class Instance:
    """A running `python -m services.approvals`."""

    process: forked.Process
    health: str
    output: Path

    @classmethod
    def start(cls, env: Mapping[str, str], folder: Path) -> "Instance":
        """Start one, whose log goes into `folder`."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        output = folder / f"{env['RR_INSTANCE']}.log"
        with output.open("ab") as file:
            own = {"PATH": os.environ["PATH"], **env, "RR_HEALTH_PORT": str(port)}
            process = forked.start("services.approvals", env=own, output=file)
        return cls(process, f"http://127.0.0.1:{port}", output)

    async def ready(self) -> bool:
        """Whether it says that it is."""
        assert self.process.returncode is None, self.output.read_text()
        try:
            async with httpx.AsyncClient() as client:
                return (await client.get(f"{self.health}/readyz")).status_code == 200
        except httpx.TransportError:
            return False

    async def metric(self, line: str) -> float:
        """The value of a line of `/metrics`; 0 where it is not there yet."""
        async with httpx.AsyncClient() as client:
            lines = (await client.get(f"{self.health}/metrics")).text.splitlines()
        return next((float(text.rpartition(" ")[2]) for text in lines if text.startswith(f"{line} ")), 0.0)

    async def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait for the exit code."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await asyncio.wait_for(self.process.wait(), 20)


@dataclass
class Executor:
    """What stands where the executor answers: it says what a test wants, and remembers what it was asked."""

    bus: Bus
    answer: dict[str, Any] = field(default_factory=lambda: {"ok": {"revoked": True}})
    asked: list[dict[str, Any]] = field(default_factory=list)

    async def serve(self) -> None:
        """Answer from now on."""
        await self.bus.nc.subscribe("rpc.executor.revoke_approval", queue="executor", cb=self._reply)
        await round_trip(self.bus.nc)

    async def _reply(self, message: Msg) -> None:
        self.asked.append(orjson.loads(message.data))
        await message.respond(orjson.dumps(self.answer))


@dataclass
class Room:
    """What a test does to the approvals service, and what it sees of it."""

    env: Mapping[str, str]
    admin_url: str
    folder: Path
    bus: Bus
    instances: list[Instance] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)

    async def start(self, name: str = "approvals-1", **more: str) -> Instance:
        """One more instance, ready."""
        few = {"RR_POOL_SIZE": "3"}  # several instances share the role's connections
        instance = Instance.start({**self.env, "RR_INSTANCE": name, **few, **more}, self.folder)
        self.instances.append(instance)
        await eventually(instance.ready, timeout=30)
        return instance

    async def stop(self) -> None:
        """kill -9 all that still run; that they stop in order is examined elsewhere."""
        for instance in self.instances:
            await instance.end(signal.SIGKILL)

    async def say(self, *facts: ExecutionFact, tenant: str = "default", version: int = 0) -> None:
        """Publish facts as the executor does, each the next version of its execution."""
        messages = []
        for fact in facts:
            self.versions[fact.execution_id] = version or self.versions.get(fact.execution_id, 0) + 1
            cause = Cause(
                tenant=tenant,
                actor="svc_executor",
                correlation=f"c-{fact.execution_id}",
                incident_id=fact.incident_id,
                execution_id=fact.execution_id,
                runbook_id=fact.runbook_id,
            )
            event = Outbox("executor", "executor").event(
                fact,
                aggregate_id=fact.execution_id,
                aggregate_version=self.versions[fact.execution_id],
                cause=cause,
                now=datetime.now(UTC),
            )
            messages.append(Outgoing(fact.subject, event.payload, event.envelope.to_headers()))
        outcomes = await self.bus.publish(messages)
        assert all(isinstance(outcome, Stored) for outcome in outcomes), outcomes

    async def asked(self, *, tenant: str = "default", **more: Any) -> str:
        """A new execution that waits; the id of the approval that it asks for."""
        execution_id = new_id()
        await self.say(blocked(execution_id, **more), tenant=tenant)
        [item] = await self.listed(1, execution_id=execution_id, tenant=tenant)
        found: str = item["approval_id"]
        return found

    async def listed(self, count: int, *, tenant: str = "default", **filters: Any) -> list[dict[str, Any]]:
        """The approvals that a list shows, once there are so many."""
        who = Principal("vic", frozenset({tenant}), frozenset({"viewer"}))

        async def page() -> list[dict[str, Any]] | None:
            items = (await self.ask("list", who=who, tenant=tenant, **filters))["items"]
            return list(items) if len(items) == count else None

        found = await eventually(page, timeout=20)
        assert found is not None
        return found

    async def ask(
        self, verb: str, *, who: Principal = ADA, tenant: str = "default", key: str = "", **body: Any
    ) -> dict[str, Any]:
        """The service's answer.

        Raises:
            RangerError: what it refused with.
        """
        client = RpcClient(self.bus, timeout=8.0)
        return await client.ask("approvals", verb, body, principal=who, tenant=tenant, request_key=key)

    async def grant(self, approval_id: str, *, who: Principal = ADA, key: str = "", **more: Any) -> dict[str, Any]:
        """Yes, to the hashes that were asked about."""
        seen = {"plan_hash": PLAN, "action_hash": ACTION, "rationale": "looked at it"} | more
        return await self.ask("grant", who=who, key=key, approval_id=approval_id, **seen)

    async def say_no(self, approval_id: str, *, who: Principal = BOB, key: str = "") -> dict[str, Any]:
        """No."""
        return await self.ask("reject", who=who, key=key, approval_id=approval_id, rationale="not now")

    async def revoke(self, approval_id: str, *, who: Principal = BOB, key: str = "") -> dict[str, Any]:
        """Not any more."""
        return await self.ask("revoke", who=who, key=key, approval_id=approval_id, rationale="wrong shard")

    async def facts(self, approval_id: str = "") -> list[tuple[Envelope, Any]]:
        """The service's facts about one approval or all, in the order of the stream, once all are published."""
        await eventually(self._published, timeout=20)
        found: list[tuple[Envelope, Any]] = []
        for seq in range(1, (await self.bus.js.stream_info(EVENTS)).state.last_seq + 1):
            try:
                message = await self.bus.js.get_msg(EVENTS, seq)
            except nats.js.errors.NotFoundError:
                continue
            if message.subject is not None and message.subject.startswith("approval."):
                envelope = Envelope.from_headers(message.headers)
                if approval_id in {"", envelope.aggregate_id}:
                    found.append((envelope, BY_SUBJECT[message.subject].fact.decode(message.data or b"")))
        return found

    async def told(self, approval_id: str, *subjects: str) -> list[tuple[Envelope, Any]]:
        """The facts about an approval, once they are exactly these, in this order, with versions from 1."""

        async def there() -> bool:
            return len(await self.facts(approval_id)) >= len(subjects)

        await eventually(there, timeout=20)
        facts = await self.facts(approval_id)
        assert [envelope.type for envelope, _ in facts] == list(subjects)
        assert [envelope.aggregate_version for envelope, _ in facts] == list(range(1, len(facts) + 1))
        return facts

    async def consumed(self) -> None:
        """Wait until the service has applied every fact."""
        await eventually(lambda: consumed(self.bus.js, EVENTS, "approvals"), timeout=20)

    async def _published(self) -> bool:
        return await self.rows("SELECT 1 FROM outbox WHERE published_at IS NULL LIMIT 1") == []

    async def rows(self, query: str, *values: Any) -> Sequence[dict[str, Any]]:
        """Rows of the service's schema, as administrator."""
        connection = await asyncpg.connect(self.admin_url, server_settings={"search_path": "approvals"})
        try:
            return [dict(row) for row in await connection.fetch(query, *values)]
        finally:
            await connection.close()
