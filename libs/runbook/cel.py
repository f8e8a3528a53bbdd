"""Expressions are CEL (the Common Expression Language), behind a wrapper that is stricter than the language.

    source ──compile_expression──► Compiled ──bind(scope)──► data ──run──► plain value

Compiled once, with a concrete type for every variable that has one, and kept. Before each evaluation every path that
the expression reads must be there, and every value in it must be of the exact type; what comes back is looked at
again. An error is an exception, never a value: a condition is True, or False, or raises.

Two places where this is stricter than CEL. A path that is not there is an error even where `||` would swallow it:
ask with `has(alert.labels.zone)` or `"availability-zone" in alert.labels`. And no other error is swallowed: see
`checked.py`.

An expression that could take long or grow large (a macro, `replace`, `matches`, much data) is not evaluated here but
by a function that is passed in, `elsewhere`, which can stop what it runs. There are no functions of our own, and of
the library's extensions only strings and math: with optionals a result can crash the process, and `cel.bind`
multiplies memory.

    ExpressionError
    ├── NotCompiled        (a TemplateSyntaxError) syntax, an unknown name, a type that does not fit; with its place
    ├── NotCondition       a condition that does not yield a boolean
    ├── MissingValue       (expressions.py) a path that the expression reads is not there
    ├── ScopeRefused       (cel_values.py) a value that an expression may not be given
    ├── ResultRefused      (cel_values.py) a value that a runbook does not hold
    ├── EvaluationFailed   the expression has no value: a division by zero, a conversion, an index
    └── MustRunElsewhere   could take long or grow large, and nothing was passed in to run it
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings

from libs.runbook import selection
from libs.runbook.cel_errors import EvaluationFailed, MustRunElsewhere, NotCondition, explained, failed
from libs.runbook.cel_values import ResultRefused, plain, refused_result, shown
from libs.runbook.checked import Checked, Path
from libs.runbook.expressions import MAX_SOURCE, Evaluate, evaluate_reference, is_reference
from libs.runbook.selection import Bound, Selection
from libs.runbook.wire import Unreadable

INLINE_BYTES: Final = 4096  # the slowest inline work is quadratic in it: 130 searches over 4 KiB take under 0.1 s
_TYPES: Final = {
    "string": cel.Type.STRING,
    "integer": cel.Type.INT,
    "boolean": cel.Type.BOOL,
    "texts": cel.Type.Map(cel.Type.STRING, cel.Type.STRING),
}
_OUTPUTS: Final = cel.Type.Map(cel.Type.STRING, cel.Type.DYN)
_STEPS: Final = cel.Type.Map(cel.Type.STRING, cel.Type.Map(cel.Type.STRING, _OUTPUTS))
_YIELDS: Final = frozenset({"BOOL", "INT", "STRING", "DYN", "LIST", "MAP"})
_COMES_BACK: Final = frozenset({"BOOL", "INT", "STRING", "NULL", "LIST", "MAP"})
_RAISED: Final = (RuntimeError, ValueError, TypeError, LookupError, OverflowError)
INLINE_FUNCTIONS: Final = frozenset({
    "_?_:_", "_&&_", "_||_", "!_", "_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_",
    "_+_", "_-_", "_*_", "_/_", "_%_", "-_", "_[_]", "@in",
    "size", "contains", "startsWith", "endsWith", "charAt", "substring", "lowerAscii", "upperAscii", "trim",
    "int", "uint", "double", "string", "bool", "dyn", "type", "math.@max", "math.@min", "math.abs",
})  # fmt: skip

Elsewhere = Callable[["Compiled", Mapping[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Declarations:
    """The variables of a runbook's expressions: its inputs (name, type), and `alert`, `incident` and `steps`.

    So are `outputs`, what the action of the step at hand answered, and `each`: only there are they in the scope.
    """

    inputs: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, inputs: Mapping[str, str]) -> "Declarations":
        """Inputs by name; each type is string, integer or boolean."""
        return cls(tuple(sorted(inputs.items())))


@dataclass(frozen=True, slots=True)
class Compiled:
    """One expression, ready to be evaluated any number of times, by several threads.

    `kind` is the type that it yields (BOOL, INT, STRING, LIST<…>, MAP<…>, or DYN where only data tells). `paths` are
    all that it refers to, sorted; `inline` says that it neither loops nor amplifies.
    """

    source: str
    declarations: Declarations
    kind: str
    paths: tuple[Path, ...]
    inline: bool
    selection: Selection = field(repr=False)
    program: Any = field(repr=False, compare=False)


@lru_cache(maxsize=4096)
def compile_expression(source: str, declarations: Declarations) -> Compiled:
    """The compiled expression.

    Raises:
        NotCompiled: it is over 4 KiB, or nested too deeply, or its syntax, a name or a type is wrong.
        ResultRefused: its type is one that a runbook does not hold, such as a float.
    """
    if len(source) > MAX_SOURCE or len(source.encode(errors="replace")) > MAX_SOURCE:
        raise failed(source, f"is longer than {MAX_SOURCE} bytes")
    if "\x00" in source:
        raise failed(source, "holds a NUL character")
    environment = _environment(declarations)
    try:
        program = environment.compile(source)
        checked = Checked(program.serialize())
        uses = checked.uses()
        kind = program.return_type().name()
        program = environment.deserialize(checked.without_absorption())
    except Unreadable as error:
        raise failed(source, str(error)) from None
    except _RAISED as error:
        raise explained(source, str(error), [name for name, _ in declarations.inputs]) from None
    if uses.messages:
        raise failed(source, f"{min(uses.messages)} is a protobuf message; write a map, such as {{'a': 1}}")
    if kind.partition("<")[0] not in _YIELDS:
        raise refused_result(source, kind)
    selected = selection.of(source, uses, dict(declarations.inputs))
    inline = not uses.macros and uses.functions <= INLINE_FUNCTIONS
    return Compiled(source, declarations, kind, selected.paths, inline, selected, program)


def compile_condition(source: str, declarations: Declarations) -> Compiled:
    """A compiled condition.

    Raises:
        NotCompiled, ResultRefused: as `compile_expression`.
        NotCondition: it does not yield a boolean, or only data would tell.
    """
    compiled = compile_expression(source, declarations)
    if compiled.kind != "BOOL":
        raise NotCondition(source, compiled.kind)
    return compiled


def bind(compiled: Compiled, scope: Mapping[str, Any]) -> Bound:
    """What the expression refers to, copied out of a scope: nothing else reaches the library.

    Raises:
        MissingValue: a path that it reads is not there.
        ScopeRefused: a value has another type than declared, or is one that an expression may not be given.
    """
    return compiled.selection.bind(scope)


def run(compiled: Compiled, data: Mapping[str, Any]) -> Any:
    """The value over data that `bind` made; here and now, however long it takes.

    Raises:
        EvaluationFailed: it has no value.
        ResultRefused: the value is of no type that a runbook holds.
    """
    try:
        value = compiled.program.eval(data=data)
        kind = value.type().name()
        found = value.plain_value() if kind.partition("<")[0] in _COMES_BACK else value.value()
    except _RAISED as error:
        raise EvaluationFailed(compiled.source, str(error)) from None
    if kind == "ERROR":
        raise EvaluationFailed(compiled.source, str(found))
    if kind.partition("<")[0] not in _COMES_BACK:
        raise refused_result(compiled.source, kind)
    return plain(compiled.source, found)


def evaluate(compiled: Compiled, scope: Mapping[str, Any], elsewhere: Elsewhere | None = None) -> Any:
    """The value in a scope: str, int, bool, None, or lists and dicts of them.

    Raises:
        MissingValue, ScopeRefused: as `bind`; EvaluationFailed, ResultRefused: as `run`.
        MustRunElsewhere: it could take long or grow large, and `elsewhere` is None.
    """
    bound = bind(compiled, scope)
    if compiled.inline and bound.size <= INLINE_BYTES:
        return run(compiled, bound.data)
    if elsewhere is None:
        raise MustRunElsewhere(compiled.source)
    return elsewhere(compiled, bound.data)


def condition(compiled: Compiled, scope: Mapping[str, Any], elsewhere: Elsewhere | None = None) -> bool:
    """Whether a condition holds; what is neither True nor False raises, and is never read as either.

    Raises:
        ExpressionError: as `evaluate`; NotCondition: it was not compiled as a condition.
    """
    if compiled.kind != "BOOL":
        raise NotCondition(compiled.source, compiled.kind)
    found = evaluate(compiled, scope, elsewhere)
    if found is True:
        return True
    if found is False:
        return False
    raise ResultRefused(f"`{shown(compiled.source)}` is neither true nor false")


def evaluator(declarations: Declarations, elsewhere: Elsewhere | None = None) -> Evaluate:
    """The function that `render` takes: references as they always were, everything else as CEL.

    A reference means the same in CEL; it keeps a value of any type, such as a float that is only handed on.
    """

    def evaluate_source(source: str, scope: Mapping[str, Any]) -> Any:
        if is_reference(source):
            return evaluate_reference(source, scope)
        return evaluate(compile_expression(source, declarations), scope, elsewhere)

    return evaluate_source


@lru_cache(maxsize=256)
def _environment(declarations: Declarations) -> cel.Env:
    inputs = {f"inputs.{name}": _TYPES[kind] for name, kind in declarations.inputs}
    facts = {name: _TYPES[kind] for name, kind in selection.FACTS.items()}
    extensions = [ext_strings.ExtStrings(), ext_math.ExtMath()]
    return cel.NewEnv(
        variables={**inputs, **facts, "steps": _STEPS, "outputs": _OUTPUTS, "each": _OUTPUTS}, extensions=extensions
    )
