r"""Templates: `${{ … }}` in the values of a runbook.

A template is parsed once and evaluated once. What an expression yields is data: `${{` inside an input is text and is
never evaluated again. A value that is exactly one expression keeps its type; an expression inside text must yield a
string, an integer or a boolean (written `true` or `false`). `$${{` stands for the text `${{`.

Evaluation goes through a function that is passed in. Of a runbook it is `declared.evaluator_of`: CEL. The one built in
here, `evaluate_reference`, takes references: `inputs.shard`, `alert.labels["availability-zone"]`,
`steps.probe.outputs.hosts[0]`. They mean the same in CEL, which hands them to it.
A path that is not there is an error that names it; it never becomes an empty string.

    ExpressionError
    ├── TemplateSyntaxError   the text cannot be parsed
    ├── MissingValue          a part of the path is not there
    └── NotText               a list, an object, null or a float inside text
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from libs.runbook.problems import RunbookError

Evaluate = Callable[[str, Mapping[str, Any]], Any]

OPEN: Final = "${{"
ESCAPED: Final = "$${{"
MAX_SOURCE: Final = 4096
_VALUES: Final = frozenset({"true", "false", "null"})
_ROOT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_STEP: Final = re.compile(
    r"""\.(?P<field>[A-Za-z_][A-Za-z0-9_]*)"""
    r"""|\[\s*(?:(?P<index>0|[1-9][0-9]{0,8})|"(?P<double>(?:[^"\\]|\\["'\\])*)"|'(?P<single>(?:[^'\\]|\\["'\\])*)')\s*\]""",
    re.ASCII,
)
_UNESCAPE: Final = re.compile(r"""\\(["'\\])""")


class ExpressionError(RunbookError):
    """A template that cannot be parsed, or that has no value here: the step halts."""


class TemplateSyntaxError(ExpressionError):
    """The text cannot be parsed."""


class MissingValue(ExpressionError):
    """A part of a reference is not there."""

    def __init__(self, reference: str, missing_at: str) -> None:
        super().__init__(
            f"{reference}: nothing at {missing_at}" if missing_at != reference else f"{reference} has no value",
        )
        self.reference = reference
        self.missing_at = missing_at


class NotText(ExpressionError):
    """An expression inside text yields something that has no one way to be written."""


@dataclass(frozen=True, slots=True)
class Expression:
    """The source between `${{` and `}}`, without the white space around it."""

    source: str


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed string: literal text and expressions, in order."""

    parts: tuple[str | Expression, ...]

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """Its expressions, in order."""
        return tuple(part for part in self.parts if isinstance(part, Expression))


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference: `steps.probe.outputs.hosts[0]` is root `steps` and path (probe, outputs, hosts, 0)."""

    root: str
    path: tuple[str | int, ...]


@lru_cache(maxsize=4096)
def parse(text: str) -> Template:
    """The template in `text`.

    Raises:
        TemplateSyntaxError: an expression is empty, too long or not closed.
    """
    parts: list[str | Expression] = []
    literal, position = "", 0
    while (start := text.find(OPEN, position)) >= 0:
        if start > position and text[start - 1] == "$":
            literal += text[position : start - 1] + OPEN
            position = start + len(OPEN)
            continue
        literal += text[position:start]
        end = _closing(text, start + len(OPEN))
        parts += [literal, Expression(_source(text[start + len(OPEN) : end]))]
        literal, position = "", end + 2
    parts.append(literal + text[position:])
    return Template(tuple(part for part in parts if part != ""))


def render(value: Any, scope: Mapping[str, Any], evaluate: Evaluate | None = None) -> Any:
    """`value` with every template in it replaced, through lists and objects; keys are never templates.

    Raises:
        ExpressionError: a template cannot be parsed, a path is missing, or text would have to hold a non-text.
    """
    run = evaluate or evaluate_reference
    if isinstance(value, str):
        return _render_text(parse(value), scope, run)
    if isinstance(value, Mapping):
        return {key: render(item, scope, run) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [render(item, scope, run) for item in value]
    return value


def templates(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Every string inside `value`, with the path to it."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from templates(item, (*path, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from templates(item, (*path, index))


@lru_cache(maxsize=4096)
def parse_reference(source: str) -> Reference:
    """The reference in an expression's source.

    Raises:
        TemplateSyntaxError: it is not a reference.
    """
    root = _ROOT.match(source)
    if root is None:
        raise _not_a_reference(source)
    path: list[str | int] = []
    position = root.end()
    while position < len(source):
        step = _STEP.match(source, position)
        if step is None:
            raise _not_a_reference(source)
        path.append(_path_part(step))
        position = step.end()
    return Reference(root[0], tuple(path))


def is_reference(source: str) -> bool:
    """Whether an expression's source is a reference: a path, and not one of the words that are values themselves."""
    if source in _VALUES:
        return False
    try:
        parse_reference(source)
    except TemplateSyntaxError:
        return False
    return True


def evaluate_reference(source: str, scope: Mapping[str, Any]) -> Any:
    """The value that a reference names in `scope`.

    Raises:
        TemplateSyntaxError: it is not a reference.
        MissingValue: a part of the path is not there; the error names the first such part.
    """
    reference = parse_reference(source)
    seen = reference.root
    if reference.root not in scope:
        raise MissingValue(source, seen)
    value = scope[reference.root]
    for part in reference.path:
        seen = f"{seen}[{part}]" if isinstance(part, int) else f"{seen}.{part}"
        if not _holds(value, part):
            raise MissingValue(source, seen)
        value = value[part]
    return value


def _holds(value: Any, part: str | int) -> bool:
    if isinstance(part, str):
        return isinstance(value, Mapping) and part in value
    return isinstance(value, list | tuple) and part < len(value)


def _render_text(template: Template, scope: Mapping[str, Any], evaluate: Evaluate) -> Any:
    if len(template.parts) == 1 and isinstance(template.parts[0], Expression):
        return evaluate(template.parts[0].source, scope)
    return "".join(
        part if isinstance(part, str) else _as_text(part.source, evaluate(part.source, scope))
        for part in template.parts
    )


def _as_text(source: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    raise NotText(f"{source} is {_kind(value)}; inside text only strings, integers and booleans can stand")


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, float):
        return "a float"
    return "an object" if isinstance(value, Mapping) else "a list"


def _closing(text: str, position: int) -> int:
    """The index of the `}}` that ends an expression: outside quotes, and outside braces of its own."""
    quote, depth = "", 0
    while position < len(text):
        char = text[position]
        if quote:
            if char == "\\":
                position += 1
            elif char == quote:
                quote = ""
        elif char in "\"'":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}" and depth:
            depth -= 1
        elif text.startswith("}}", position):
            return position
        position += 1
    raise TemplateSyntaxError("`${{` is not closed by `}}`; write `$${{` for the text `${{`")


def _source(inner: str) -> str:
    source = inner.strip()
    if not source:
        raise TemplateSyntaxError("`${{ }}` holds no expression")
    if len(source) > MAX_SOURCE:
        raise TemplateSyntaxError(f"an expression is longer than {MAX_SOURCE} characters")
    return source


def _path_part(step: re.Match[str]) -> str | int:
    if step["index"] is not None:
        return int(step["index"])
    if step["field"] is not None:
        return step["field"]
    quoted = step["double"] if step["double"] is not None else step["single"]
    return _UNESCAPE.sub(r"\1", quoted)


def _not_a_reference(source: str) -> TemplateSyntaxError:
    shown = source if len(source) <= 80 else f"{source[:77]}..."
    return TemplateSyntaxError(
        f'`{shown}` is not a reference; write a dotted path, such as inputs.shard or alert.labels["zone"]'
    )
