"""An append-only file of JSON lines, each on the disk before anybody hears of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson


class Journal:
    """Survives kill -9: `append` returns after fsync; a line torn by a crash is cut off when the file is opened."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.records = _whole_lines(path)
        self._file = path.open("ab")

    def append(self, record: dict[str, Any]) -> None:
        """Add one record for good."""
        self._file.write(orjson.dumps(record) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return [orjson.loads(line) for line in whole.splitlines()]
