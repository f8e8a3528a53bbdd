"""The fork server: one process that has imported everything, from which services and their restarts are forked.

Start-up is paid once and the pages of all modules are shared. It has neither a thread nor an event loop: both would be
broken in the children. A child is bound to this process, this process to the supervisor, so all die together.

Protocol over the inherited socket, one JSON object a line: in `{"name", "module", "env"}` with the output descriptor
attached; out `{"ready", "failed"}` once, then `{"pid"}` for each request and `{"exit", "code"}` for each end.
"""

import ctypes
import gc
import importlib
import importlib.util
import json
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import Any

from runbook_ranger.stack.spawn import LIBC, bind_to_parent

REQUEST_LIMIT = 1 << 20
PR_SET_NAME = 15
NAME_LIMIT = 15


@dataclass(frozen=True)
class Job:
    """What a forked child runs; returned to the top of the program, so that it ends as any interpreter does."""

    name: str
    module: str
    env: dict[str, str]

    def run(self) -> None:
        """Become the process: environment, name, then the module's `main()`."""
        os.environ.clear()
        os.environ.update(self.env)
        sys.argv = [self.module]
        if LIBC is not None:
            LIBC.prctl(PR_SET_NAME, ctypes.c_char_p(f"rr-{self.name}"[:NAME_LIMIT].encode()), 0, 0, 0)
        module = importlib.import_module(entry_module(self.module))
        module.main()


def entry_module(name: str) -> str:
    """The module that `python -m name` would run."""
    spec = importlib.util.find_spec(name)
    return f"{name}.__main__" if spec is not None and spec.submodule_search_locations is not None else name


class ForkServer:
    """Serves until its socket closes; in a forked child, `serve` returns the child's job."""

    def __init__(self, channel: socket.socket) -> None:
        self.channel = channel
        self.alarm, self.wake = socket.socketpair()
        for end in (self.alarm, self.wake):
            end.settimeout(0)

    def preload(self, modules: list[str]) -> None:
        """Import what children will need; one that fails is reported and left to fail in its own child."""
        failed = [name for name in modules if not _imports(name)]
        if threading.active_count() > 1:
            failed.append(f"threads were started by an import: {threading.enumerate()}")
        gc.collect()
        gc.freeze()  # the collector never touches these objects, so their pages stay shared
        self.say(ready=True, failed=failed)

    def serve(self) -> Job | None:
        """Answer requests and report ends; None when the supervisor has closed the socket."""
        signal.set_wakeup_fd(self.wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(self.channel, selectors.EVENT_READ)
            selector.register(self.alarm, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj is self.alarm:
                        self.alarm.recv(4096)
                        self.reap()
                        continue
                    data, descriptors, _, _ = socket.recv_fds(self.channel, REQUEST_LIMIT, 1)
                    if not data:
                        return None
                    job = self.fork(self._whole(data), descriptors[0])
                    if job is not None:
                        return job

    def fork(self, request: dict[str, Any], output: int) -> Job | None:
        """Fork a child; returns its job in the child and None here."""
        parent = os.getpid()
        pid = os.fork()
        if pid:
            os.close(output)
            self.say(pid=pid)
            return None
        os.setsid()
        bind_to_parent(parent, signal.SIGKILL)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for ours in (self.channel, self.alarm, self.wake):
            ours.close()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        return Job(request["name"], request["module"], request["env"])

    def reap(self) -> None:
        """Report every child that has ended."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self.say(exit=pid, code=os.waitstatus_to_exitcode(status))

    def say(self, **message: object) -> None:
        """Send one line to the supervisor."""
        self.channel.sendall(json.dumps(message).encode() + b"\n")

    def _whole(self, data: bytes) -> dict[str, Any]:
        while not data.endswith(b"\n"):
            data += self.channel.recv(REQUEST_LIMIT)
        request: dict[str, Any] = json.loads(data)
        return request


def _imports(name: str) -> bool:
    try:
        importlib.import_module(entry_module(name))
    except Exception:  # noqa: BLE001 -- a module that cannot be imported must not keep the others from running
        traceback.print_exc()
        return False
    return True


def main() -> None:
    """`python -m runbook_ranger.stack.forkserver DESCRIPTOR MODULE…`."""
    server = ForkServer(socket.socket(fileno=int(sys.argv[1])))
    server.preload(sys.argv[2:])
    job = server.serve()
    if job is not None:
        job.run()


if __name__ == "__main__":
    main()
