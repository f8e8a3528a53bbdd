"""Facts of executions: what waits for an approval is asked about once, and what has ended asks no more."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from libs.common.consumer import FactReceived, Received, handled_span
from libs.common.contracts.execution import (
    ExecutionAborted,
    ExecutionBlocked,
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
)
from libs.common.database import Tx
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Principal
from services.approvals import storage, telling
from services.approvals.docket import Docket, question
from services.approvals.model import SERVICE, Told
from services.approvals.storage import ExecutionKey

Message = Received[FactReceived]
ACTOR: Final = Principal.system(SERVICE).actor
ENDS: Final = (ExecutionCompleted, ExecutionFailed, ExecutionAborted)


@dataclass(frozen=True, slots=True)
class Handlers:
    """Applies a batch in one transaction. `default_seconds`: how long a question waits that does not say it."""

    outbox: Outbox
    default_seconds: float

    async def apply(self, tx: Tx, messages: Sequence[Message]) -> None:
        """Fold facts into their executions, in order."""
        ours = [(key, message) for message in messages if (key := _concerns(message)) is not None]
        if not ours:
            return
        dockets = await storage.dockets(tx, [key for key, _ in ours])
        now = await storage.moment(tx)
        for origin, (key, message) in enumerate(ours):
            self._fold(dockets[key], message, origin, now)
        await storage.end(tx, [key for key, docket in dockets.items() if docket.ended])
        story = sorted((told for docket in dockets.values() for told in docket.story), key=lambda told: told.origin)
        await telling.tell(tx, self.outbox, [(told, _cause(told, ours[told.origin][1])) for told in story], now=now)

    def _fold(self, docket: Docket, message: Message, origin: int, now: datetime) -> None:
        fact, envelope = message.value.fact, message.value.envelope
        if isinstance(fact, ExecutionBlocked):
            docket.ask(question(fact, envelope, now=now, default_seconds=self.default_seconds), origin=origin)
        else:
            docket.end(now=now, origin=origin)


def _concerns(message: Message) -> ExecutionKey | None:
    """The execution whose question or end this is."""
    fact = message.value.fact
    asks = isinstance(fact, ExecutionBlocked) and fact.reason == "approval"
    if isinstance(fact, ExecutionFact) and not fact.dry_run and (asks or isinstance(fact, ENDS)):
        return message.value.envelope.tenant, fact.execution_id
    return None


def _cause(told: Told, message: Message) -> Cause:
    span = handled_span(message, SERVICE, **{"ranger.approval_id": told.approval.approval_id})
    return replace(Cause.of(message.value.envelope, actor=ACTOR), traceparent=span)
