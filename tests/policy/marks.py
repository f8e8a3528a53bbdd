"""Which lines of the policies a decision goes through: the compiled plan, with a mark behind each line.

regopy has no tracer, but its plan says for each statement which file and row it comes from. Behind the last statement
of a row, and the tests that belong to it, one more is put that prints the row; so a line counts only if all of it held.
"""

from __future__ import annotations

import ctypes
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeAlias

from regopy import Interpreter

from libs.common.policy.bundle import ENTRYPOINTS, PolicyBundle
from libs.common.policy.inputs import Document, canonical

Line: TypeAlias = tuple[str, int]
"""A package, and a line of its file, counted from 1."""
_MARK: Final = "@@"
_ENDINGS: Final = {"ReturnLocalStmt", "BreakStmt", "ResultSetAddStmt"}


class Marked:
    """One package, compiled with marks; `lines` are those that can be reached at all."""

    def __init__(self, bundle: PolicyBundle, package: str) -> None:
        self._interpreter = Interpreter()
        for name, source in bundle.needed(package).items():
            self._interpreter.add_module(name, source)
        self._interpreter.add_data_json(json.dumps(bundle.data))
        self._path = package.replace(".", "/")
        self.lines: set[Line] = set()
        with tempfile.TemporaryDirectory() as room:
            entrypoints = [f"{self._path}/{entrypoint}" for entrypoint in ENTRYPOINTS]
            self._interpreter.save_bundle(room, self._interpreter.build(None, entrypoints))
            plan = Path(room) / "plan.json"
            plan.write_text(json.dumps(self._with_marks(json.loads(plan.read_text()))))
            self._bundle = self._interpreter.load_bundle(room)
        assert self._bundle.ok()

    def evaluate(self, entrypoint: str, asked: Document) -> None:
        """Go through it; what it prints is for `printed`."""
        self._interpreter.set_input_term(canonical(asked))
        self._interpreter.query_bundle_entrypoint(self._bundle, f"{self._path}/{entrypoint}")

    def _with_marks(self, plan: dict[str, Any]) -> dict[str, Any]:
        static = plan["static"]
        files = [file["value"] for file in static["files"]]
        unused = _largest(plan["funcs"]) + 1  # a frame is as long as its largest local's number
        declared = {"args": [{"type": "array", "dynamic": {"type": "set", "of": {"type": "any"}}}]}
        static["builtin_funcs"].append({"name": "internal.print", "decl": declared, "type": "function"})

        def mark(line: Line) -> list[dict[str, Any]]:
            self.lines.add(line)
            static["strings"].append({"value": f"{_MARK}{line[0]}:{line[1]}"})
            return _printing(len(static["strings"]) - 1, unused)

        for function in plan["funcs"]["funcs"]:
            for block in function["blocks"]:
                block["stmts"] = _marked(block["stmts"], files, mark, frozenset())
        return plan


@contextmanager
def printed() -> Iterator[Callable[[], set[Line]]]:
    """While it is open, what the engine prints is caught; calling what it gives takes what came since the last call."""
    library = ctypes.CDLL(None)
    library.fflush(None)
    with tempfile.TemporaryFile() as caught:
        kept = os.dup(1)
        os.dup2(caught.fileno(), 1)
        seen = 0

        def take() -> set[Line]:
            nonlocal seen
            library.fflush(None)
            text = os.pread(caught.fileno(), os.fstat(caught.fileno()).st_size - seen, seen)
            seen += len(text)
            return set(map(_line, filter(None, text.decode().split("\n"))))

        try:
            yield take
        finally:
            library.fflush(None)
            os.dup2(kept, 1)
            os.close(kept)


def _line(text: str) -> Line:
    package, _, row = text.removeprefix(_MARK).rpartition(":")
    return package, int(row)


Mark: TypeAlias = Callable[[Line], list[dict[str, Any]]]


def _marked(stmts: list[dict[str, Any]], files: list[str], mark: Mark, others: frozenset[Line]) -> list[dict[str, Any]]:
    """A block's statements with marks; statements without a row belong to the row before them.

    What stands inside a loop is marked there, what is negated outside of it: `others` are marked further out.
    """
    last: dict[Line, int] = {}
    row: Line | None = None
    for place, found in enumerate(stmts):
        if found["type"] in _ENDINGS:
            break
        about: dict[str, Any] = found.get("stmt", {})
        if "row" in about and found["type"] != "ResetLocalStmt":
            row = (files[about["file"]], about["row"] + 1)
        if row is not None:
            last[row] = place
    for found in stmts:
        about = found.get("stmt", {})
        negated = found["type"] == "NotStmt"
        for block in [*about.get("blocks", ()), *([about["block"]] if "block" in about else ())]:
            inner = {line for line in _rows(block, files) if not negated}
            last = {line: place for line, place in last.items() if line not in inner or stmts[place] is not found}
            block["stmts"] = _marked(block["stmts"], files, mark, frozenset(last) | others if negated else others)
    marks: dict[int, list[dict[str, Any]]] = {}
    for line, place in last.items():
        if line not in others:
            marks.setdefault(place, []).extend(mark(line))
    return [each for place, found in enumerate(stmts) for each in (found, *marks.get(place, ()))]


def _rows(found: Any, files: list[str]) -> Iterator[Line]:
    """Every row of a part of a plan."""
    if isinstance(found, dict):
        if "row" in found:
            yield files[found["file"]], found["row"] + 1
        found = list(found.values())
    if isinstance(found, list):
        for value in found:
            yield from _rows(value, files)


def _largest(found: Any) -> int:
    """The largest number in a plan, so at least the largest of its locals."""
    if isinstance(found, dict):
        found = list(found.values())
    if isinstance(found, list):
        return max((_largest(value) for value in found), default=0)
    return found if isinstance(found, int) else 0


def _printing(text: int, unused: int) -> list[dict[str, Any]]:
    """Statements that print one string, by locals that nobody else uses."""
    array, element, result = unused, unused + 1, unused + 2
    return [
        {"type": "MakeArrayStmt", "stmt": {"capacity": 1, "target": array}},
        {"type": "MakeSetStmt", "stmt": {"target": element}},
        {"type": "SetAddStmt", "stmt": {"value": {"type": "string_index", "value": text}, "set": element}},
        {"type": "ArrayAppendStmt", "stmt": {"array": array, "value": {"type": "local", "value": element}}},
        {
            "type": "CallStmt",
            "stmt": {"func": "internal.print", "args": [{"type": "local", "value": array}], "result": result},
        },
    ]
