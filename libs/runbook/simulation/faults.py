"""What can go wrong at a step, by its type."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from libs.runbook.spec import UNDO, Runbook
from libs.runbook.steps import ActingStep, ActionStep, AnyStep, ApprovalStep, ManualStep, WaitStep

FaultKind: TypeAlias = Literal["fails", "times out", "dies before", "dies after", "lock lost", "rejected", "expired"]
KINDS: Final[tuple[FaultKind, ...]] = (
    "fails",  # the action certainly fails, in a way that will not pass; a person says that it could not be done
    "times out",  # no answer to any attempt, and nobody knows whether it took effect; nobody comes; no event; no end
    "dies before",  # the worker dies before the effect, and its lease runs out
    "dies after",  # the worker dies after the effect, and its lease runs out
    "lock lost",  # the lock goes to somebody else while it runs, and never comes back
    "rejected",  # somebody does not allow it
    "expired",  # nobody answers in time
)
VERIFICATION: Final = "(verification)"
ROLLBACK: Final = "(rollback)"


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that goes wrong at one step."""

    step_id: str
    kind: FaultKind

    def __str__(self) -> str:
        what = {"dies before": "worker dies before the effect", "dies after": "worker dies after the effect"}
        return f"{self.step_id}: {what.get(self.kind, self.kind)}"


def work_faults(step: AnyStep) -> tuple[FaultKind, ...]:
    """What can go wrong while a worker carries it out."""
    if not isinstance(step, ActingStep) or not step.action_name:
        return ()
    locked = isinstance(step, ActionStep) and step.mutating and step.resource is not None
    return ("fails", "times out", "dies before", "dies after", *(("lock lost",) if locked else ()))


def rows(spec: Runbook) -> Iterator[tuple[str, tuple[FaultKind, ...]]]:
    """Every step, with what can go wrong there; last the verification, and what takes changes back."""
    for step_id, place in spec.graph.places.items():
        yield step_id, (*work_faults(place.step), *_people_faults(spec, place.step))
    if spec.verify is not None and spec.verify.within is not None:
        yield VERIFICATION, ("times out",)
    steps = [place.step for place in spec.graph.places.values()]
    if spec.on_failed == "rollback" and any(isinstance(step, ActionStep) and step.rollback for step in steps):
        yield ROLLBACK, work_faults(UNDO)


def _people_faults(spec: Runbook, step: AnyStep) -> tuple[FaultKind, ...]:
    asked: tuple[FaultKind, ...] = ("rejected", "expired")
    approval = asked if isinstance(step, ApprovalStep) or spec.needs_approval(step.id) else ()
    if isinstance(step, ManualStep):
        return ("fails", "times out", *approval)
    if isinstance(step, WaitStep) and step.event is not None:
        return ("times out",)
    return approval
