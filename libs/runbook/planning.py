"""Spec + inputs + facts → plan: resolved inputs, the step graph, the locks known so far, one hash over it.

An input is the caller's value, else what `from` names, else the default. The caller's values have the declared type
exactly. Alerts carry text only, so a value `from` an alert is read as the declared type: an integer is decimal digits
with an optional minus, a boolean is `true` or `false`. A label that is missing falls back to the default; a value
that is there and wrong never does.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from libs.runbook import hashing
from libs.runbook.canonical import OutsideProfile, canonical
from libs.runbook.declared import evaluator_of
from libs.runbook.elements import VALUE_TYPES
from libs.runbook.expressions import Evaluate, ExpressionError, MissingValue, render
from libs.runbook.graph import walk
from libs.runbook.limit_keys import rendered_keys
from libs.runbook.problems import PlanRefused, Problem
from libs.runbook.spec import Input, Runbook
from libs.runbook.steps import ActionStep, AnyStep, ApprovalStep, DecisionStep
from libs.runbook.triggers import AlertFacts

MAX_INPUTS_BYTES: Final = 64 * 1024
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})", re.ASCII)
_ARTICLES: Final = {"string": "a string", "integer": "an integer", "boolean": "true or false"}

InputValue = str | int | bool


@dataclass(frozen=True, slots=True)
class PlanFacts:
    """What is known of the occasion: nothing, if a person starts the runbook without an incident."""

    alert: AlertFacts | None = None
    incident_id: str = ""

    def to_scope(self) -> dict[str, Any]:
        """The facts as templates see them; what is not known is absent."""
        scope: dict[str, Any] = {}
        if self.alert is not None:
            scope["alert"] = self.alert.to_json()
        if self.incident_id:
            scope["incident"] = {"id": self.incident_id}
        return scope


@dataclass(frozen=True, slots=True)
class Node:
    """One step of the graph. `next` follows its success, or its being left out; `on_failure` its failure.

    `approval`: it is not carried out before a person has granted it. `leads` is where a decision may go.
    """

    path: str
    action: str
    effect: str
    next: str | None
    type: str = "action"
    on_failure: str = "stop"
    approval: bool = False
    conditional: bool = False
    leads: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The node as JSON-ready data; part of what the plan's hash is over.

        What is as in the first version of the language is left out, so that plans from then keep their hash.
        """
        data = {"path": self.path, "action": self.action, "effect": self.effect, "next": self.next}
        news = {"type": "action", "on_failure": "stop", "approval": False, "conditional": False}
        changed = {key: getattr(self, key) for key, old in news.items() if getattr(self, key) != old}
        return data | changed | ({"leads": list(self.leads)} if self.leads else {})


@dataclass(frozen=True, slots=True)
class Plan:
    """What an execution will do. `resources` are the lock keys that do not depend on outputs of steps.

    `keys` are those of its limits, by the name of the limit.
    """

    spec_hash: str
    plan_hash: str
    inputs: Mapping[str, InputValue]
    graph: tuple[Node, ...]
    resources: tuple[str, ...]
    keys: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The plan as JSON-ready data."""
        return {
            "spec_hash": self.spec_hash,
            "plan_hash": self.plan_hash,
            "inputs": dict(self.inputs),
            "graph": [node.to_json() for node in self.graph],
            "resources": list(self.resources),
            **({"keys": dict(self.keys)} if self.keys else {}),
        }


_GRAPHS_KEPT: Final = 512
_graphs: dict[str, tuple[tuple[Node, ...], Sequence[Mapping[str, Any]]]] = {}
"""By the hash of the spec."""


def make_plan(spec: Runbook, given: Mapping[str, Any], facts: PlanFacts, *, evaluate: Evaluate | None = None) -> Plan:
    """The plan of one execution; equal arguments give an equal plan and hash.

    Raises:
        PlanRefused: lists every input that is unknown, missing or of another type, and whatever needs an alert that
            is not there.
    """
    evaluate = evaluate or evaluator_of(spec)
    problems = _occasion_faults(spec, facts)
    inputs, faults = resolve_inputs(spec, given, facts, evaluate=evaluate)
    problems += faults
    keys: Mapping[str, str] = {}
    if not problems:
        keys, problems = rendered_keys(spec, {"inputs": inputs, **facts.to_scope()}, evaluate)
    if problems:
        raise PlanRefused(problems)
    graph, told = _graph_of(spec)
    plan_digest = hashing.plan_hash(spec.digest, inputs, told)
    return Plan(spec.digest, plan_digest, inputs, graph, _resources(spec, inputs, facts, evaluate), keys)


def _graph_of(spec: Runbook) -> tuple[tuple[Node, ...], Sequence[Mapping[str, Any]]]:
    """The graph, as nodes and as JSON: it depends on the spec alone, and its executions are many."""
    if spec.digest not in _graphs:
        if len(_graphs) >= _GRAPHS_KEPT:
            _graphs.clear()
        graph = step_graph(spec)
        _graphs[spec.digest] = graph, [node.to_json() for node in graph]
    return _graphs[spec.digest]


def resolve_inputs(
    spec: Runbook, given: Mapping[str, Any], facts: PlanFacts, *, evaluate: Evaluate | None = None
) -> tuple[dict[str, InputValue], list[Problem]]:
    """The value of each declared input that has one, and what is wrong with the others."""
    evaluate = evaluate or evaluator_of(spec)
    undeclared = sorted(set(given) - set(spec.inputs))
    problems = [Problem(f"inputs.{name}", "the runbook declares no such input") for name in undeclared]
    inputs: dict[str, InputValue] = {}
    for name, declared in spec.inputs.items():
        try:
            inputs[name] = _resolved(name, declared, given, facts, evaluate)
        except (_Refused, ExpressionError) as error:
            problems.append(Problem(f"inputs.{name}", str(error)))
    if not problems:
        problems += _size_faults(inputs)
    return inputs, problems


def step_graph(spec: Runbook) -> tuple[Node, ...]:
    """The steps that can be reached, each before those inside it; each names the one that follows its success.

    In the path of a step inside a loop `*` stands for the number of the iteration.
    """
    reached = spec.reachable()
    return tuple(_node(spec, place.step, place.path) for place in walk(spec.sequence) if place.step.id in reached)


def _node(spec: Runbook, step: AnyStep, path: str) -> Node:
    leads = (*(branch.goto for branch in step.branches), step.otherwise) if isinstance(step, DecisionStep) else ()
    return Node(
        path=path,
        action=step.action_name,
        effect=step.effect_name,
        next=None if leads else spec.successor(step.id),
        type=step.type,
        on_failure=step.on_failure,
        approval=spec.needs_approval(step.id) or isinstance(step, ApprovalStep),
        conditional=step.when is not None,
        leads=leads,
    )


class _Refused(Exception):
    """One input has no usable value; the text says what to do."""


def _resolved(
    name: str, declared: Input, given: Mapping[str, Any], facts: PlanFacts, evaluate: Evaluate | None
) -> InputValue:
    if name in given:
        return _allowed(declared, _typed(declared, given[name]))
    missing = "is missing; give it"
    if declared.source is not None:
        try:
            found = render(declared.source, facts.to_scope(), evaluate)
        except MissingValue as error:
            missing = f"is missing: {error}"
        else:
            return _allowed(declared, _read(declared, found))
    if declared.default is None:
        raise _Refused(missing)
    return declared.default


def _typed(declared: Input, value: Any) -> InputValue:
    if type(value) is not VALUE_TYPES[declared.type]:
        raise _Refused(f"must be {_ARTICLES[declared.type]}, not {_described(value)}")
    return _within_profile(value)


def _read(declared: Input, value: Any) -> InputValue:
    """A value from an alert as the declared type."""
    if not isinstance(value, str) or declared.type == "string":
        return _typed(declared, value)
    if declared.type == "integer" and _INTEGER.fullmatch(value):
        return _within_profile(int(value))
    if declared.type == "boolean" and value in {"true", "false"}:
        return value == "true"
    raise _Refused(f"must be {_ARTICLES[declared.type]}; the alert says '{value[:40]}'")


def _within_profile(value: Any) -> InputValue:
    try:
        canonical(value)
    except OutsideProfile as error:
        raise _Refused(error.why) from None
    if isinstance(value, str) and "\x00" in value:
        raise _Refused("holds a NUL character")
    checked: InputValue = value
    return checked


def _allowed(declared: Input, value: InputValue) -> InputValue:
    if declared.one_of is not None and value not in declared.one_of:
        raise _Refused(f"must be one of {', '.join(str(item) for item in declared.one_of)}")
    return value


def _described(value: Any) -> str:
    return {str: "a string", bool: "a boolean", int: "an integer", float: "a float"}.get(type(value), "this")


def _size_faults(inputs: Mapping[str, InputValue]) -> list[Problem]:
    size = len(canonical(inputs))
    if size <= MAX_INPUTS_BYTES:
        return []
    return [Problem("inputs", f"are {size} bytes long; the limit is {MAX_INPUTS_BYTES}")]


def _occasion_faults(spec: Runbook, facts: PlanFacts) -> list[Problem]:
    if facts.alert is not None:
        return []
    problems = []
    if spec.verify is not None and spec.verify.alert is not None:
        problems.append(Problem("verify", "is seen by the alert's end; start the runbook from an incident"))
    problems += [
        Problem(f"steps.{place.step.id}", "requires a firing alert; start the runbook from an incident")
        for place in walk(spec.steps)
        if place.step.requires_firing or (isinstance(place.step, ActionStep) and place.step.verify is not None)
    ]
    return problems


def _resources(
    spec: Runbook, inputs: Mapping[str, InputValue], facts: PlanFacts, evaluate: Evaluate | None
) -> tuple[str, ...]:
    scope = {"inputs": inputs, **facts.to_scope()}
    found: set[str] = set()
    for step in (place.step for place in walk(spec.steps)):
        if not isinstance(step, ActionStep) or step.resource is None:
            continue
        try:
            found.add(str(render(step.resource, scope, evaluate)))
        except ExpressionError:
            continue  # it depends on an output; the claim renders it when the output is there
    return tuple(sorted(found))
