"""YAML text → plain data with positions, under limits: a strict subset that reads the same to everyone.

Accepted: one document; block and flow mappings and lists; quoted, plain and block strings; `true` and `false`;
decimal integers without leading zeros, within ±(2⁵³ - 1). A key is a string and stands once.

Refused, each with its line and column: more than 256 KiB, more than 32 levels or 20,000 nodes; anchors, aliases and
merge keys (so nothing can expand); tags; directives; several documents; null and empty values; floats; numbers that
YAML versions read differently (`010`, `0x1f`, `1_000`, `.5`, `.inf`); `True`, `NULL` and the like; control
characters, byte order marks, line separators other than LF and CRLF, invisible and direction-changing characters,
lone surrogates.

Never converted: `yes`, `no`, `on`, `off` and dates are strings, as they look. Tools of YAML 1.1 may differ: quote them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from libs.runbook.canonical import MAX_INTEGER
from libs.runbook.problems import Problem, RunbookInvalid, dotted

MAX_BYTES: Final = 256 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 20_000
WHAT: Final = "a runbook is a mapping: apiVersion, id, name, …"
_UNWANTED: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff"
    "\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\U000e0000-\U000e007f\ud800-\udfff]|\r(?!\n)"
)
_INTEGER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)", re.ASCII)
_NUMBER_LIKE: Final = re.compile(
    r"[-+]?(?:0[xob][0-9a-f_]+|[0-9][0-9_]*(?:\.[0-9_]*)?(?:e[-+]?[0-9]+)?|\.[0-9][0-9_]*(?:e[-+]?[0-9]+)?|\.inf|\.nan)",
    re.ASCII | re.IGNORECASE,
)
_FLOAT: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,15})\.[0-9]{1,15}", re.ASCII)
_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEAN_LIKE: Final = frozenset({"True", "TRUE", "False", "FALSE"})

Path = tuple[str | int, ...]
Position = tuple[int, int]


@dataclass(slots=True)
class Document:
    """Plain data (dict, list, str, int, bool) and where each value stands in the text (line, column from 1)."""

    data: Any = None
    positions: dict[Path, Position] = field(default_factory=dict)

    def position(self, path: Path) -> Position:
        """Where the value at `path` stands, or the nearest thing around it."""
        for length in range(len(path), -1, -1):
            if path[:length] in self.positions:
                return self.positions[path[:length]]
        return (1, 1)


def read(source: str | bytes, *, what: str = WHAT, floats: bool = False) -> Document:
    """The document in `source`. `what` says what a document is, if this one is none; `floats`: they are accepted.

    Raises:
        RunbookInvalid: the text breaks a rule of this module; it names the first place.
    """
    text = _decoded(source)
    reader = _Reader(what, floats=floats)
    try:
        return reader.document(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise RunbookInvalid([Problem("", f"not YAML: {error.problem or error.context}", *place)]) from None
    except yaml.YAMLError as error:
        raise RunbookInvalid([Problem("", f"not YAML: {error}")]) from None


def unwanted(text: str) -> str:
    """What is wrong with the characters of a text; empty if nothing is."""
    found = _UNWANTED.search(text)
    return f"character U+{ord(found[0]):04X} is not accepted; remove it" if found else ""


def stands_for_itself(text: str) -> bool:
    """Whether this text, written without quotes, is not read as another kind of value."""
    words = text in _NULLS or text in _BOOLEAN_LIKE or text in {"true", "false"}
    return not (words or _INTEGER.fullmatch(text) or _NUMBER_LIKE.fullmatch(text))


def _decoded(source: str | bytes) -> str:
    size = len(source) if isinstance(source, bytes) else len(source.encode(errors="surrogatepass"))
    if size > MAX_BYTES:
        raise RunbookInvalid([Problem("", f"is {size} bytes long; a runbook has at most {MAX_BYTES}")])
    try:
        text = source.decode() if isinstance(source, bytes) else source
    except UnicodeDecodeError as error:
        raise RunbookInvalid([Problem("", f"is not UTF-8: byte {error.start}")]) from None
    found = _UNWANTED.search(text)
    if found is not None:
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        message = f"character U+{ord(found[0]):04X} is not accepted; remove it"
        raise RunbookInvalid([Problem("", message, line, column)])
    return text


def _refuse(event: yaml.Event, path: Path, message: str) -> RunbookInvalid:
    return RunbookInvalid([Problem(dotted(path), message, *_position(event))])


def _position(event: yaml.Event) -> Position:
    mark = event.start_mark
    return (mark.line + 1, mark.column + 1) if mark else (1, 1)


class _Reader:
    """Builds data from parser events; the events come one by one, so limits bite before anything is built."""

    def __init__(self, what: str, *, floats: bool) -> None:
        self._what = what
        self._floats = floats
        self._nodes = 0
        self._found = Document()

    def document(self, events: Iterator[yaml.Event]) -> Document:
        for event in events:
            if isinstance(event, yaml.StreamStartEvent | yaml.DocumentEndEvent | yaml.StreamEndEvent):
                continue
            if isinstance(event, yaml.DocumentStartEvent):
                self._start(event)
                continue
            self._found.data = self._value(event, events, ())
        if not isinstance(self._found.data, dict):
            raise RunbookInvalid([Problem("", self._what, 1, 1)])
        return self._found

    def _start(self, event: yaml.DocumentStartEvent) -> None:
        if event.version or event.tags:
            raise _refuse(event, (), "directives are not accepted; remove the % lines")
        if self._found.positions:
            raise _refuse(event, (), "holds several documents; a runbook is one")

    def _value(self, event: yaml.Event, events: Iterator[yaml.Event], path: Path) -> Any:
        self._guard(event, path)
        self._found.positions.setdefault(path, _position(event))
        if isinstance(event, yaml.ScalarEvent):
            return float(event.value) if self._floats and _is_float(event) else _scalar(event, path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(events, path)
        return self._mapping(events, path)

    def _guard(self, event: yaml.Event, path: Path) -> None:
        self._nodes += 1
        if isinstance(event, yaml.AliasEvent):
            raise _refuse(event, path, f"alias *{event.anchor} is not accepted; write the value out")
        if isinstance(event, yaml.NodeEvent) and event.anchor is not None:
            raise _refuse(event, path, f"anchor &{event.anchor} is not accepted; remove it")
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise _refuse(event, path, f"tag {tag} is not accepted; remove it")
        if len(path) > MAX_DEPTH:
            raise _refuse(event, path[:3], f"is nested deeper than {MAX_DEPTH} levels")
        if self._nodes > MAX_NODES:
            raise _refuse(event, path[:3], f"holds more than {MAX_NODES} values")

    def _sequence(self, events: Iterator[yaml.Event], path: Path) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(events), yaml.SequenceEndEvent):
            items.append(self._value(event, events, (*path, len(items))))
        return items

    def _mapping(self, events: Iterator[yaml.Event], path: Path) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(events), yaml.MappingEndEvent):
            key = self._key(event, path)
            if key in items:
                raise _refuse(event, (*path, key), "is written twice; keys are unique")
            self._found.positions[(*path, key)] = _position(event)
            items[key] = self._value(next(events), events, (*path, key))
        return items

    def _key(self, event: yaml.Event, path: Path) -> str:
        self._guard(event, path)
        key = _scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None
        if not isinstance(key, str):
            raise _refuse(event, path, "a key must be a string; quote it")
        if key == "<<" and not getattr(event, "style", None):
            raise _refuse(event, path, "merge keys are not accepted; write the values out")
        return key


def _scalar(event: yaml.ScalarEvent, path: Path) -> str | int | bool:
    text = event.value
    if fault := unwanted(text):  # written as an escape, so the first look at the text did not see it
        raise _refuse(event, path, fault)
    if event.style:  # quoted or block: text as it stands
        return text
    if text in _NULLS:
        raise _refuse(event, path, "has no value; write one, or leave the key out")
    if text in {"true", "false"}:
        return text == "true"
    if text in _BOOLEAN_LIKE:
        raise _refuse(event, path, f"write {text.lower()}, or quote it")
    if _INTEGER.fullmatch(text) and text != "-0":
        return _integer(event, path, text)
    if _NUMBER_LIKE.fullmatch(text):
        raise _refuse(event, path, f"'{text[:40]}' is not accepted as a number; write a decimal integer, or quote it")
    return text


def _is_float(event: yaml.ScalarEvent) -> bool:
    return not event.style and _FLOAT.fullmatch(event.value) is not None


def _integer(event: yaml.ScalarEvent, path: Path, text: str) -> int:
    if len(text) > 17 or abs(int(text)) > MAX_INTEGER:
        raise _refuse(event, path, "integers must lie within ±(2^53 - 1); quote it")
    return int(text)
