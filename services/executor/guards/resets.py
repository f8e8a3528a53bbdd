"""A person resets a breaker: who and why is told to everyone, and what it held goes on."""

from dataclasses import dataclass

from libs.common.clock import Clock
from libs.common.database import Tx
from libs.common.outbox import Cause, Outbox
from libs.common.policy import Resource, require
from libs.common.rpc import Answer, Caller
from services.executor.guards import breaker
from services.executor.guards.questions import ResetBreaker
from services.executor.hints import Hints


@dataclass(frozen=True, slots=True)
class Resets:
    """The use case; it runs inside the transaction that stores its answer."""

    outbox: Outbox
    hints: Hints
    clock: Clock

    async def reset(self, tx: Tx, caller: Caller, command: ResetBreaker) -> Answer:
        """Close a breaker that is open; who waited for it is hinted.

        Raises:
            BreakerNotOpen: it is not open.
        """
        place = breaker.Place(caller.tenant, command.runbook_id, command.resource_id)
        await require(caller.principal, "breaker.reset", Resource("breaker", place.breaker_id, caller.tenant))
        cause = Cause(
            tenant=caller.tenant,
            actor=caller.principal.actor,
            correlation=caller.request_key,
            traceparent=caller.traceparent,
        )
        let_go = await breaker.reset(tx, self.outbox, place, rationale=command.rationale, cause=cause, now=self.clock())
        self.hints.later(let_go)
        return {
            "breaker_id": place.breaker_id,
            "runbook_id": command.runbook_id,
            "resource_id": command.resource_id,
            "state": "closed",
            "let_go": len(let_go),
        }
