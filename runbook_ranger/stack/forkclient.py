"""The supervisor's side of the fork server."""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from runbook_ranger.stack.processes import ExecChild, ProcessSpec, base_environment
from runbook_ranger.stack.spawn import spawn

RECEIVE = 65536
ANSWER_PATIENCE = 5.0  # a fork takes milliseconds; longer means that the fork server is stopped or gone


class ForkServerGoneError(OSError):
    """The fork server did not answer; its children die with it."""


@dataclass
class ForkedChild:
    """A child of the fork server, whose end is reported by it."""

    pid: int
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.code

    def signal(self, number: signal.Signals) -> None:
        """Send a signal unless its end was reported."""
        if self.code is None:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


@dataclass
class ForkLauncher:
    """Starts processes through a fork server, and the fork server itself."""

    modules: list[str]
    report: Callable[[str], None]
    ready: bool = False
    server: ExecChild | None = None
    channel: socket.socket | None = None
    children: dict[int, ForkedChild] = field(default_factory=dict)
    _rest: bytes = b""

    def start(self, output: int) -> ExecChild:
        """Start the fork server; `ready` turns true once it has imported everything."""
        self.close()
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "runbook_ranger.stack.forkserver", str(theirs.fileno()), *self.modules]
        with theirs:
            process = spawn(command, env=base_environment(), output=output, keep=(theirs.fileno(),))
        ours.settimeout(ANSWER_PATIENCE)
        self.channel, self.server = ours, ExecChild(process)
        return self.server

    def close(self) -> None:
        """Forget the fork server; all of its children count as killed."""
        if self.channel is not None:
            self.channel.close()
        for child in self.children.values():
            child.code = -signal.SIGKILL if child.code is None else child.code
        self.channel, self.ready, self._rest = None, False, b""
        self.children.clear()

    def launch(self, spec: ProcessSpec, output: int) -> ForkedChild:
        """Fork a process; raises ForkServerGoneError when nobody answers in time."""
        if self.channel is None:
            raise ForkServerGoneError("no fork server")
        request = json.dumps({"name": spec.name, "module": spec.module, "env": dict(spec.env)}).encode() + b"\n"
        try:
            sent = socket.send_fds(self.channel, [request], [output])
            self.channel.sendall(request[sent:])
            return self._await_pid(self.channel)
        except OSError as error:
            if self.server is not None:
                self.server.signal(signal.SIGKILL)  # one that hangs must not keep everybody waiting
            raise ForkServerGoneError(str(error)) from error

    def read(self) -> None:
        """Take what the fork server has said; call it when the channel is readable."""
        if self.channel is None:
            return
        try:
            data = self.channel.recv(RECEIVE)
        except OSError:
            data = b""
        if data:
            self._take_all(data)
        else:
            self.close()

    def _await_pid(self, channel: socket.socket) -> ForkedChild:
        while data := channel.recv(RECEIVE):
            born = self._take_all(data)
            if born:
                return born[0]
        raise ForkServerGoneError("it has ended")

    def _take_all(self, data: bytes) -> list[ForkedChild]:
        """Act on every whole message; returns the children that were born (at most one: requests do not overlap)."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        born = (self._take(json.loads(line)) for line in lines)
        return [child for child in list(born) if child is not None]

    def _take(self, message: dict[str, Any]) -> ForkedChild | None:
        if "pid" in message:
            child = self.children[message["pid"]] = ForkedChild(message["pid"])
            return child
        if "exit" in message and message["exit"] in self.children:
            self.children.pop(message["exit"]).code = message["code"]
        if "ready" in message:
            self.ready = True
            for name in message["failed"]:
                self.report(f"cannot import {name}; see `rangerctl logs forkserver`")
        return None
