"""Reading the processes' logs while they are written and rotated."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 1 << 20


@dataclass
class Tail:
    """One log, from its last lines on; follows the name when the file moves aside."""

    path: Path
    _inode: int = 0
    _offset: int = 0
    _rest: bytes = field(default=b"")

    def last(self, count: int) -> list[str]:
        """The last whole lines."""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - CHUNK))
            data = file.read()
        self._inode, self._offset = self.path.stat().st_ino, size
        return data.decode(errors="replace").splitlines()[-count:] if count else []

    def more(self) -> list[str]:
        """The lines added since the last look."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return []  # between moving aside and being made anew
        if status.st_ino != self._inode or status.st_size < self._offset:
            self._inode, self._offset = status.st_ino, 0
        if status.st_size == self._offset:
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read(CHUNK)
        self._offset += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]


def logs(folder: Path, name: str | None) -> dict[str, Tail]:
    """The logs of one process or of all; empty when there is none of that name."""
    return {path.stem: Tail(path) for path in sorted(folder.glob(f"{name or '*'}.log"))}


def follow(folder: Path, name: str | None, count: int, interval: float = 0.2) -> Iterator[tuple[str, str]]:
    """(process, line): the last `count` lines of each, then whatever comes, without end; also from logs made later."""
    tails = logs(folder, name)
    for process, tail in tails.items():
        yield from ((process, line) for line in tail.last(count))
    while True:
        for process, tail in logs(folder, name).items():
            yield from ((process, line) for line in tails.setdefault(process, tail).more())
        time.sleep(interval)
