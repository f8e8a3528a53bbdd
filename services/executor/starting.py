"""A person begins a runbook: for an incident, for one that it opens itself, or for none."""

from dataclasses import dataclass

from libs.common.database import Tx
from libs.common.errors import InvalidInput
from libs.common.ids import new_id
from libs.common.policy import require
from libs.common.rpc import Answer, Caller
from libs.runbook.expressions import ExpressionError
from libs.runbook.problems import PlanRefused
from services.executor import about
from services.executor.commands import StartExecution
from services.executor.fold import Because
from services.executor.hints import Hints
from services.executor.planning import Occasion, Planner
from services.executor.sources import CRITICAL, Sources


@dataclass(frozen=True, slots=True)
class Starting:
    """The use case; it runs inside the transaction that stores its answer."""

    planner: Planner
    sources: Sources
    hints: Hints

    async def start(self, tx: Tx, caller: Caller, command: StartExecution) -> Answer:
        """Plan and begin; what cannot be planned is refused with every reason, and nothing is stored."""
        execution_id = new_id()
        wanted = await self.sources.wanted(caller, command, execution_id)
        resource = about.beginning(wanted.spec, caller.tenant, wanted.marking)
        await require(caller.principal, "execution.start", resource)
        spec, incident_id = wanted.spec, wanted.facts.incident_id
        occasion = Occasion(
            execution_id=execution_id,
            tenant_id=caller.tenant,
            runbook_version=wanted.version,
            spec_hash=wanted.spec_hash,
            facts=wanted.facts,
            initiator=caller.principal.actor,
            correlation=caller.request_key,
            because=Because(caller.principal.actor, traceparent=caller.traceparent),
            marking=wanted.marking,
            rights=caller.principal.to_wire(),
            inputs=command.inputs,
            dry_run=command.dry_run,
            title=spec.name if wanted.opens else None,
            severity=(CRITICAL if CRITICAL in spec.tags else spec.risk) if wanted.opens else None,
        )
        try:
            self.hints.later(await self.planner.begin(tx, spec, occasion))
        except (PlanRefused, ExpressionError) as error:
            raise refusal(error) from None
        begun = {"execution_id": execution_id, "incident_id": incident_id, "runbook_version": wanted.version}
        return {**begun, "dry_run": True} if command.dry_run else begun


def refusal(error: PlanRefused | ExpressionError) -> InvalidInput:
    """Why a runbook cannot be planned, as its caller is told."""
    fix = "`rangerctl runbook show` lists the inputs." if isinstance(error, PlanRefused) else ""
    return InvalidInput(str(error), fix=fix, code="plan_refused")
