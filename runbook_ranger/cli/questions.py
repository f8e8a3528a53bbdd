"""Approvals as people read them before they decide, on whatever they have at hand: no line is wider than the terminal.

What would run is shown in full, without what is secret; two hashes name exactly that.
"""

import json
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from runbook_ranger.cli.show import harmless, note

NARROWEST: Final = 20
WIDEST: Final = 100
INDENT: Final = "  "


def cards(items: Sequence[Mapping[str, Any]]) -> None:
    """Print approvals one below the other on standard output; says `none` on the other where there is none."""
    for number, item in enumerate(items, 1):
        if len(items) > 1:
            sys.stdout.write(f"[{number}/{len(items)}]\n")
        sys.stdout.write("\n".join(card(item, width())) + "\n")
        if number < len(items):
            sys.stdout.write("\n")
    if not items:
        note("none")


def width() -> int:
    """How wide the terminal is, within reason."""
    return min(WIDEST, max(NARROWEST, shutil.get_terminal_size((80, 24)).columns))


def card(item: Mapping[str, Any], columns: int) -> list[str]:
    """The lines of one approval, none wider than `columns`."""
    return [line for text in _lines(item) for line in _folded(harmless(text), columns)]


def _lines(item: Mapping[str, Any]) -> Iterator[str]:
    what = item.get("action") or "the whole plan"
    yield f"{what} ({item.get('risk', '')}, {item.get('state', '')})"
    yield from _named(item, "resource_id", "prompt")
    yield f"step: {item.get('step', '')} of {item.get('runbook_id', '')}"
    yield from _named(item, "requester", "expires_at")
    yield from _votes(item)
    yield from _values("would run with", item.get("arguments"))
    if item.get("arguments_left_out"):
        yield "would run with: too long for a list; see `show`"
    yield from _form(item.get("form") or {})
    yield from _values("filled in", item.get("values"))
    yield from _named(item, "approver", "rationale", "revoked_by", "incident_id", "execution_id")
    yield from _named(item, "plan_hash", "action_hash", "approval_id")


def _votes(item: Mapping[str, Any]) -> Iterator[str]:
    votes = item.get("votes") or []
    if votes or item.get("quorum", 1) > 1:
        voters = ", ".join(str(vote["approver"]) for vote in votes) or "nobody yet"
        yield f"agreed: {len(votes)} of {item.get('quorum', 1)} ({voters})"
    may = item.get("may_decide")
    if may:
        yield f"may decide: {', '.join(may['names']) or 'whom policy lets'}, but not {', '.join(may['not'])}"


def _form(form: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if form:
        yield "to fill in (--value name=value):"
    for name, field in form.items():
        choice = f" of {', '.join(map(str, field['one_of']))}" if field.get("one_of") else ""
        optional = "" if field.get("required", True) else ", optional"
        yield f"{INDENT}{name}: {field.get('label', name)} ({field.get('type', '')}{choice}{optional})"


def _values(title: str, values: Mapping[str, Any] | None) -> Iterator[str]:
    if values:
        yield f"{title}:"
        for name, value in values.items():
            shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            yield f"{INDENT}{name}: {shown}"


def _named(item: Mapping[str, Any], *names: str) -> Iterator[str]:
    for name in names:
        if item.get(name) not in (None, ""):
            yield f"{name.removesuffix('_id').replace('_', ' ')}: {item[name]}"


def _folded(text: str, columns: int) -> list[str]:
    """Its lines, folded; what is longer than a line, a hash say, is broken."""
    depth = len(text) - len(text.lstrip(" "))
    indent = " " * min(depth + len(INDENT), NARROWEST // 2)
    folded: list[str] = []
    for index, line in enumerate(text.expandtabs(4).split("\n")):
        first = indent if index else ""
        folded += textwrap.wrap(
            line, columns, initial_indent=first, subsequent_indent=indent, drop_whitespace=True
        ) or [""]
    return folded
