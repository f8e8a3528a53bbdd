"""The documentation's commands: every block marked `sh`, in the order of the page."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: str, language: str) -> list[str]:
    """The contents of a page's blocks in that language."""
    return [text for kind, text in _BLOCK.findall((ROOT / page).read_text()) if kind == language]


def commands(page: str) -> Iterator[list[str]]:
    """Each command of a page's `sh` blocks, as words; comments are left out."""
    for block in blocks(page, "sh"):
        for line in block.splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words
