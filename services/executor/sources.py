"""What the executor asks of other services when a person wants a runbook begun, or planned: its text, and the alert."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.common.contracts.marking import UNMARKED, Marking
from libs.common.ids import derived_id
from libs.common.rpc import Caller, RpcClient
from libs.runbook.planning import PlanFacts
from libs.runbook.spec import Runbook
from libs.runbook.triggers import AlertFacts
from services.executor.commands import StartExecution

CRITICAL: Final = "critical"
ASK_SECONDS: Final = 3.0
"""Two questions stay below the database's limit for an idle transaction."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order is about: the version that was published, and the occasion. `opens`: it opens an incident."""

    spec: Runbook
    version: int
    spec_hash: str
    facts: PlanFacts
    opens: bool
    marking: Marking = UNMARKED


@dataclass(frozen=True, slots=True)
class Sources:
    """The catalog and the incident service, asked in the caller's name."""

    client: RpcClient

    async def wanted(self, caller: Caller, order: StartExecution, execution_id: str = "") -> Wanted:
        """What an order is about; an incident that it opens is named after its execution, if that has an id.

        Raises:
            RangerError: there is no such runbook or incident for this caller, or nobody answered.
        """
        question: dict[str, Any] = {"runbook_id": order.runbook_id}
        if order.version is not None:
            question["version"] = order.version
        published = await self._ask(caller, "catalog", "get_version", question)
        spec = Runbook.from_json(published["spec"])
        wants = order.open_incident or CRITICAL in spec.tags
        opens = order.incident_id is None and wants and not order.dry_run
        opened = derived_id("incident", execution_id) if opens and execution_id else ""
        incident = None if order.incident_id is None else await self._incident(caller, order.incident_id)
        facts = PlanFacts(alert=None if incident is None else _alert(incident), incident_id=order.incident_id or opened)
        marking = (
            UNMARKED if incident is None else Marking(incident.get("environment", ""), incident.get("clearance", 0))
        )
        return Wanted(spec, published["version"], published["spec_hash"], facts, opens, marking)

    async def _incident(self, caller: Caller, incident_id: str) -> Mapping[str, Any]:
        return await self._ask(caller, "incident", "get", {"incident_id": incident_id})

    async def _ask(self, caller: Caller, service: str, verb: str, question: Mapping[str, Any]) -> dict[str, Any]:
        return await self.client.ask(
            service, verb, question, principal=caller.principal, tenant=caller.tenant, timeout=ASK_SECONDS
        )


def _alert(incident: Mapping[str, Any]) -> AlertFacts | None:
    """What the alert that opened the incident says, if one did or one was linked since."""
    if not incident["alerts"]:
        return None
    name = incident["alert_name"] or incident["alerts"][0]["name"]
    return AlertFacts(name, incident["severity"], incident["labels"], incident["annotations"])
