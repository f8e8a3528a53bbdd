"""Messages and requests become calls of one use case each; what they did is measured."""

from collections.abc import Iterable, Sequence

from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.alert import Alert
from libs.common.contracts.execution import ExecutionFact
from libs.common.contracts.incident import IncidentStatusChanged
from libs.common.database import Tx
from libs.common.rpc import Answer, Caller
from services.incident import metrics
from services.incident.commands import (
    ChangeOwner,
    ChangeSeverity,
    CreateIncident,
    GetIncident,
    LinkRunbook,
    ListIncidents,
    TransitionIncident,
)
from services.incident.lifecycle import INITIAL
from services.incident.model import Told
from services.incident.orders import Orders
from services.incident.storage import Storage
from services.incident.telling import SERVICE, Learned, Post
from services.incident.usecases import UseCases


class Handlers:
    """What the bus calls."""

    def __init__(self, usecases: UseCases, orders: Orders) -> None:
        self._do = usecases
        self._orders = orders

    async def alerts(self, tx: Tx, messages: Sequence[Received[list[Alert]]]) -> None:
        """A batch of INGRESS."""
        posts = [
            Post(tenant=m.tenant, event_id=m.event_id, traceparent=handled_span(m, SERVICE), alerts=m.value)
            for m in messages
        ]
        outcomes, story = await self._do.ingest(self._store(tx), posts)
        for outcome, count in outcomes.items():
            metrics.INGESTED.labels(outcome).inc(count)
        _measure(story)

    async def facts(self, tx: Tx, messages: Sequence[Received[FactReceived]]) -> None:
        """A batch of EVENTS."""
        learned = [
            Learned(envelope=m.value.envelope, fact=m.value.fact, traceparent=handled_span(m, SERVICE))
            for m in messages
            if isinstance(m.value.fact, ExecutionFact) and not m.value.fact.dry_run
        ]
        _measure(await self._do.follow(self._store(tx), learned))

    async def transition(self, tx: Tx, caller: Caller, command: TransitionIncident) -> Answer:
        """`rpc.incident.transition`."""
        answer, step = await self._orders.transition(self._store(tx), caller, command)
        _measure([step])
        return answer

    async def create(self, tx: Tx, caller: Caller, command: CreateIncident) -> Answer:
        """`rpc.incident.create`."""
        return await self._orders.create(self._store(tx), caller, command)

    async def severity(self, tx: Tx, caller: Caller, command: ChangeSeverity) -> Answer:
        """`rpc.incident.severity`."""
        return await self._orders.severity(self._store(tx), caller, command)

    async def owner(self, tx: Tx, caller: Caller, command: ChangeOwner) -> Answer:
        """`rpc.incident.owner`."""
        return await self._orders.owner(self._store(tx), caller, command)

    async def link_runbook(self, tx: Tx, caller: Caller, command: LinkRunbook) -> Answer:
        """`rpc.incident.link_runbook`."""
        return await self._orders.link_runbook(self._store(tx), caller, command)

    async def get(self, tx: Tx, caller: Caller, question: GetIncident) -> Answer:
        """`rpc.incident.get`."""
        return await self._do.show(self._store(tx), caller, question)

    async def list(self, tx: Tx, caller: Caller, question: ListIncidents) -> Answer:
        """`rpc.incident.list`."""
        return await self._do.page(self._store(tx), caller, question)

    def _store(self, tx: Tx) -> Storage:
        return Storage(tx, self._do.outbox)


def _measure(story: Iterable[Told]) -> None:
    for step in story:
        match step.fact, step.incident:
            case IncidentStatusChanged(status="resolved"), incident if incident.resolved_at is not None:
                metrics.MTTR.observe((incident.resolved_at - incident.opened_at).total_seconds())
            case IncidentStatusChanged(previous=previous), incident if previous == INITIAL and incident.acknowledged_at:
                metrics.MTTA.observe((incident.acknowledged_at - incident.opened_at).total_seconds())
            case _:
                pass
