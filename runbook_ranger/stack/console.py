"""What processes say: kept in logs that are rotated by size, and shown with coloured names on a terminal."""

import os
import selectors
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

LOG_LIMIT = 8 << 20
LINE_LIMIT = 64 << 10
READ_SIZE = 64 << 10
COLOURS = (36, 32, 33, 35, 34, 96, 92, 93, 95, 94)


class Log:
    """A log of at most two files of `limit` bytes each; every line is written at once."""

    def __init__(self, path: Path, limit: int = LOG_LIMIT) -> None:
        self.path, self.limit = path, limit
        self._file = self._open()

    def write(self, data: bytes) -> None:
        """Append; the file moves aside to `.1` when it is full. What a full disk refuses is lost, nothing else."""
        with suppress(OSError):
            if self._file.tell() > self.limit:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                self._file.close()
                self._file = self._open()
            self._file.write(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _open(self) -> BinaryIO:
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        file = os.fdopen(descriptor, "ab", buffering=0)
        file.seek(0, os.SEEK_END)
        return file


@dataclass
class Voice:
    """The read end of one process's output."""

    name: str
    descriptor: int
    rest: bytes = b""


@dataclass
class Console:
    """Collects the output of all processes through one selector."""

    folder: Path
    selector: selectors.BaseSelector
    echo: bool
    width: int = 10
    _logs: dict[str, Log] = field(default_factory=dict)
    _colours: dict[str, int] = field(default_factory=dict)

    def pipe(self, name: str) -> int:
        """The write end of a new pipe for a process; close it here once the process has it."""
        reading, writing = os.pipe2(os.O_CLOEXEC) if hasattr(os, "pipe2") else os.pipe()
        os.set_blocking(reading, False)
        self.selector.register(reading, selectors.EVENT_READ, Voice(name, reading))
        return writing

    def hear(self, voice: Voice) -> None:
        """Take what a process has said; its end closes the pipe."""
        try:
            data = os.read(voice.descriptor, READ_SIZE)
        except BlockingIOError:
            return
        *lines, voice.rest = (voice.rest + data).split(b"\n")
        if voice.rest and (not data or len(voice.rest) > LINE_LIMIT):
            lines.append(voice.rest)
            voice.rest = b""
        if lines:
            self._keep(voice.name, lines)
        if not data:
            self.selector.unregister(voice.descriptor)
            os.close(voice.descriptor)

    def tell(self, text: str) -> None:
        """Something the supervisor itself has to say: always shown, and kept in its log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        self._log("supervisor").write(f"{now} {text}\n".encode())
        _show(f"{text}\n")

    def close(self) -> None:
        """Close every log."""
        for log in self._logs.values():
            log.close()

    def _keep(self, name: str, lines: list[bytes]) -> None:
        self._log(name).write(b"".join(line + b"\n" for line in lines))
        if self.echo:
            prefix = prefixed(name, self._colours.setdefault(name, len(self._colours)), width=self.width)
            _show("".join(f"{prefix}{line.decode(errors='replace')}\n" for line in lines))

    def _log(self, name: str) -> Log:
        if name not in self._logs:
            self._logs[name] = Log(self.folder / f"{name}.log")
        return self._logs[name]


def _show(text: str) -> None:
    with suppress(OSError):  # a reader that has gone must not end the supervisor
        sys.stdout.write(text)
        sys.stdout.flush()


def prefixed(name: str, number: int, width: int = 10, *, colour: bool | None = None) -> str:
    """The beginning of a line: the process's name in a colour of its own, plain when nobody looks."""
    label = f"{name:<{width}} | "
    coloured = sys.stdout.isatty() if colour is None else colour
    return f"\x1b[{COLOURS[number % len(COLOURS)]}m{label}\x1b[0m" if coloured else label
