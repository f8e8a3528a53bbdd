"""Facts from other services: matches are planned; live executions hear of alerts and of approvals."""

from collections.abc import Sequence

from libs.common.clock import Clock
from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.approval import ApprovalFact
from libs.common.contracts.incident import AlertLinked, AlertResolved, IncidentCreated
from libs.common.contracts.runbook import RunbookMatched
from libs.common.database import Tx
from libs.common.outbox import Outbox
from libs.runbook.facts import AlertObserved
from services.executor import storage
from services.executor.approvals import Approvals
from services.executor.fold import Because, Change, fold
from services.executor.hints import Hints
from services.executor.model import ACTOR, SERVICE
from services.executor.planning import Planner

Message = Received[FactReceived]


class Handlers:
    """Applies a batch in one transaction; hints are sent after its commit."""

    def __init__(self, planner: Planner, held: Approvals, outbox: Outbox, hints: Hints, *, clock: Clock) -> None:
        self._planner = planner
        self._approvals = held
        self._outbox = outbox
        self._hints = hints
        self._clock = clock

    async def apply(self, tx: Tx, messages: Sequence[Message]) -> None:
        """Alerts first, so that plans know them; then live executions hear of the alerts, and of approvals."""
        alerts = {key: message for message in messages if (key := _alert_key(message)) is not None}
        latest: dict[tuple[str, str], Message] = {}
        for key, message in alerts.items():
            latest[key[:2]] = message
        await storage.set_alerts(
            tx,
            {key: (fires(message), message.value.envelope.aggregate_version) for key, message in latest.items()},
        )
        matches = [message for message in messages if isinstance(message.value.fact, RunbookMatched)]
        if matches:
            self._hints.later(await self._planner.plan(tx, matches))
        if latest:
            await self._tell(tx, latest)
        decided = [message for message in messages if isinstance(message.value.fact, ApprovalFact)]
        if decided:
            self._hints.later(await self._approvals.apply(tx, decided))

    async def _tell(self, tx: Tx, latest: dict[tuple[str, str], Message]) -> None:
        live = await storage.live_of_incidents(tx, list(latest))
        executions = await storage.lock(tx, live) if live else {}
        changes = []
        for execution in executions.values():
            message = latest[execution.tenant_id, execution.incident_id]
            if execution.frame.alert_firing == fires(message):
                continue
            span = handled_span(message, SERVICE, **{"ranger.execution_id": execution.execution_id})
            because = Because(ACTOR, message.event_id, span)
            changes.append(Change(execution, [AlertObserved(firing=fires(message))], because))
        self._hints.later(await fold(tx, self._outbox, changes, now=self._clock()))


def fires(message: Message) -> bool:
    """Whether the incident's alert fires after this fact."""
    fact = message.value.fact
    if isinstance(fact, AlertResolved):
        return fact.still_firing > 0
    return fact.firing if isinstance(fact, IncidentCreated) else True


def _alert_key(message: Message) -> tuple[str, str, int] | None:
    fact = message.value.fact
    if isinstance(fact, IncidentCreated) and not fact.alert_id:
        return None  # nobody's alert: an execution that opened its incident does not wait for one
    if isinstance(fact, IncidentCreated | AlertLinked | AlertResolved):
        return message.tenant, fact.incident_id, message.value.envelope.aggregate_version
    return None
