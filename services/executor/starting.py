"""A person begins a runbook: for an incident, for one that it opens itself, or for none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.common.database import Tx
from libs.common.errors import InvalidInput
from libs.common.ids import derived_id, new_id
from libs.common.policy import Resource, require
from libs.common.rpc import Answer, Caller, RpcClient
from libs.runbook.expressions import ExpressionError
from libs.runbook.planning import PlanFacts
from libs.runbook.problems import PlanRefused
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts
from services.executor.commands import StartExecution
from services.executor.fold import Because
from services.executor.hints import Hints
from services.executor.planning import Occasion, Planner

CRITICAL: Final = "critical"
ASK_SECONDS: Final = 3.0
"""Two questions stay below the database's limit for an idle transaction."""


@dataclass(frozen=True, slots=True)
class Starting:
    """The use case; it runs inside the transaction that stores its answer."""

    planner: Planner
    client: RpcClient
    hints: Hints

    async def start(self, tx: Tx, caller: Caller, command: StartExecution) -> Answer:
        """Plan and begin; what cannot be planned is refused with every reason, and nothing is stored."""
        require(caller.principal, "execution.start", Resource("runbook", command.runbook_id, caller.tenant))
        published = await self._ask(caller, "catalog", "get_version", _version(command))
        spec = Runbook.from_json(published["spec"])
        execution_id = new_id()
        opens = command.incident_id is None and (command.open_incident or CRITICAL in spec.tags)
        incident_id = command.incident_id or (derived_id("incident", execution_id) if opens else "")
        occasion = Occasion(
            execution_id=execution_id,
            tenant_id=caller.tenant,
            runbook_version=published["version"],
            spec_hash=published["spec_hash"],
            facts=PlanFacts(alert=await self._alert(caller, command.incident_id), incident_id=incident_id),
            initiator=caller.principal.actor,
            correlation=caller.request_key,
            because=Because(caller.principal.actor, traceparent=caller.traceparent),
            inputs=command.inputs,
            title=spec.name if opens else None,
            severity=(CRITICAL if CRITICAL in spec.tags else spec.risk) if opens else None,
        )
        try:
            self.hints.later(await self.planner.begin(tx, spec, occasion))
        except PlanRefused as error:
            raise InvalidInput(
                str(error), fix="`rangerctl runbook show` lists the inputs.", code="plan_refused"
            ) from None
        except ExpressionError as error:
            raise InvalidInput(str(error), code="plan_refused") from None
        return {"execution_id": execution_id, "incident_id": incident_id, "runbook_version": published["version"]}

    async def _alert(self, caller: Caller, incident_id: str | None) -> AlertFacts | None:
        """What the alert that opened the incident says, if one did or one was linked since."""
        if incident_id is None:
            return None
        incident = await self._ask(caller, "incident", "get", {"incident_id": incident_id})
        if not incident["alerts"]:
            return None
        name = incident["alert_name"] or incident["alerts"][0]["name"]
        return AlertFacts(name, incident["severity"], incident["labels"], incident["annotations"])

    async def _ask(self, caller: Caller, service: str, verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        return await self.client.ask(
            service, verb, question, principal=caller.principal, tenant=caller.tenant, timeout=ASK_SECONDS
        )


def _version(command: StartExecution) -> dict[str, Any]:
    question: dict[str, Any] = {"runbook_id": command.runbook_id}
    return question if command.version is None else question | {"version": command.version}
