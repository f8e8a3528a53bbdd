"""An incident and the executions that try to help it: what their facts do to it.

    runbook.planned     the execution is listed; where it opens an incident, the incident begins
    runbook.started     the incident is mitigating
    runbook.completed   it is monitored, counts as mitigated, and an earlier flag goes; resolved, if this execution
                        opened it: no alert's end will say so
    runbook.failed      a flag with the reason, not a status
    runbook.aborted     the same

An older fact of an execution changes nothing. Facts that overtake the one that opens the incident are kept with their
execution, and take effect when it begins.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from msgspec.structs import replace

from libs.common.contracts.execution import (
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
    ExecutionPlanned,
    ExecutionStarted,
)
from libs.common.contracts.incident import RemediationFailed
from libs.common.contracts.marking import UNMARKED, Marking
from services.incident.model import MAX_REASON, Execution, Flag, Incident, Opening, Told, followed, told
from services.incident.openings import execution_fingerprint, opened_by_execution
from services.incident.sla import Sla

FOLLOWED: Final[dict[type[ExecutionFact], str]] = {
    ExecutionPlanned: "pending",
    ExecutionStarted: "running",
    ExecutionCompleted: "completed",
    ExecutionFailed: "failed",
    ExecutionAborted: "aborted",
}
"""The facts that concern an incident, and the execution's state after each."""


class Remediation:
    """One incident with its executions, held by whoever has its lock; what changes is collected until it is stored.

    `incident` is None until the execution that opens it has told its plan.
    """

    def __init__(
        self, tenant: str, incident_id: str, incident: Incident | None = None, executions: Iterable[Execution] = ()
    ) -> None:
        self.tenant = tenant
        self.incident_id = incident_id
        self.incident = incident
        self.opening: Opening | None = None
        self.executions = {execution.execution_id: execution for execution in executions}
        self.changed: set[str] = set()
        self.story: list[Told] = []

    def learn(
        self,
        fact: ExecutionFact,
        *,
        version: int,
        now: datetime,
        sla: Sla,
        marking: Marking = UNMARKED,
        origin: int = 0,
    ) -> bool:
        """Fold a fact, version `version` of its execution, into the incident; False when it changes nothing.

        `marking` is the fact's; an incident that the execution opens bears it.
        """
        opens = self.incident is None and isinstance(fact, ExecutionPlanned) and fact.opens_incident
        if isinstance(fact, ExecutionPlanned) and opens:
            step, self.opening = opened_by_execution(
                fact, tenant=self.tenant, marking=marking, sla=sla, now=now, origin=origin
            )
            self._follow(step)
        known = self.executions.get(fact.execution_id)
        if known is None or known.version < version:
            known = self._execution(fact, version, now)
        elif not opens:
            return False
        self.executions[fact.execution_id] = known
        self.changed.add(fact.execution_id)
        if self.incident is not None:
            self._apply(self.incident, known, now, origin)
        return True

    def _execution(self, fact: ExecutionFact, version: int, now: datetime) -> Execution:
        return Execution(
            tenant=self.tenant,
            execution_id=fact.execution_id,
            incident_id=self.incident_id,
            runbook_id=fact.runbook_id,
            state=FOLLOWED[type(fact)],
            version=version,
            updated_at=now,
            reason=_reason(fact),
        )

    def _apply(self, incident: Incident, execution: Execution, now: datetime, origin: int) -> None:
        match execution.state:
            case "running":
                self._follow(followed(incident, "execution_started", now=now, origin=origin))
            case "completed":
                self._completed(incident, execution.execution_id, now, origin)
            case "failed" | "aborted":
                self._failed(incident, execution, now, origin)
            case _:
                pass

    def _completed(self, incident: Incident, execution_id: str, now: datetime, origin: int) -> None:
        """It was mitigated even where its status is past that: the alert may have ended before the execution did."""
        own = incident.fingerprint == execution_fingerprint(execution_id)
        why = f"opened by execution {execution_id}, which completed" if own else ""
        step = followed(incident, "execution_completed", now=now, rationale=why, own=own, origin=origin)
        self._follow(step)
        incident = incident if step is None else step.incident
        self.incident = replace(incident, mitigated_at=incident.mitigated_at or now, flag=None, updated_at=now)

    def _failed(self, incident: Incident, execution: Execution, now: datetime, origin: int) -> None:
        flagged = replace(incident, flag=Flag(execution.execution_id, execution.reason))
        fact = RemediationFailed(
            incident_id=flagged.incident_id, execution_id=execution.execution_id, reason=execution.reason
        )
        self._follow(told(flagged, fact, now=now, origin=origin))

    def _follow(self, step: Told | None) -> None:
        if step is not None:
            self.story.append(step)
            self.incident = step.incident


def _reason(fact: ExecutionFact) -> str:
    match fact:
        case ExecutionFailed(reason=reason) | ExecutionAborted(rationale=reason):
            return reason.replace("\x00", "\N{REPLACEMENT CHARACTER}")[:MAX_REASON]
        case _:
            return ""
