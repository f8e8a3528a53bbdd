"""Facts about changes that policy refused: who wanted what, and by which rule; told by the service that was asked.

Told once an actor, action and thing in a minute: repeating a request that is refused floods nothing.
"""

from collections.abc import Mapping
from typing import ClassVar, Final

from libs.common.contracts.fact import Fact


class DenialFact(Fact):
    """`reasons` are the policy's codes, the weightiest first; `revision` names the policies that said so."""

    aggregate: ClassVar[str] = "denial"
    decision_id: str
    actor: str
    action: str
    resource_kind: str
    resource_id: str
    reasons: list[str]
    revision: str


class IncidentActionDenied(DenialFact):
    """A change of an incident."""

    subject: ClassVar[str] = "incident.action_denied"


class DraftDenied(DenialFact):
    """A draft or a published version of a runbook."""

    subject: ClassVar[str] = "runbook.draft_denied"


class ExecutionDenied(DenialFact):
    """A command on an execution, a lock, a breaker or the kill switch."""

    subject: ClassVar[str] = "runbook.execution_denied"


class DecisionDenied(DenialFact):
    """A decision about an approval."""

    subject: ClassVar[str] = "approval.decision_denied"


DENIALS: Final[Mapping[str, type[DenialFact]]] = {
    "incident": IncidentActionDenied,
    "catalog": DraftDenied,
    "executor": ExecutionDenied,
    "approvals": DecisionDenied,
}
"""By the service that tells it."""
