"""What an expression needs of a scope: which paths must be there, and which parts are copied for it.

A path that is read must be there before anything is evaluated, so that an alternative cannot hide a reading that is
missing. A path that is asked for, by `has(a.b)` or `"b" in a`, need not be, nor what lies below it; what it would be
a part of must.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from libs.runbook.cel_errors import NotCompiled
from libs.runbook.cel_values import Intake
from libs.runbook.checked import Path, Uses
from libs.runbook.expressions import MissingValue

FACTS: Final[Mapping[str, str]] = {
    "alert.name": "string",
    "alert.severity": "string",
    "alert.labels": "texts",
    "alert.annotations": "texts",
    "incident.id": "string",
}
ROOTS: Final = ("inputs", "alert", "incident", "steps", "outputs", "each")
_WHOLE: Final = frozenset({"steps", "outputs", "each"})  # one variable; of the others each part is one

Tree = dict[str, "Tree | None"]  # None: the whole value


@dataclass(frozen=True, slots=True)
class Bound:
    """Data for the library, by variable, and how much it is: bytes of text, and 8 for each value."""

    data: dict[str, Any]
    size: int


@dataclass(frozen=True, slots=True)
class Selection:
    """`paths` is all that is referred to; `required` what must be there; `tree` what is copied; `kinds` the types."""

    paths: tuple[Path, ...]
    required: tuple[Path, ...]
    tree: Tree
    kinds: Mapping[str, str]

    def bind(self, scope: Mapping[str, Any]) -> Bound:
        """The selected part of a scope, under the names of the variables.

        Raises:
            MissingValue: a required path is not there.
            ScopeRefused: a value may not be given to an expression.
        """
        for path in self.required:
            _find(scope, path)
        intake = Intake()
        data: dict[str, Any] = {}
        for root, below in self.tree.items():
            value = _selected(scope.get(root, {}), below, root, "any", intake, self.kinds)
            data |= {root: value} if root in _WHOLE else {f"{root}.{name}": item for name, item in value.items()}
        return Bound(data, intake.size)


def of(source: str, uses: Uses, inputs: Mapping[str, str]) -> Selection:
    """The selection of an expression that uses these paths.

    Raises:
        NotCompiled: it refers to steps otherwise than by `steps.<id>.outputs`.
    """
    reads = {path for path in uses.reads if path[0] in ROOTS}
    probes = {path for path in uses.probes if path[0] in ROOTS}
    for path in reads | probes:
        _check_step(source, path, asked=path in probes and path not in reads)
    needed = reads | {path[:-1] for path in probes}
    required = [path for path in needed if not any(path[: len(probe)] == probe for probe in probes)]
    tree: Tree = {}
    for path in sorted(reads | probes, key=_order):
        _grow(tree, path)
    kinds = {**FACTS, **{f"inputs.{name}": kind for name, kind in inputs.items()}}
    paths = tuple(sorted(reads | probes, key=_order))
    return Selection(paths, tuple(sorted(required, key=_order)), tree, kinds)


def written(path: Iterable[str | int]) -> str:
    """A path as people read it: `steps.probe.outputs.hosts[0]`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _order(path: Path) -> tuple[int, str]:
    return len(path), written(path)


def _check_step(source: str, path: Path, *, asked: bool) -> None:
    if path[0] != "steps" or (asked and len(path) == 2 and isinstance(path[1], str)):
        return
    if len(path) < 3 or not isinstance(path[1], str) or path[2] != "outputs":
        raise NotCompiled(source, f"{written(path)} must be steps.<id of an earlier step>.outputs")


def _grow(tree: Tree, path: Path) -> None:
    """Adds a path; an index ends it, for of a list everything is copied."""
    for position, part in enumerate(path):
        last = position == len(path) - 1 or isinstance(path[position + 1], int)
        if not isinstance(part, str) or (part in tree and tree[part] is None):
            return
        if last:
            tree[part] = None
            return
        below = tree.setdefault(part, {})
        if below is None:
            return
        tree = below


def _selected(value: Any, tree: Tree | None, path: str, kind: str, intake: Intake, kinds: Mapping[str, str]) -> Any:
    """A value, or of an object only the parts in the tree; what is not there is left out."""
    if tree is None or not isinstance(value, Mapping):
        return intake.typed(kind, value, path)
    found: dict[str, Any] = {}
    for part, below in tree.items():
        if part in value:
            name = f"{path}.{part}"
            inside = "string" if kind == "texts" else kinds.get(name, "any")
            found[intake.key(part, path)] = _selected(value[part], below, name, inside, intake, kinds)
    return found


def _find(scope: Mapping[str, Any], path: Path) -> None:
    value: Any = scope
    for position, part in enumerate(path):
        inside = part in value if isinstance(value, Mapping) else isinstance(part, int) and _reaches(value, part)
        if not inside:
            raise MissingValue(written(path), written(path[: position + 1]))
        value = value[part]


def _reaches(value: Any, index: int) -> bool:
    return isinstance(value, list | tuple) and index < len(value)
