"""Runbook text → spec, or every problem with its line, its path and what to do.

Three gates, each of which needs the one before: the text is in the YAML subset (`text.py`), the data has the shape
of the language (`spec.py`), the runbook obeys the rules of this version (`lint.py`).
"""

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ValidationError

from libs.runbook import elements, spec, steps
from libs.runbook.hashing import spec_hash
from libs.runbook.lint import lint
from libs.runbook.problems import Problem, RunbookInvalid, dotted
from libs.runbook.spec import Runbook
from libs.runbook.text import Document, Path, read

M = TypeVar("M", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A runbook that can be published: the spec, its JSON as written, its hash and the text that it came from."""

    spec: Runbook
    spec_json: dict[str, Any]
    spec_hash: str
    source: str


def load(source: str | bytes, *, types: Collection[str] = spec.CARRIED_OUT_TYPES) -> Loaded:
    """The runbook in `source` (YAML, UTF-8); `types` are the step types that are carried out.

    Raises:
        RunbookInvalid: lists every problem of the first gate that refuses.
    """
    return judged(read(source), source.decode() if isinstance(source, bytes) else source, types=types)


def judged(document: Document, source: str, *, types: Collection[str] = spec.CARRIED_OUT_TYPES) -> Loaded:
    """The runbook in a document that was read from `source`: the second and the third gate.

    Raises:
        RunbookInvalid: as `load`, with the positions of the document.
    """
    found = shaped(document, Runbook)
    problems = [_problem(document, path, message) for path, message in lint(found, types=types)]
    if problems:
        raise RunbookInvalid(problems)
    data = found.to_json()
    return Loaded(found, data, spec_hash(data), source)


def shaped(document: Document, model: type[M], keys: Collection[str] = ()) -> M:
    """The document as that model; `keys` are those of its language, by default a runbook's.

    Raises:
        RunbookInvalid: lists everything that has another shape.
    """
    try:
        return model.model_validate(document.data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
    problems = [_problem(document, *_explained(document.data, item, keys or _KEYS)) for item in found]
    raise RunbookInvalid(sorted(set(problems), key=lambda problem: (problem.line, problem.column, problem.path)))


def _problem(document: Document, path: Path, message: str) -> Problem:
    return Problem(dotted(path), message, *document.position(path))


def _explained(data: Any, item: Any, keys: Collection[str]) -> tuple[Path, str]:
    """A validation error as (path, what to do). Names of union members, which pydantic adds, are left out."""
    location = _untagged(data, item["loc"])
    path = _existing(data, location)
    kind, context = item["type"], item.get("ctx", {})
    if kind == "missing":
        return (*path, location[-1]), "is missing; add it"
    if kind in _UNTOLD:
        return (*path, "type"), _UNTOLD[kind]
    if kind == "extra_forbidden":
        return path, _unknown_key(str(location[-1]), keys)
    if kind == "literal_error":
        return path, f"must be {context['expected']}"
    return path, _said(kind, context, item["msg"])


def _said(kind: str, context: Any, message: str) -> str:
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"must match {context['pattern']}")
    return str(context["error"]) if kind == "value_error" else message.replace("Input should", "must")


def _untagged(data: Any, location: tuple[str | int, ...]) -> tuple[str | int, ...]:
    """A location without the types of steps, which pydantic puts behind their indices."""
    kept: list[str | int] = []
    before: str | int = ""
    for part in location:
        is_type = isinstance(before, int) and isinstance(data, dict) and data.get("type") == part
        before = part
        if not is_type:
            kept.append(part)
            data = _part(data, part)
    return tuple(kept)


def _part(data: Any, part: str | int) -> Any:
    """What lies below a value, None if nothing does."""
    try:
        return data[part]
    except (KeyError, IndexError, TypeError):
        return None


def _existing(data: Any, location: tuple[str | int, ...]) -> Path:
    """The longest part of a location that is a path into the data."""
    path: list[str | int] = []
    for part in location:
        inside_object = isinstance(data, dict) and isinstance(part, str) and part in data
        if inside_object or (isinstance(data, list) and isinstance(part, int) and part < len(data)):
            data = data[part]
            path.append(part)
    return tuple(path)


def _unknown_key(key: str, keys: Collection[str]) -> str:
    if key in keys:
        return "does not belong here; remove it"
    near = difflib.get_close_matches(key, keys, n=1)
    return f"unknown key; did you mean {near[0]}?" if near else "unknown key; remove it"


def keys_of(*modules: ModuleType) -> tuple[str, ...]:
    """The keys of a language whose models are in these modules."""
    found = [item for module in modules for item in vars(module).values()]
    models = [item for item in found if isinstance(item, type) and issubclass(item, BaseModel)]
    return tuple(sorted({field.alias or name for model in models for name, field in model.model_fields.items()}))


_UNTOLD: Final = {
    "union_tag_not_found": "is missing; add it",
    "union_tag_invalid": f"must be one of {', '.join(steps.STEP_TYPES)}",
}
_KEYS: Final = keys_of(elements, steps, spec)
_PATTERNS: Final = {
    elements.SLUG: "must be lower-case letters, digits and hyphens, at most 63, such as restart-api",
    r"^[a-z][a-z0-9_]{0,62}$": "must be lower-case letters, digits and underscores, such as shard_name",
}
