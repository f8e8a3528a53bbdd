"""Facts on their way into executions: for which one, by whom, and out of which attempts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from libs.common.contracts.envelope import Ref
from libs.common.outbox import Cause
from libs.runbook.facts import Fact, Probed, StepFact, StepFailed, StepLost, StepSucceeded, StepUnknown
from libs.runbook.paths import probed
from services.executor.model import ACTOR, Attempt, Execution


@dataclass(frozen=True, slots=True)
class Because:
    """What makes facts happen: who acts, in whose trace, and the fact before it."""

    actor: str = ACTOR
    causation: str = ""
    traceparent: str = ""


@dataclass(slots=True)
class Change:
    """Facts for one execution that the caller has locked, with the attempts that they come from, if any, by path."""

    execution: Execution
    facts: Sequence[Fact]
    because: Because = field(default_factory=Because)
    attempts: Mapping[str, Attempt] = field(default_factory=dict)
    refs: Mapping[str, tuple[Ref, ...]] = field(default_factory=dict)

    @classmethod
    def of_attempt(
        cls, execution: Execution, fact: Fact, because: Because, attempt: Attempt, refs: tuple[Ref, ...] = ()
    ) -> "Change":
        """What one attempt brought."""
        return cls(execution, [fact], because, {attempt.path: attempt}, {attempt.path: refs})


def translated(fact: Fact) -> Fact | None:
    """What the attempt of a probe brought is told of the step that it is about; that it began says nothing."""
    if not isinstance(fact, StepFact) or not (path := probed(fact.path)):
        return fact
    match fact:
        case StepSucceeded():
            return Probed(path, fact.visit, fact.outputs)
        case StepFailed() | StepLost() | StepUnknown():
            return Probed(path, fact.visit, None)
        case _:
            return None


def cause_of(execution: Execution, because: Because) -> Cause:
    """The cause of an execution's facts."""
    return Cause(
        tenant=execution.tenant_id,
        actor=because.actor,
        correlation=execution.correlation,
        causation=because.causation,
        incident_id=execution.incident_id,
        execution_id=execution.execution_id,
        runbook_id=execution.runbook_id,
        traceparent=because.traceparent or execution.traceparent,
        marking=execution.marking,
    )
