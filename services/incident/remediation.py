"""An incident and the executions that try to help it: what their facts do to it.

    runbook.started     the incident is mitigating
    runbook.completed   it is monitored, counts as mitigated, and an earlier flag goes
    runbook.failed      a flag with the reason, not a status
    runbook.aborted     the same

An older fact of an execution changes nothing.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Final

from libs.common.contracts.execution import (
    ExecutionAborted,
    ExecutionCompleted,
    ExecutionFact,
    ExecutionFailed,
    ExecutionStarted,
)
from libs.common.contracts.incident import RemediationFailed
from services.incident.model import MAX_REASON, Execution, Flag, Incident, Told, followed, told

FOLLOWED: Final[dict[type[ExecutionFact], str]] = {
    ExecutionStarted: "running",
    ExecutionCompleted: "completed",
    ExecutionFailed: "failed",
    ExecutionAborted: "aborted",
}
"""The facts that concern an incident, and the execution's state after each."""


class Remediation:
    """One incident with its executions, held by whoever has its lock; what changes is collected until it is stored."""

    def __init__(self, incident: Incident, executions: Iterable[Execution] = ()) -> None:
        self.incident = incident
        self.executions = {execution.execution_id: execution for execution in executions}
        self.changed: set[str] = set()
        self.story: list[Told] = []

    def learn(self, fact: ExecutionFact, *, version: int, now: datetime, origin: int = 0) -> bool:
        """Fold a fact, version `version` of its execution, into the incident; False when it is an old one."""
        known = self.executions.get(fact.execution_id)
        if known is not None and known.version >= version:
            return False
        reason = _reason(fact)
        self.executions[fact.execution_id] = Execution(
            tenant=self.incident.tenant,
            execution_id=fact.execution_id,
            incident_id=self.incident.incident_id,
            runbook_id=fact.runbook_id,
            state=FOLLOWED[type(fact)],
            version=version,
            updated_at=now,
            reason=reason,
        )
        self.changed.add(fact.execution_id)
        match fact:
            case ExecutionStarted():
                self._follow(followed(self.incident, "execution_started", now=now, origin=origin))
            case ExecutionCompleted():
                self._completed(now, origin)
            case _:
                self._failed(fact.execution_id, reason, now, origin)
        return True

    def _completed(self, now: datetime, origin: int) -> None:
        """It was mitigated even where its status is past that: the alert may have ended before the execution did."""
        self._follow(followed(self.incident, "execution_completed", now=now, origin=origin))
        self.incident = replace(
            self.incident, mitigated_at=self.incident.mitigated_at or now, flag=None, updated_at=now
        )

    def _failed(self, execution_id: str, reason: str, now: datetime, origin: int) -> None:
        flagged = replace(self.incident, flag=Flag(execution_id, reason))
        fact = RemediationFailed(incident_id=flagged.incident_id, execution_id=execution_id, reason=reason)
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
