"""A command under its guard, seen from the worker: start it, keep its limit current, hear how it ended."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from libs.actions.capture import Capture

GUARD = Path(__file__).with_name("guard.py")
STREAM_LIMIT = 1024 * 1024
CHUNK = 65536
GRACE_SECONDS = 2.0
KILL_LEAD_SECONDS = 1.0
LAST_WORDS_SECONDS = 1.0  # for output still in the pipes when every writer is dead
PATIENCE_SECONDS = 3.0  # beyond the limit, for a guard that cannot kill what hangs in the kernel


@dataclass(slots=True)
class Report:
    """How a guarded command ended.

    `exit_code` and `ended_by` (a signal) are of the command itself; `refused` is (errno, what) when nothing ran.
    `stopped` names why it was stopped (limit, cancel, orphaned) or is None; `leftover` counts processes it had left
    behind, which were stopped; `unstopped` are pids that survived KILL; `complete` is False when the guard died.
    """

    pid: int | None = None
    exit_code: int | None = None
    ended_by: int | None = None
    refused: tuple[int, str] | None = None
    stopped: str | None = None
    leftover: int = 0
    unstopped: tuple[int, ...] = ()
    complete: bool = False

    def hear(self, line: str) -> None:
        """Take in one line of the guard."""
        word, _, rest = line.strip().partition(" ")
        if word == "started":
            self.pid = int(rest)
        elif word == "exit":
            self.exit_code = int(rest)
        elif word == "signal":
            self.ended_by = int(rest)
        elif word == "refused":
            number, _, what = rest.partition(" ")
            self.refused = (int(number), what)
        elif word == "stopping" and rest != "ended":
            self.stopped = rest
        elif word == "leftover":
            self.leftover = int(rest)
        elif word == "unstopped":
            self.unstopped = tuple(int(pid) for pid in rest.split(",") if pid)
            self.complete = True
        elif word == "ended":
            self.complete = True


@dataclass(slots=True)
class GuardedCommand:
    """One running command. Made by `start`; `wait` returns when nothing of it lives any more."""

    process: asyncio.subprocess.Process
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    stdout: Capture = field(default_factory=lambda: Capture(STREAM_LIMIT))
    stderr: Capture = field(default_factory=lambda: Capture(STREAM_LIMIT))
    report: Report = field(default_factory=Report)

    @classmethod
    async def start(cls, path: str, argv: Iterable[str], environ: Mapping[str, str], *, cwd: str, limit: float) -> Self:
        """Start the guard and hand it its orders; everything is dead before `limit` (`time.monotonic()`)."""
        ours, theirs = socket.socketpair()
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(GUARD),
                stdin=theirs.fileno(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env={"LANG": "C.UTF-8"}, cwd="/", start_new_session=True,
            )  # fmt: skip
            reader, writer = await asyncio.open_connection(sock=ours)
        except BaseException:
            ours.close()  # the guard reads the end of file and goes
            raise
        finally:
            theirs.close()
        writer.write(_orders(path, argv, environ, cwd, limit))
        return cls(process, reader, writer)

    def extend(self, limit: float) -> None:
        """Move the time before which everything is dead."""
        self._tell(f"limit {limit:.6f}\n")

    def cancel(self) -> None:
        """Stop everything now: TERM, and KILL after the grace."""
        self._tell("cancel\n")

    async def wait(self) -> Report:
        """Read the output and the guard's lines until the guard has ended and all output is read."""
        drains = [
            asyncio.ensure_future(_drain(self.process.stdout, self.stdout)),
            asyncio.ensure_future(_drain(self.process.stderr, self.stderr)),
        ]
        try:
            await self._hear()
            if not self.report.complete and self.report.pid is not None:
                _kill_group(self.report.pid)  # the guard was killed; what it adopted can no longer be found
            await asyncio.wait(drains, timeout=LAST_WORDS_SECONDS)
        finally:
            for drain in drains:
                drain.cancel()
            self.close()
        with suppress(TimeoutError):
            await asyncio.wait_for(self.process.wait(), LAST_WORDS_SECONDS)
        return self.report

    def close(self) -> None:
        """Let go of the guard: it reads the end of file and stops whatever still lives."""
        with suppress(OSError, RuntimeError):
            self.writer.close()

    async def _hear(self) -> None:
        with suppress(ConnectionError):
            while line := await self.reader.readline():
                self.report.hear(line.decode("ascii", "replace"))

    def _tell(self, line: str) -> None:
        if not self.writer.is_closing():
            self.writer.write(line.encode())


def _kill_group(leader: int) -> None:
    with suppress(OSError):
        os.killpg(leader, signal.SIGKILL)


async def _drain(stream: asyncio.StreamReader | None, into: Capture) -> None:
    while stream is not None and (chunk := await stream.read(CHUNK)):
        into.feed(chunk)


def _orders(path: str, argv: Iterable[str], environ: Mapping[str, str], cwd: str, limit: float) -> bytes:
    """Short steps get short leads: a fifth of the time each at most."""
    total = max(0.0, limit - time.monotonic())
    kill_lead = min(KILL_LEAD_SECONDS, total / 5)
    term_lead = kill_lead + min(GRACE_SECONDS, total / 5)
    words = list(argv)
    fields = [str(os.getpid()), f"{limit:.6f}", f"{term_lead:.6f}", f"{kill_lead:.6f}", str(GRACE_SECONDS)]
    fields += [cwd, path, str(len(words)), *words, *(f"{name}={value}" for name, value in environ.items())]
    body = b"".join(item.encode("utf-8", "surrogateescape") + b"\0" for item in fields)
    return f"{len(body)}\n".encode() + body
