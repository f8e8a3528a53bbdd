"""What a checked expression refers to and calls, and the same expression without absorption.

CEL lets `||` and `&&` swallow an error of one side when the other decides: `m.missing || true` is true. Here nothing
swallows an error. `a || b` becomes `a ? true : b`, and `a && b` becomes `a ? b : false`, also where macros (`all`,
`exists`) use them: read from left to right, as most languages do. What the left side leaves undecided, the right
side decides; an error of a side that is looked at is an error of the whole.
"""

from dataclasses import dataclass, field
from typing import Final

from libs.runbook import wire
from libs.runbook.wire import Field, Message

Path = tuple[str | int, ...]

_SCHEMAS: Final = {
    "any": {2: "checked"},
    "checked": {2: "reference_entry", 4: "expr"},
    "reference_entry": {2: "reference"},
    "reference": {},
    "expr": {3: "constant", 4: "ident", 5: "select", 6: "call", 7: "list", 8: "struct", 9: "comprehension"},
    "constant": {},
    "ident": {},
    "select": {1: "expr"},
    "call": {1: "expr", 3: "expr"},
    "list": {1: "expr"},
    "struct": {2: "entry"},
    "entry": {3: "expr", 4: "expr"},
    "comprehension": {2: "expr", 4: "expr", 5: "expr", 6: "expr", 7: "expr"},
}
_ID, _CONSTANT, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = range(2, 10)
_FUNCTION, _ARGUMENT = 2, 3
_LOGIC: Final = {"_||_", "_&&_"}


@dataclass(slots=True)
class Uses:
    """What an expression does with its variables.

    `reads` are paths whose value is used; `probes` those that are only asked for, by `has(a.b)` or `"b" in a`.
    `messages` are the protobuf messages that it makes.
    """

    reads: set[Path] = field(default_factory=set)
    probes: set[Path] = field(default_factory=set)
    functions: set[str] = field(default_factory=set)
    messages: set[str] = field(default_factory=set)
    macros: bool = False


class Checked:
    """One checked expression, as the library serializes it.

    Raises:
        Unreadable: the bytes are not of that form, or are nested too deeply.
    """

    def __init__(self, serialized: bytes) -> None:
        self._any = wire.read(serialized, "any", _SCHEMAS)
        checked = self._any.message(2)
        root = checked.message(4) if checked else None
        if checked is None or root is None:
            raise wire.Unreadable("holds no expression")
        self._checked, self._root = checked, root

    def uses(self) -> Uses:
        """Its variables, as paths, and its functions."""
        uses = Uses()
        _visit(self._root, uses, self._names(), frozenset())
        return uses

    def without_absorption(self) -> bytes:
        """The serialized form of the same expression, in which no error is swallowed."""
        rewritten: set[int] = set()
        last = max((item for message in _expressions(self._root) for item in [message.number(_ID)]), default=0)
        for expression in list(_expressions(self._root)):
            call = expression.message(_CALL)
            if call is not None and call.text(_FUNCTION) in _LOGIC:
                last += 1
                _make_conditional(call, last)
                rewritten.add(expression.number(_ID))
        for item in self._checked.messages(2):
            reference = item.message(2)
            if item.number(1) in rewritten and reference is not None:
                reference.fields = [wire.text(3, "conditional")]
        return wire.write(self._any)

    def _names(self) -> dict[int, str]:
        return {
            item.number(1): reference.text(1)
            for item in self._checked.messages(2)
            for reference in item.messages(2)
            if reference.has(1)
        }


def _make_conditional(call: Message, constant_id: int) -> None:
    """`a || b` is `a ? true : b`; `a && b` is `a ? b : false`."""
    either = call.text(_FUNCTION) == "_||_"
    left, right = [item for item in call.fields if item.number == _ARGUMENT]
    constant = wire.submessage(_ARGUMENT, wire.varint(_ID, constant_id), _boolean(either))
    call.fields = [wire.text(_FUNCTION, "_?_:_"), left, *([constant, right] if either else [right, constant])]


def _boolean(value: bool) -> Field:
    return wire.submessage(_CONSTANT, wire.varint(2, int(value)))


def _expressions(expression: Message) -> list[Message]:
    """An expression and every one inside it."""
    found, waiting = [], [expression]
    while waiting:
        here = waiting.pop()
        found.append(here)
        waiting += _children(here)
    return found


def _children(expression: Message) -> list[Message]:
    children: list[Message] = []
    for part in expression.fields:
        if not isinstance(part.value, Message) or part.number == _CONSTANT:
            continue
        if part.number == _STRUCT:
            children += [item for entry in part.value.messages(2) for key in (3, 4) for item in entry.messages(key)]
        else:
            children += [item.value for item in part.value.fields if isinstance(item.value, Message)]
    return children


def _visit(expression: Message, uses: Uses, names: dict[int, str], local: frozenset[str]) -> None:
    path = _path(expression, names, local)
    if path is not None:
        uses.reads.add(path)
        return
    probe = _probe(expression, names, local)
    if probe is not None:
        uses.probes.add(probe)
        return
    call = expression.message(_CALL)
    if call is not None:
        uses.functions.add(call.text(_FUNCTION))
    struct, comprehension = expression.message(_STRUCT), expression.message(_COMPREHENSION)
    if struct is not None and struct.has(1):
        uses.messages.add(struct.text(1))
    if comprehension is not None:
        uses.macros = True
        _visit_comprehension(comprehension, uses, names, local)
        return
    for child in _children(expression):
        _visit(child, uses, names, local)


def _visit_comprehension(message: Message, uses: Uses, names: dict[int, str], local: frozenset[str]) -> None:
    """The range and the first accumulator are outside the loop's names; the rest is inside."""
    inner = local | {message.text(number) for number in (1, 3, 8)}
    for number in (2, 4, 5, 6, 7):
        for expression in message.messages(number):
            _visit(expression, uses, names, local if number in {2, 4} else inner)


def _path(expression: Message, names: dict[int, str], local: frozenset[str]) -> Path | None:
    """The path that an expression is: a variable, and constant fields and indices below it."""
    ident, select, call = (expression.message(number) for number in (_IDENT, _SELECT, _CALL))
    if ident is not None:
        name = names.get(expression.number(_ID)) or ident.text(1)
        return None if name in local else tuple(name.lstrip(".").split("."))
    if select is not None and not select.number(3):
        return _below(select.message(1), select.text(2), names, local)
    if call is not None and call.text(_FUNCTION) == "_[_]":
        operand, index = list(call.messages(_ARGUMENT))
        return _below(operand, _constant(index), names, local)
    return None


def _below(
    operand: Message | None, part: str | int | None, names: dict[int, str], local: frozenset[str]
) -> Path | None:
    above = _path(operand, names, local) if operand is not None and part is not None else None
    return None if above is None or part is None else (*above, part)


def _probe(expression: Message, names: dict[int, str], local: frozenset[str]) -> Path | None:
    """The path whose presence an expression asks for."""
    select, call = expression.message(_SELECT), expression.message(_CALL)
    if select is not None and select.number(3):
        return _below(select.message(1), select.text(2), names, local)
    if call is not None and call.text(_FUNCTION) == "@in":
        key, container = list(call.messages(_ARGUMENT))
        part = _constant(key)
        return _below(container, part, names, local) if isinstance(part, str) else None
    return None


def _constant(expression: Message) -> str | int | None:
    """A constant string, or a constant integer from 0 on: what can be a part of a path."""
    constant = expression.message(_CONSTANT)
    if constant is None:
        return None
    if constant.has(6):
        return constant.text(6)
    index = constant.number(3)
    return index if constant.has(3) and index < 2**63 else None
