"""A runbook as a dry run follows it: what reads is carried out, what changes, asks or waits is only tried on.

Each step becomes one of three:

    carried_out     a read, a check, a decision, branches, a loop: as it is, but never behind an approval
    simulated       a mutation, a notification, a manual step, a wait, an approval: its templates are filled in and its
                    arguments are looked at by the action `dry_run.simulate`, which does nothing
    not_simulated   it needs what a step answers that is only simulated, or judges what that has changed: left out

Nothing is verified, nothing is taken back, no limit across executions counts. A decision that needs an unknown answer
ends its sequence there: nobody can say how it would go on.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from libs.runbook.cel import Declarations
from libs.runbook.declared import declarations
from libs.runbook.expressions import ExpressionError
from libs.runbook.graph import END
from libs.runbook.outlook import ANY_STEP, reads, template_reads, texts_of
from libs.runbook.spec import Runbook
from libs.runbook.steps import (
    ActingStep,
    ActionStep,
    AnyStep,
    CheckStep,
    DecisionStep,
    LoopStep,
    ParallelStep,
)

SIMULATE: Final = "dry_run.simulate"
NOT_SIMULATED: Final = "not_simulated"
NEVER: Final = "false"
Mark: TypeAlias = Literal["carried_out", "simulated", "not_simulated"]
_KEPT: Final = ("apiVersion", "id", "name", "description", "tags", "inputs", "deadline")
_COMMON: Final = ("id", "name", "when", "on_success", "on_failure")


def dry(spec: Runbook) -> Runbook:
    """The runbook as its dry run follows it; the same steps under the same ids."""
    kept = {key: value for key, value in spec.to_json().items() if key in _KEPT}
    steps = _Trying(declarations(spec), frozenset(spec.verifying)).sequence(spec.steps)
    return Runbook.from_json({**kept, "risk": "low", "mode": "auto", "steps": steps})


def mark(step: AnyStep) -> Mark:
    """What a dry run does with a step of a runbook that `dry` made."""
    if step.when == NEVER:
        return "not_simulated"
    return "simulated" if step.action_name == SIMULATE else "carried_out"


@dataclass(slots=True)
class _Trying:
    """Along the steps, in their order; `unknown` are those before whose answers nobody knows, with the reason."""

    declared: Declarations
    verifying: frozenset[str]
    unknown: set[str] = field(default_factory=set)

    def sequence(self, steps: Sequence[AnyStep]) -> list[dict[str, Any]]:
        """Steps one after the other."""
        return [self._step(step) for step in steps]

    def _step(self, step: AnyStep) -> dict[str, Any]:
        why = self._in_the_way(step)
        if why:
            self.unknown |= {step.id, *_ids_inside(step)}
            return _left_out(step, why)
        if _only_reads(step):
            return self._as_it_is(step)
        self.unknown.add(step.id)
        return _simulated(step)

    def _in_the_way(self, step: AnyStep) -> str:
        """Why a step can neither be carried out nor simulated; empty if it can."""
        if step.id in self.verifying:
            return "it would judge changes that were only simulated"
        try:
            needed = sorted(self._unknown_to(step))
        except ExpressionError as error:
            return str(error)
        return f"it needs what {', '.join(needed)} would answer, which nobody knows" if needed else ""

    def _unknown_to(self, step: AnyStep) -> set[str]:
        read: set[str] = set(template_reads(texts_of(step), self.declared))
        for condition in _conditions(step):
            read |= reads(condition, self.declared)
        return set(self.unknown) if ANY_STEP in read else read & self.unknown

    def _as_it_is(self, step: AnyStep) -> dict[str, Any]:
        written = step.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for key in ("approval", "irreversible", "requires_firing", "rollback", "verify"):
            written.pop(key, None)
        if isinstance(step, ActionStep):
            written["risk"] = "low"
        if isinstance(step, ParallelStep):
            written["branches"] = {name: self.sequence(body) for name, body in step.branches.items()}
        elif isinstance(step, LoopStep):
            written["steps"] = self.sequence(step.steps)
        return _asking_nobody(written)


def _only_reads(step: AnyStep) -> bool:
    reads_only = isinstance(step, ActionStep) and step.effect == "read"
    return reads_only or isinstance(step, CheckStep | DecisionStep | ParallelStep | LoopStep)


def _conditions(step: AnyStep) -> Iterator[str]:
    if step.when is not None:
        yield step.when
    if isinstance(step, CheckStep):
        yield step.expect
    if isinstance(step, DecisionStep):
        yield from (branch.when for branch in step.branches)
    yield from step.captures.values()


def _ids_inside(step: AnyStep) -> Iterator[str]:
    if isinstance(step, ParallelStep | LoopStep):
        for body in step.bodies.values():
            for inner in body:
                yield inner.id
                yield from _ids_inside(inner)


def _simulated(step: AnyStep) -> dict[str, Any]:
    texts = texts_of(step)
    arguments = texts.pop("with", {})
    tried: dict[str, Any] = {"type": step.type, "effect": step.effect_name}
    if isinstance(step, ActingStep):
        named = arguments if isinstance(step, ActionStep) else texts
        tried |= {"action": step.action_name, "with": named}
        texts = texts if isinstance(step, ActionStep) else {}
    return {
        **_common(step),
        "description": f"Simulated: {step.action_name or step.type}",
        "type": "action",
        "action": SIMULATE,
        "effect": "read",
        "risk": "low",
        "with": {**tried, **({"texts": texts} if texts else {})},
    }


def _left_out(step: AnyStep, why: str) -> dict[str, Any]:
    """A step that is never carried out and says why; behind a decision nobody knows the way."""
    left = {**_common(step), "when": NEVER, "type": "check", "expect": NEVER, "description": f"Not simulated: {why}"}
    return {**left, "on_success": END} if isinstance(step, DecisionStep) else left


def _common(step: AnyStep) -> dict[str, Any]:
    written: Mapping[str, Any] = step.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return _asking_nobody({key: written[key] for key in _COMMON if key in written})


def _asking_nobody(written: dict[str, Any]) -> dict[str, Any]:
    return {**written, "on_failure": "stop"} if written.get("on_failure") == "ask" else written
