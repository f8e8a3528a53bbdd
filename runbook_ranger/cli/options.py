"""Options that many commands share."""

from enum import Enum
from pathlib import Path
from typing import Annotated, TypeAlias

import typer


class Format(str, Enum):  # noqa: UP042 — Typer shows members of a plain str enumeration by their value
    """How an answer is shown: for people, or for programs."""

    TABLE = "table"
    JSON = "json"


Output: TypeAlias = Annotated[
    Format, typer.Option("--output", "-o", help="table for people, json (the answer as it came) for programs.")
]
DataDir: TypeAlias = Annotated[
    Path | None,
    typer.Option("--data-dir", envvar="RR_DATA_DIR", help="The stack's folder, for client.json.  [default: .ranger]"),
]
Rationale: TypeAlias = Annotated[str, typer.Option("--rationale", "-r", help="Why; it stands in the timeline.")]
Limit: TypeAlias = Annotated[int | None, typer.Option("--limit", min=1, help="At most so many.")]


def group(name: str, text: str) -> typer.Typer:
    """An empty group of commands that looks like the program."""
    return typer.Typer(name=name, help=text, no_args_is_help=True, rich_markup_mode=None)
