"""What is wrong with an expression where it stands: it is compiled as it will be, and each path that it reads exists.

The names known at a step are the runbook's inputs, the alert, the incident, and the outputs of the steps before it;
`outputs`, what its own action answered, only where that is judged or named.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from libs.runbook.cel import Declarations, compile_condition, compile_expression
from libs.runbook.cel_values import shown
from libs.runbook.checked import Path
from libs.runbook.declared import declarations
from libs.runbook.expressions import ExpressionError, is_reference, parse, parse_reference
from libs.runbook.graph import Place
from libs.runbook.selection import ROOTS, written
from libs.runbook.spec import Input, Runbook
from libs.runbook.steps import AnyStep, LoopStep, ParallelStep

_FIELDS: Final = {
    "alert": ("name", "severity", "labels", "annotations"),
    "incident": ("id",),
    "each": ("item", "index", "outer"),
}
_HAS: Final = {"alert": "an alert has", "incident": "an incident has", "each": "an iteration has"}
_KINDS: Final = {"BOOL": "boolean", "INT": "integer"}
_EXACTLY: Final = (
    "must be exactly one reference into the alert or the incident, such as ${{ alert.labels.shard }}, "
    "or one expression over them"
)


@dataclass(frozen=True, slots=True)
class Names:
    """What an expression may name: the declared inputs, the steps before it; `later` tells late from unknown.

    `in_loop`: also the item of the loop around it, and its index.
    """

    declared: Declarations
    earlier: frozenset[str] = frozenset()
    later: frozenset[str] = frozenset()
    own_outputs: bool = False
    in_loop: bool = False

    @classmethod
    def at(cls, spec: Runbook, place: Place, *, own_outputs: bool = False) -> "Names":
        """The names at a step; with its own outputs once its action has answered."""
        earlier: set[str] = set()
        in_loop = False
        here: Place | None = place
        while here is not None:
            earlier |= {step_id for step in here.sequence[: here.index] for step_id in _outlasting(step)}
            here = spec.graph.places.get(here.within) if here.within else None
            in_loop = in_loop or (here is not None and isinstance(here.step, LoopStep))
        every = frozenset(spec.graph.places)
        return cls(declarations(spec), frozenset(earlier), every - earlier, own_outputs, in_loop)


def _outlasting(step: AnyStep) -> Iterator[str]:
    """The steps whose outputs are known once this one has ended: those of branches, but not those of iterations."""
    yield step.id
    if isinstance(step, ParallelStep):
        for body in step.bodies.values():
            for inner in body:
                yield from _outlasting(inner)


def template_faults(text: str, names: Names) -> Iterator[str]:
    """What is wrong with the templates in a text."""
    try:
        for expression in parse(text).expressions:
            yield from _expression_faults(expression.source, names)
    except ExpressionError as error:
        yield str(error)


def expression_faults(source: str, names: Names) -> Iterator[str]:
    """What is wrong with a bare expression, of whatever type it is."""
    try:
        yield from _expression_faults(source, names)
    except ExpressionError as error:
        yield str(error)


def condition_faults(source: str, names: Names) -> Iterator[str]:
    """What is wrong with a condition (a bare expression, without `${{ }}`)."""
    try:
        compiled = compile_condition(source, names.declared)
    except ExpressionError as error:
        yield str(error)
        return
    yield from _path_faults(source, compiled.paths, names)
    if not compiled.paths:
        yield f"`{shown(source)}` is always the same: it reads no input, alert, incident or step"


def source_faults(declared: Input) -> Iterator[str]:
    """What is wrong with the `from` of an input."""
    names = Names(Declarations())
    try:
        template = parse(declared.source or "")
        if len(template.parts) != 1 or len(template.expressions) != 1:
            yield _EXACTLY
            return
        source = template.expressions[0].source
        if _roots(source, names) <= {"alert", "incident"}:
            yield from _expression_faults(source, names)
            yield from _kind_faults(source, declared, names)
        else:
            yield _EXACTLY
    except ExpressionError as error:
        yield str(error)


def _roots(source: str, names: Names) -> set[str]:
    if is_reference(source):
        return {parse_reference(source).root}
    return {str(path[0]) for path in compile_expression(source, names.declared).paths}


def _kind_faults(source: str, declared: Input, names: Names) -> Iterator[str]:
    if is_reference(source):
        return
    kind = compile_expression(source, names.declared).kind
    if kind not in {"STRING", "DYN"} and _KINDS.get(kind) != declared.type:
        yield f"`{shown(source)}` yields {kind}, but the input is of type {declared.type}"


def _expression_faults(source: str, names: Names) -> Iterator[str]:
    """References are looked at as such: they name places that CEL would not, and it cannot read every one."""
    if is_reference(source):
        reference = parse_reference(source)
        yield from _path_faults(source, [(reference.root, *reference.path)], names)
        return
    paths = compile_expression(source, names.declared).paths
    yield from _path_faults(source, paths, names)
    if not paths:
        yield f"`{shown(source)}` is not a reference, and computed from none: write its value"


def _path_faults(source: str, paths: Sequence[Path], names: Names) -> Iterator[str]:
    inputs = [name for name, _ in names.declared.inputs]
    for path in paths:
        fault = _path_fault(path, inputs, own_outputs=names.own_outputs, in_loop=names.in_loop) or _step_fault(
            path, names, asked=not is_reference(source)
        )
        if fault:
            about = "" if written(path) == source else f"{written(path)}: "
            yield f"`{shown(source)}`: {about}{fault}"


def _path_fault(path: Path, inputs: Sequence[str], *, own_outputs: bool, in_loop: bool) -> str:
    root, head = path[0], path[1] if len(path) > 1 else None
    if root not in ROOTS:
        return f"unknown name '{root}'; known are {', '.join(ROOTS)}"
    if root == "outputs":
        return "" if own_outputs else "names what this step's own action answered: nothing has answered yet"
    if root == "each" and not in_loop:
        return "is known inside a loop only"
    if head is None:
        return f"name a part of {root}"
    if root == "inputs":
        declared = f"declared are {', '.join(inputs)}" if inputs else "declare it under inputs"
        return "" if head in inputs else f"there is no input '{head}'; {declared}"
    fields = _FIELDS.get(str(root))
    return "" if fields is None or head in fields else f"{_HAS[str(root)]} {', '.join(fields)}"


def _step_fault(path: Path, names: Names, *, asked: bool) -> str:
    """A path of two parts can only be asked for, as in `has(steps.probe)`: the compiler has seen to that."""
    sound = path[2:3] == ("outputs",) or (asked and len(path) == 2)
    if path[0] != "steps" or (sound and path[1] in names.earlier):
        return ""
    late = f"; '{path[1]}' does not come before" if path[1] in names.later else ""
    return f"must be steps.<id of an earlier step>.outputs{late}"
