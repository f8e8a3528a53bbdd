"""Expressions that could take long or grow large, evaluated in a process that can be stopped.

A library in C++ that holds the interpreter's lock cannot be interrupted from within: whoever loops or amplifies is
given to a child with a memory limit, and killed when it does not answer in time. It lives here and not in
`libs/common`, because only the executor evaluates: the catalog and the command line compile.

The child is started at the first need, gets neither this process's environment nor its files, is used again, and is
replaced after it died. Its limit is of processor time, which the kernel keeps and a busy machine does not use up; the
parent waits four times as long. It dies with its parent: by the end of file, or by its limit. What it answers is
looked at as if it were a stranger's.

    ExpressionError
    └── EvaluationStopped   took too long, or more memory than allowed
"""

import atexit
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Final, Self

import orjson

import libs
from libs.runbook.cel import Compiled
from libs.runbook.cel_errors import EvaluationFailed
from libs.runbook.cel_values import ResultRefused, ScopeRefused, plain, shown
from libs.runbook.declared import evaluator_of
from libs.runbook.expressions import Evaluate, ExpressionError
from libs.runbook.spec import Runbook

LIMIT_SECONDS: Final = 0.5  # of processor time
PATIENCE: Final = 4  # limits that the parent waits, by the clock on the wall
START_SECONDS: Final = 10.0
MEMORY_BYTES: Final = 256 * 1024 * 1024  # address space; about 45 MiB of it are Python and the library
MAX_ANSWER: Final = 4 * 1024 * 1024
CHILD: Final = "services.executor.evaluator_child"
HEAD: Final = 4


class EvaluationStopped(ExpressionError):
    """An expression that took too long, or more memory than allowed; the step halts, and nothing is assumed."""

    def __init__(self, source: str, why: str) -> None:
        super().__init__(f"`{shown(source)}`: {why}, and was stopped")
        self.why = why


class _Gone(Exception):
    """The child does not answer, for this reason."""


class ProcessEvaluator:
    """Runs compiled expressions in a child, one at a time; it is the `elsewhere` of `libs.runbook.cel`."""

    def __init__(self, *, limit_seconds: float = LIMIT_SECONDS, memory_bytes: int = MEMORY_BYTES) -> None:
        self._limit = limit_seconds
        self._memory = memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int | None:
        """The child's process id; None while there is none."""
        return self._process.pid if self._process else None

    def __call__(self, compiled: Compiled, data: Mapping[str, Any]) -> Any:
        """The value of an expression over bound data, within the limits.

        Raises:
            EvaluationFailed, ResultRefused: as `libs.runbook.cel.run`.
            ScopeRefused: the data holds bytes, which JSON does not carry to the child.
            EvaluationStopped: as its class says.
        """
        request = _request(compiled, data)
        with self._lock:
            try:
                answer = self._exchange(request)
            except _Gone as gone:
                self._kill()
                raise EvaluationStopped(compiled.source, str(gone)) from None
        return _value(compiled.source, answer)

    def close(self) -> None:
        """End the child, if there is one."""
        with self._lock:
            self._kill()

    def _exchange(self, request: bytes) -> bytes:
        connection = self._connection()
        deadline = time.monotonic() + PATIENCE * self._limit
        try:
            connection.settimeout(PATIENCE * self._limit)
            connection.sendall(len(request).to_bytes(HEAD) + request)
            return _answer(connection, deadline)
        except TimeoutError:
            raise _Gone(f"did not answer within {PATIENCE * self._limit:g} s") from None
        except OSError:
            raise _Gone(self._cause_of_death()) from None

    def _cause_of_death(self) -> str:
        """Why the child went: the library ends a process that gets no memory."""
        code = None
        with suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1) if self._process else None
        return (
            f"took longer than {self._limit:g} s" if code == -signal.SIGPROF else "needed more memory than it may have"
        )

    def _connection(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self._kill()
        if self._socket is None:
            self._socket = self._start()
        return self._socket

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-s", "-m", CHILD, str(self._memory), str(self._limit)]
        root = str(Path(libs.__file__).parents[1])
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={"LANG": "C.UTF-8", "PYTHONPATH": root},
                cwd="/",
                start_new_session=True,
            )
        try:
            _answer(ours, time.monotonic() + START_SECONDS)
        except OSError:
            ours.close()
            raise _Gone("could not be given to a process of its own") from None
        return ours

    def _kill(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._socket = self._process = None


def evaluator_for(spec: Runbook) -> Evaluate:
    """The function that evaluates a runbook's templates in the executor: inline, or in this process's one child."""
    return evaluator_of(spec, shared())


@cache
def shared() -> ProcessEvaluator:
    """The evaluator of this process; its child is started at the first need, so after any fork."""
    evaluator = ProcessEvaluator()
    atexit.register(evaluator.close)
    return evaluator


def _request(compiled: Compiled, data: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps({"source": compiled.source, "inputs": compiled.declarations.inputs, "data": data})
    except TypeError:
        why = "holds bytes; an expression that runs in its own process is given text, numbers, lists and objects"
        raise ScopeRefused("the scope", why) from None


def _answer(connection: socket.socket, deadline: float) -> bytes:
    length = int.from_bytes(_exactly(connection, HEAD, deadline))
    if length > MAX_ANSWER:
        raise ConnectionError("the answer is too long")
    return _exactly(connection, length, deadline)


def _exactly(connection: socket.socket, size: int, deadline: float) -> bytes:
    data = bytearray()
    while len(data) < size:
        connection.settimeout(max(deadline - time.monotonic(), 0.001))
        chunk = connection.recv(min(size - len(data), 65536))
        if not chunk:
            raise ConnectionError("the child has ended")
        data += chunk
    return bytes(data)


def _value(source: str, answer: bytes) -> Any:
    found = orjson.loads(answer)
    if "failed" in found:
        raise EvaluationFailed(source, str(found["failed"]))
    if "refused" in found:
        raise ResultRefused(str(found["refused"]))
    return plain(source, found["value"])
