"""What a plan would do, step by step, as far as that can be said before anything runs.

Each template of a step is either filled in now, or depends on what earlier steps answer (and names them), or cannot be
filled in at all (and says why). Nothing is assumed: a text that is not filled in is shown as it was written.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from libs.runbook import durations
from libs.runbook.cel import Declarations, compile_expression
from libs.runbook.checked import Path
from libs.runbook.declared import declarations
from libs.runbook.elements import Approval
from libs.runbook.expressions import Evaluate, ExpressionError, is_reference, parse, parse_reference, render, templates
from libs.runbook.planning import Node, Plan, PlanFacts
from libs.runbook.rendering import RenderRefused, render_action
from libs.runbook.spec import Runbook
from libs.runbook.steps import AnyStep, ApprovalStep, LoopStep

ANY_STEP: Final = "*"
"""Stands for all steps before: an expression that does not name the one it reads."""
_TEMPLATES: Final = ("channel", "message", "for", "seconds", "until", "instructions", "prompt", "over")
EACH: Final = "each"


@dataclass(frozen=True, slots=True)
class Later:
    """A template that is filled in only after other steps; `after` are their paths."""

    at: str
    template: str
    after: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Faulty:
    """A template that has no value, whatever the steps answer: the step would fail."""

    at: str
    template: str
    message: str


@dataclass(frozen=True, slots=True)
class AskedOf:
    """The approval that a step needs; `prompt` is as written where it cannot be filled in yet."""

    of: str
    prompt: str
    risk: str
    expires_seconds: float
    approvers: tuple[str, ...]
    terms: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepOutlook:
    """One step. `values` are its templates by the place where they stand, filled in where `later` does not list them.

    `applies` is whether its condition holds, None where that is known only later, or never. `action_hash` is there
    once nothing depends on anything: it is what an approval of the action would be bound to.
    """

    node: Node
    name: str | None
    risk: str
    mutating: bool
    requires_firing: bool
    when: str | None
    applies: bool | None
    values: Mapping[str, Any]
    resource: str | None
    later: tuple[Later, ...] = ()
    faults: tuple[Faulty, ...] = ()
    approval: AskedOf | None = None
    action_hash: str | None = None

    @property
    def after(self) -> tuple[str, ...]:
        """The steps whose answers it depends on."""
        return tuple(sorted({path for item in self.later for path in item.after}))


def outlook(spec: Runbook, plan: Plan, facts: PlanFacts, *, evaluate: Evaluate) -> tuple[StepOutlook, ...]:
    """Every step that can be reached, in the order of the plan's graph.

    The alert must fire for steps that say so, and for the first change.
    """
    found: list[StepOutlook] = []
    changes = False
    scope = {"inputs": dict(plan.inputs), **facts.to_scope(), "steps": {}}
    for node in plan.graph:
        step = spec.step(node.path)
        needs = step.requires_firing or (step.mutating and not changes)
        found.append(_Looking(spec, node, step, scope, evaluate).seen(requires_firing=needs))
        changes = changes or step.mutating
    return tuple(found)


def reads(source: str, declared: Declarations) -> frozenset[str]:
    """The steps whose outputs an expression reads or asks for; `ANY_STEP` where it does not say which.

    Raises:
        ExpressionError: it cannot be parsed.
    """
    return frozenset(_step(path) for path in _paths(source, declared) if path[0] == "steps")


def template_reads(value: Any, declared: Declarations) -> frozenset[str]:
    """The steps whose outputs the templates in a value read.

    Raises:
        ExpressionError: one cannot be parsed.
    """
    sources = [item.source for _, text in templates(value) for item in parse(text).expressions]
    return frozenset(step for source in sources for step in reads(source, declared))


def texts_of(step: AnyStep) -> dict[str, Any]:
    """What a step holds of templates, by the place where they stand."""
    written = step.model_dump(mode="json", by_alias=True, exclude_unset=True)
    found: dict[str, Any] = {"with": written["with"]} if written.get("with") else {}
    found |= {key: written[key] for key in ("resource", *_TEMPLATES) if key in written}
    tags = ((written.get("target") or {}).get("tags") or {}).get("url")
    if tags is not None:
        found["target.tags.url"] = tags
    if isinstance(written.get("approval"), dict) and written["approval"].get("prompt"):
        found["approval.prompt"] = written["approval"]["prompt"]
    return found


@dataclass(slots=True)
class _Looking:
    """One step as it is looked at."""

    spec: Runbook
    node: Node
    step: AnyStep
    scope: Mapping[str, Any]
    evaluate: Evaluate
    later: list[Later] = field(default_factory=list)
    faults: list[Faulty] = field(default_factory=list)

    def seen(self, *, requires_firing: bool) -> StepOutlook:
        values = {at: self._filled(at, text) for at, text in texts_of(self.step).items()}
        applies = self._applies()
        resource = values.pop("resource", None)
        approval, action_hash = self._approval(values), self._hash()
        return StepOutlook(
            node=self.node,
            name=self.step.name,
            risk=self.spec.risk_of(self.node.path),
            mutating=self.step.mutating,
            requires_firing=requires_firing,
            when=self.step.when,
            applies=applies,
            values=values,
            resource=str(resource) if resource is not None else None,
            later=tuple(self.later),
            faults=tuple(self.faults),
            approval=approval,
            action_hash=action_hash,
        )

    def _filled(self, at: str, value: Any) -> Any:
        """The value with whatever can be filled in; each template that cannot stays as it is written, and is listed."""
        if isinstance(value, str):
            return self._rendered(at, value)
        if isinstance(value, Mapping):
            return {key: self._filled(f"{at}.{key}", item) for key, item in value.items()}
        if isinstance(value, Sequence):
            return [self._filled(f"{at}[{index}]", item) for index, item in enumerate(value)]
        return value

    def _rendered(self, at: str, text: str) -> Any:
        try:
            after = self._after([item.source for item in parse(text).expressions])
            if after:
                self.later.append(Later(at, text, after))
                return text
            return render(text, self.scope, self.evaluate)
        except ExpressionError as error:
            self.faults.append(Faulty(at, text, str(error)))
            return text

    def _applies(self) -> bool | None:
        when = self.step.when
        if when is None:
            return True
        try:
            after = self._after([when])
            if after:
                self.later.append(Later("when", when, after))
                return None
            value = self.evaluate(when, self.scope)
        except ExpressionError as error:
            self.faults.append(Faulty("when", when, str(error)))
            return None
        if value is True or value is False:
            return value
        self.faults.append(Faulty("when", when, "is neither true nor false"))
        return None

    def _after(self, sources: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted({name for source in sources for name in self._awaited(source)}))

    def _awaited(self, source: str) -> Iterator[str]:
        """The steps that an expression waits for; an item is known with each iteration of the loop around the step."""
        for path in _paths(source, declarations(self.spec)):
            if path[0] == "steps":
                yield _step(path)
            elif path[0] == EACH:
                yield _loop_around(self.spec, self.node.path)

    def _approval(self, values: Mapping[str, Any]) -> AskedOf | None:
        if not self.node.approval:
            return None
        of_plan = isinstance(self.step, ApprovalStep)
        own = self.step if isinstance(self.step, ApprovalStep) else self.step.own_approval or Approval()
        prompt = values.get("prompt") if of_plan else values.get("approval.prompt")
        return AskedOf(
            of="plan" if of_plan else "action",
            prompt=str(prompt or f"Carry out {self.step.name or self.step.id}?"),
            risk=self.spec.risk_of(self.node.path),
            expires_seconds=durations.seconds(own.expires),
            approvers=own.approvers,
            terms=own.conditions,
        )

    def _hash(self) -> str | None:
        if self.later or self.faults or not (self.step.action_name or self.node.approval):
            return None
        try:
            return render_action(self.spec, self.node.path, self.scope, evaluate=self.evaluate).action_hash
        except RenderRefused as error:
            if not isinstance(self.step, ApprovalStep):
                self.faults.append(Faulty("action", self.step.action_name, str(error)))
            return None


def _paths(source: str, declared: Declarations) -> Sequence[Path]:
    if is_reference(source):
        reference = parse_reference(source)
        return [(reference.root, *reference.path)]
    return compile_expression(source, declared).paths


def _loop_around(spec: Runbook, path: str) -> str:
    """The id of the innermost loop that a step stands in."""
    within = spec.graph.place(path).within
    while within and not isinstance(spec.step(within), LoopStep):
        within = spec.graph.place(within).within
    return within


def _step(path: Path) -> str:
    return str(path[1]) if len(path) > 1 else ANY_STEP
