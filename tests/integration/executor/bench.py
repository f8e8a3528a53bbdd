"""The executor's parts in one process, over real Postgres and Valkey: facts go in, rows and hints are seen."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from libs.common.clock import utc_now
from libs.common.consumer import FactReceived, Received
from libs.common.contracts.fact import Fact
from libs.common.contracts.incident import AlertLinked, AlertResolved, IncidentCreated
from libs.common.contracts.runbook import RunbookMatched
from libs.common.database import Database
from libs.common.ids import derived_id, new_id
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from libs.common.pulse import Pulse
from libs.common.rpc import Caller
from libs.runbook.hashing import spec_hash
from libs.runbook.spec import Runbook
from services.executor import storage, views
from services.executor.approvals import Approvals
from services.executor.claims import Asked, Claims
from services.executor.commands import GetExecution, SetKillSwitch
from services.executor.desk import Desk
from services.executor.handlers import Handlers
from services.executor.hints import STREAMS, Hints
from services.executor.model import SERVICE, Attempt, Ending, Settlement
from services.executor.planning import Planner
from services.executor.retrying import Retrying
from services.executor.settings import ExecutorSettings
from services.executor.settlement import Settlements
from services.executor.steering import Steering
from services.executor.sweeper import Sweeper
from services.executor.timers import Timers
from services.executor.usecases import Commands

TENANT = "default"
ADA = Principal("ada", frozenset({TENANT}), frozenset({"admin"}))
TARGET = "http://127.0.0.1:9"
_PUBLISHERS = {"match": "catalog", "approval": "approvals"}


def step(step_id: str = "fix", *, effect: str = "keyed", resource: str = "shard", **more: Any) -> dict[str, Any]:
    """One step that calls the target."""
    method = "GET" if effect == "read" else "POST"
    return {
        "id": step_id,
        "type": "action",
        "action": "http.request",
        "with": {"method": method, "url": f"{TARGET}/{step_id}"},
        "effect": effect,
        "resource": resource,
        **more,
    }


def runbook(*steps: dict[str, Any], **more: Any) -> Runbook:
    """A runbook of these steps, verified by the alert's end."""
    head = {"apiVersion": "ranger/v1", "id": "mend", "name": "Mend", "risk": "low", "mode": "auto"}
    verify = {"verify": {"alert": "resolved", "within": "60s"}}
    return Runbook.model_validate({**head, **verify, **more, "steps": list(steps) or [step()]})


@dataclass
class Bench:
    """What a test does to the executor. Nothing runs by itself: each part is told to."""

    database: Database
    hints: Hints
    redis: Any
    settings: ExecutorSettings = field(default_factory=lambda: ExecutorSettings(lease_seconds=30))
    specs: dict[str, Runbook] = field(default_factory=dict)
    versions: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.outbox = Outbox(SERVICE, "executor")
        held = Approvals(self.outbox, utc_now)
        planner = Planner(self.outbox, self._fetch, utc_now)
        self.handlers = Handlers(planner, held, self.outbox, self.hints, clock=utc_now)
        self.settlements = Settlements(self.database, self.outbox, clock=utc_now)
        self.sweeper = Sweeper(
            self.database, self.outbox, self.hints, self.settings, Pulse(self.database), clock=utc_now
        )
        self.people = Commands(self.outbox, self.hints, held, clock=utc_now)
        desk = Desk(self.outbox, self.hints, utc_now)
        self.steering = Steering(desk)
        self.retrying = Retrying(desk, planner)

    def timers(self) -> Timers:
        """Timers as one executor has them."""
        return Timers(self.database, self.outbox, self.hints, Pulse(self.database), clock=utc_now)

    def claims(self, worker: str = "worker-1", *, settings: ExecutorSettings | None = None) -> Claims:
        """Claims of one worker."""
        return Claims(self.database, self.outbox, settings or self.settings, worker_id=worker, clock=utc_now)

    # ── facts of others ──────────────────────────────────────────────────────────────────────────────────────────

    async def fires(self, incident: str, *, again: bool = False) -> None:
        """The incident's alert fires, for the first time or once more."""
        if again:
            await self.hear(AlertLinked(incident_id=incident, alert_id="b", starts_at="2026-03-01T10:00:00Z"))
            return
        fact = IncidentCreated(
            incident_id=incident, title="Slow", severity="high", status="new", fingerprint="f", alert_id="a",
            alert_name="slow", labels={}, annotations={}, firing=True,
        )  # fmt: skip
        await self.hear(fact)

    async def ends(self, incident: str) -> None:
        """The incident's alert ends."""
        await self.hear(
            AlertResolved(incident_id=incident, alert_id="a", ends_at="2026-03-01T10:00:00Z", still_firing=0)
        )

    async def hear(self, fact: Fact, *, version: int | None = None) -> None:
        """Apply one fact as the consumer does."""
        message = self.message(fact, version=version)
        async with self.database.transaction("hear") as tx:
            await self.handlers.apply(tx, [message])
        await self.hints.flush()

    def message(self, fact: Fact, *, version: int | None = None) -> Received[FactReceived]:
        """A fact of another service as it is received."""
        incident = getattr(fact, "incident_id", "")
        if version is None and fact.aggregate not in _PUBLISHERS:
            version = self.versions[incident] = self.versions.get(incident, 0) + 1
        service = _PUBLISHERS.get(fact.aggregate, "incident")
        event = Outbox(service, service).event(
            fact,
            aggregate_id=getattr(fact, f"{fact.aggregate}_id", incident),
            aggregate_version=version or 1,
            cause=Cause(tenant=TENANT, actor=f"svc_{service}", correlation=incident, incident_id=incident),
            now=utc_now(),
        )
        return Received(
            value=FactReceived(event.envelope, fact), event_id=event.envelope.id, aggregate_id=incident, tenant=TENANT,
            traceparent="", subject=fact.subject, stream="EVENTS", epoch=1, seq=1, received_ns=0, headers={}, data=b"",
        )  # fmt: skip

    async def execution(self, spec: Runbook | None = None, *, incident: str = "", firing: bool = True) -> str:
        """A match that was planned, for an incident whose alert fires; returns the execution's id."""
        spec = spec or runbook()
        incident = incident or new_id()
        if firing and incident not in self.versions:
            await self.fires(incident)
        digest = spec_hash(spec.to_json())
        self.specs[spec.id] = spec
        match = RunbookMatched(
            match_id=derived_id("match", incident, spec.id), incident_id=incident, runbook_id=spec.id,
            runbook_version=1, spec_hash=digest, alert_name="slow", severity="high", labels={}, annotations={},
        )  # fmt: skip
        await self.hear(match)
        return derived_id("execution", match.match_id)

    async def _fetch(self, _tenant: str, runbook_id: str, _version: int) -> Runbook:
        return self.specs[runbook_id]

    # ── a worker ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def ready(self, execution_id: str = "") -> list[Attempt]:
        """The ready attempts of an execution, or of all."""
        rows = await self.database.pool.fetch(
            "SELECT action_id FROM action_log WHERE state = 'ready' AND ($1 = '' OR execution_id::text = $1)",
            execution_id,
        )
        return await storage.ready_attempts(self.database.pool, [str(row["action_id"]) for row in rows])

    async def claim(self, execution_id: str, worker: str = "worker-1", **asked: Any) -> Attempt | None:
        """Claim what is ready of an execution; None when it was turned away."""
        attempts = await self.ready(execution_id)
        running, hints = await self.claims(worker).claim([Asked(attempt, **asked) for attempt in attempts])
        await self.hints.send(hints)
        return next(iter(running.values()), None)

    async def running(self, execution_id: str, worker: str = "worker-1") -> Attempt:
        """The attempt that a claim of this execution brought."""
        found = await self.claim(execution_id, worker)
        assert found is not None
        return found

    async def settle(self, attempt: Attempt, ending: Ending = "succeed", **more: Any) -> None:
        """Settle one attempt as its worker does."""
        await self.hints.send((await self.settlements.settle([Settlement(attempt, ending, **more)])).hints)

    async def expire(self, attempt: Attempt) -> None:
        """Let the lease of an attempt be over, and the sweeper see it."""
        await self.database.pool.execute(
            "UPDATE action_log SET lease_until = clock_timestamp() - interval '1 second' WHERE action_id = $1",
            uuid.UUID(attempt.action_id),
        )
        await self.sweeper.lose_expired()

    # ── people ───────────────────────────────────────────────────────────────────────────────────────────────────

    def caller(self) -> Caller:
        """Ada, asking something new."""
        return Caller(ADA, TENANT, new_id())

    async def tell(self, verb: str, command: Any) -> Any:
        """A command in a transaction of its own, and what follows its commit."""
        async with self.database.transaction(verb) as tx:
            desk = next(each for each in (self.people, self.steering, self.retrying) if hasattr(each, verb))
            answer = await getattr(desk, verb)(tx, self.caller(), command)
        await self.hints.flush()
        return answer

    async def switch(self, *, engaged: bool) -> None:
        """Toggle the kill switch of the tenant."""
        await self.tell("set_kill_switch", SetKillSwitch(engaged=engaged, reason="drill"))

    # ── what is seen ─────────────────────────────────────────────────────────────────────────────────────────────

    async def show(self, execution_id: str) -> dict[str, Any]:
        """An execution as people read it."""
        async with self.database.transaction("show") as tx:
            return dict(await views.get_execution(tx, self.caller(), GetExecution(execution_id=execution_id)))

    async def told(self, execution_id: str) -> list[str]:
        """The subjects that were published about an execution, in order."""
        rows = await self.database.pool.fetch(
            "SELECT subject, aggregate_version FROM outbox WHERE aggregate_id = $1 ORDER BY id", execution_id
        )
        assert [row["aggregate_version"] for row in rows] == list(range(1, len(rows) + 1))
        return [row["subject"].removeprefix("runbook.") for row in rows]

    async def fact(self, execution_id: str, subject: str) -> dict[str, Any]:
        """The payload of the last fact of a kind."""
        payload = await self.database.pool.fetchval(
            "SELECT payload FROM outbox WHERE aggregate_id = $1 AND subject = $2 ORDER BY id DESC LIMIT 1",
            execution_id,
            f"runbook.{subject}",
        )
        found: dict[str, Any] = orjson.loads(payload)
        return found

    async def attempts(self, execution_id: str) -> list[dict[str, Any]]:
        """Rows of the action log, oldest first."""
        rows = await self.database.pool.fetch(
            "SELECT * FROM action_log WHERE execution_id = $1 ORDER BY ready_at, attempt", uuid.UUID(execution_id)
        )
        return [dict(row) for row in rows]

    async def lock(self, resource: str = "shard") -> tuple[str, str] | None:
        """Who holds a resource, and how."""
        row = await self.database.pool.fetchrow(
            "SELECT execution_id, state FROM resource_lock WHERE resource_id = $1", resource
        )
        return (str(row["execution_id"]), row["state"]) if row else None

    async def hinted(self) -> list[str]:
        """The actions that are hinted now; reading takes the hints away."""
        found = []
        for stream in STREAMS:
            for _, fields in await self.redis.xrange(stream):
                found.append(orjson.loads(fields[b"__data__"])["action_id"])
            await self.redis.xtrim(stream, maxlen=0)
        return found


def states(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The states of attempts."""
    return [row["state"] for row in rows]
