"""What lint asks of steps: where they lead, what is carried out, and what each type needs."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from libs.runbook import moments, terms
from libs.runbook.elements import VALUE_TYPES
from libs.runbook.expressions import OPEN
from libs.runbook.graph import END, Place, walk
from libs.runbook.spec import MAX_STEPS, RESERVED_IDS, Runbook
from libs.runbook.steps import (
    FAIL,
    STEP_TYPES,
    ActionStep,
    AnyStep,
    ApprovalStep,
    CheckStep,
    CompositeStep,
    DecisionStep,
    LoopStep,
    ManualStep,
    WaitStep,
)

Path = tuple[str | int, ...]
Fault = tuple[str, str]
_NO_APPROVALS: Final = "high risk needs an approval, which this version cannot carry out"
KEYWORDS: Final = ("stop", "continue", "ask")
MAX_DEPTH: Final = 3
MAX_WIDTH: Final = 500


def carried_out(spec: Runbook, types: Collection[str]) -> Iterator[tuple[Path, str]]:
    """Nothing is in a runbook that would be skipped when it runs; `types` are the step types that are carried out."""
    approvals = "approval" in types
    if spec.risk == "high" and not approvals:
        yield ("risk",), _NO_APPROVALS
    for place in walk(spec.steps):
        step = place.step
        if step.type not in types:
            known = ", ".join(kind for kind in STEP_TYPES if kind in types)
            message = f"'{step.type}' is not carried out by this version; it carries out: {known}"
            yield (*place.position, "type"), message
        elif not approvals and step.own_risk == "high":
            yield (*place.position, "risk"), _NO_APPROVALS
        elif not approvals and step.own_approval is not None:
            key = "irreversible" if _irreversible(step) else "approval"
            yield (*place.position, key), "forces an approval, which this version cannot carry out"


def ids(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Ids are unique in the whole runbook, and no words of the language."""
    seen: set[str] = {step.id for step in spec.sequence[: len(spec.sequence) - len(spec.steps)]}
    taken = set(seen)
    for place in walk(spec.steps):
        step = place.step
        if step.id in taken:
            yield (*place.position, "id"), f"'{step.id}' is the step that mode: {spec.mode} begins with"
        elif step.id in seen:
            yield (*place.position, "id"), f"'{step.id}' is used twice; ids are unique"
        if step.id in RESERVED_IDS or (isinstance(step, DecisionStep) and step.id == FAIL):
            yield (*place.position, "id"), f"'{step.id}' is a word of the language; choose another id"
        seen.add(step.id)
    if "continue" in seen and any(place.step.on_failure == "continue" for place in walk(spec.steps)):
        yield ("steps",), "'continue' is the id of a step and stands in an on_failure; choose another id"


def count(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """How many steps there are, how deep, and how many may be under way at the same time."""
    places = list(walk(spec.steps))
    if len(places) > MAX_STEPS:
        yield ("steps",), f"holds {len(places)} steps with those inside others; a runbook has at most {MAX_STEPS}"
    deep = [place for place in places if len(_around(spec, place)) > MAX_DEPTH]
    yield from ((place.position, f"is inside {MAX_DEPTH + 1} steps; at most {MAX_DEPTH} are") for place in deep)
    if not deep and (wide := _width(spec.steps)) > MAX_WIDTH:
        yield ("steps",), f"up to {wide} sequences go on at the same time; lower a concurrency: {MAX_WIDTH} is the most"


def order(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Steps lead forward only, so that every execution ends, and each can be reached."""
    places = list(walk(spec.steps))
    if len({place.step.id for place in places}) != len(places):
        return
    astray = [found for place in places for found in _astray(place)]
    yield from astray
    reached = spec.reachable()
    for place in places:
        if place.step.id not in reached and not astray:
            yield place.position, f"'{place.step.id}' is never reached; remove it, or change an on_success before it"


def steps(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """Every step's own rules."""
    for place in walk(spec.steps):
        for key, message in _faults(spec, place.step):
            yield (*place.position, *key.split(".")), message


def verification(spec: Runbook) -> Iterator[tuple[Path, str]]:
    """The steps that verify are checks of the outermost sequence, behind everything that changes something."""
    places = {place.step.id: place for place in walk(spec.steps)}
    changing = [i for i, step in enumerate(spec.steps) if any(p.step.mutating for p in walk([step]))]
    for index, name in enumerate(spec.verifying):
        place = places.get(name)
        if place is None or place.within or not isinstance(place.step, CheckStep):
            yield ("verify", "checks", index), f"'{name}' is not the id of a step of type check in the outermost list"
        elif place.index < max(changing, default=-1):
            yield ("verify", "checks", index), f"'{name}' comes before a step that changes something; put it behind"
        elif place.step.when is not None or place.step.on_failure != "stop":
            yield ("verify", "checks", index), f"'{name}' verifies, so it has neither when nor on_failure"


def _astray(place: Place) -> Iterator[tuple[Path, str]]:
    step, later = place.step, [step.id for step in place.sequence[place.index + 1 :]]
    if isinstance(step, DecisionStep):
        yield from _astray_decision(place, step, later)
    elif step.on_success is not None and step.on_success not in {END, *later}:
        yield (*place.position, "on_success"), f"'{step.on_success}' is not the id of a later step, nor end"
    if step.on_failure not in {*KEYWORDS, *later}:
        known = ", ".join(KEYWORDS)
        message = f"'{step.on_failure}' is neither {known} nor the id of a later step"
        yield (*place.position, "on_failure"), message


def _astray_decision(place: Place, step: DecisionStep, later: list[str]) -> Iterator[tuple[Path, str]]:
    if step.on_success is not None:
        yield (*place.position, "on_success"), "a decision says where it leads in branches and otherwise; remove it"
    for index, branch in enumerate(step.branches):
        if branch.goto not in {END, *later}:
            yield (
                (*place.position, "branches", index, "goto"),
                f"'{branch.goto}' is not the id of a later step, nor end",
            )
    if step.otherwise not in {END, FAIL, *later}:
        message = f"'{step.otherwise}' is neither end nor fail nor the id of a later step"
        yield (*place.position, "otherwise"), message


def _around(spec: Runbook, place: Place) -> list[str]:
    """The ids of the steps around a place."""
    names, within = [], place.within
    by_id = {found.step.id: found for found in walk(spec.steps)}
    while within and within not in names:
        names.append(within)
        within = by_id[within].within
    return names


def _width(sequence: Sequence[AnyStep]) -> int:
    """How many sequences may be under way inside this one at the same time; one step of it is at a time."""
    return max((_inside(step) for step in sequence), default=0)


def _inside(step: AnyStep) -> int:
    if isinstance(step, LoopStep):
        return step.concurrency * (1 + _width(step.steps))
    if isinstance(step, CompositeStep):
        return sum(1 + _width(body) for body in step.bodies.values())
    return 0


def _faults(spec: Runbook, step: AnyStep) -> Iterator[Fault]:
    for key, condition in conditions(step):
        if OPEN in condition:
            yield key, "is a condition, not a template; write it without ${{ }}"
    if isinstance(step, ActionStep):
        yield from _action(spec, step)
    elif isinstance(step, CheckStep):
        yield from _check(step)
    elif isinstance(step, ManualStep | ApprovalStep):
        yield from _form(step)
    elif isinstance(step, WaitStep):
        yield from _wait(step)
    if isinstance(step, ApprovalStep):
        yield from terms.faults(step)
    elif step.own_approval is not None:
        yield from ((f"approval.{key}", message) for key, message in terms.faults(step.own_approval))
    if isinstance(step, LoopStep) and isinstance(step.over, str) and OPEN not in step.over:
        yield "over", "must be a list, or a template that yields one"


def _wait(step: WaitStep) -> Iterator[Fault]:
    if step.until is not None and OPEN not in step.until:
        try:
            moments.moment(step.until)
        except ValueError as error:
            yield "until", str(error)


def conditions(step: AnyStep) -> Iterator[tuple[str, str]]:
    """The step's conditions, with the places where they stand."""
    if step.when is not None:
        yield "when", step.when
    if isinstance(step, CheckStep):
        yield "expect", step.expect
    if isinstance(step, ActionStep) and step.probe is not None:
        yield "probe.took_effect", step.probe.took_effect
    if isinstance(step, DecisionStep):
        yield from ((f"branches.{index}.when", branch.when) for index, branch in enumerate(step.branches))


def _irreversible(step: AnyStep) -> bool:
    return isinstance(step, ActionStep) and step.irreversible


def _action(spec: Runbook, step: ActionStep) -> Iterator[Fault]:
    if step.rollback is not None and not step.mutating:
        yield "rollback", "does not fit effect: read, which changes nothing"
    if step.rollback is not None and step.irreversible:
        yield "rollback", "does not fit irreversible: true; remove one of them"
    if spec.on_failed == "rollback" and step.mutating and step.rollback is None and not step.irreversible:
        yield "rollback", "is missing: on_failed: rollback takes every change back; add it, or irreversible: true"
    if step.verify is not None and step.verify.checks is not None:
        yield "verify.checks", "belong to the whole runbook; of a single step only the alert's end is seen"
    if step.probe is not None and not step.mutating:
        yield "probe", "does not fit effect: read, which changes nothing"
    if step.irreversible and not step.mutating:
        yield "irreversible", "does not fit effect: read, which changes nothing"
    if step.mutating and spec.verify is None and step.verify is None:
        yield "effect", f"'{step.effect}' changes something, so the runbook needs verify: say how success is seen"
    if step.mutating and step.resource is None:
        yield "resource", f"is missing: '{step.effect}' changes something, so name the lock that keeps others away"
    if step.effect == "unsafe" and step.retry.attempts > 1:
        yield "retry", "an unsafe step is never tried again; remove it, or use an effect that may repeat"


def _check(step: CheckStep) -> Iterator[Fault]:
    if step.action is not None:
        return
    for key, given in (("with", step.arguments), ("capture", step.captures)):
        if given:
            yield key, "belongs to an action, and this check names none; remove it, or name the action"
    if step.retry.attempts > 1:
        yield "retry", "a check without an action finds the same again; remove it, or name the action"


def _form(step: ManualStep | ApprovalStep) -> Iterator[Fault]:
    if isinstance(step, ApprovalStep) and "approval_id" in step.form:
        yield "form.approval_id", "is what the step answers by itself; choose another name"
    for name, declared in step.form.items():
        expected = VALUE_TYPES[declared.type]
        if any(type(value) is not expected for value in declared.one_of or ()):
            yield f"form.{name}.one_of", f"must be of type {declared.type}"
