"""How answers look: tables for people, JSON for programs.

Values come from alerts and other people, so control characters, with which a terminal could be told things, are made
visible, and nothing in a value is read as markup.
"""

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from runbook_ranger.cli.options import Format

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

PIPED_WIDTH: Final = 200
STYLES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("critical", "failed", "unknown", "error", "engaged"), "bold red"),
    **dict.fromkeys(("high", "blocked", "aborted"), "red"),
    **dict.fromkeys(("medium", "mitigating", "waiting", "running", "new"), "yellow"),
    **dict.fromkeys(("completed", "succeeded", "resolved", "closed", "ok"), "green"),
}


def answer(content: Any, output: Format, people: "Sequence[str] | None" = None, *, rows: str = "items") -> None:
    """Print an answer: as JSON, as a table of the rows under `rows`, or field by field without `people`'s columns."""
    if output is Format.JSON:
        as_json(content)
    elif people is None:
        fields(content)
    else:
        table(content[rows], people)
        if content.get("next"):
            note(f"there is more: --after {content['next']}")


def as_json(content: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Rows under the names of their columns; `a.b` is the field b of the field a."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        shown.add_column(name.rpartition(".")[2].replace("_", " "), overflow="fold")
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 — counted for the line below
        shown.add_row(*(cell(reach(row, name)) for name in columns))
    if count:
        console().print(shown)
    else:
        note("none")


def fields(content: Mapping[str, Any]) -> None:
    """A thing field by field: plain values first, then lists of things as tables."""
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, show_header=False)
    nested: list[tuple[str, list[Any]]] = []
    for name, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], Mapping):
            nested.append((name, value))
        elif value not in (None, "", [], {}):
            shown.add_row(cell(name.replace("_", " ")), cell(value))
    console().print(shown)
    for name, rows in nested:
        sys.stdout.write(f"\n{name.replace('_', ' ')}\n")
        table(rows, [key for key, value in rows[0].items() if not isinstance(value, dict | list)][:8])


def reach(row: Any, name: str) -> Any:
    """The value at a dotted path; None where there is none."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, Mapping) else None
    return row


def cell(value: Any) -> "Text":
    """A value as harmless text, coloured when it is a state."""
    from rich.text import Text

    if value is None:
        return Text("")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return Text(harmless(text), style=STYLES.get(text, ""))


def harmless(text: str) -> str:
    """`text` with control and invisible formatting characters made visible; line ends and tabs stay."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in {"Cc", "Cf", "Cs"} else f"\\x{ord(c):02x}" for c in text
    )


def note(text: str) -> None:
    """A remark on standard error, where it does not disturb a pipe."""
    sys.stderr.write(f"{harmless(text)}\n")


def console() -> "Console":
    """Standard output; wide when it is no terminal, so that nothing is cut or folded early."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else PIPED_WIDTH, highlight=False, soft_wrap=False)
