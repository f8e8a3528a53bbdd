"""Programs of ours as real processes that need not import everything anew: forked from one server a test session.

`start` is for `python -m MODULE` what `asyncio.create_subprocess_exec` is for any program: `__main__` runs with exactly
the environment given, in a process of its own, which a signal ends or suspends as any other. Only the imports are paid
once a session, where a fresh interpreter takes two seconds of CPU for them. All end with the session.

Where a fresh interpreter is what a test is about, it starts one.
"""

import asyncio
import json
import os
import runpy
import select
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO, Any, Final

from runbook_ranger.stack.forkclient import ForkedChild, ForkLauncher
from runbook_ranger.stack.processes import ProcessSpec

COMMAND: Final = "FORKED_COMMAND"
IMPORT_SECONDS: Final = 90.0
END_SECONDS: Final = 10.0
STDERR: Final = 2
PRELOADED: Final = [
    *(f"services.{name}" for name in ("gateway", "incident", "catalog", "executor", "approvals", "timeline")),
    "services.executor.worker",
    "runbook_ranger.demo.target",
    "tests.support.probe_service",
    __name__,
]


def main() -> None:
    """What a forked process runs: the module that it was told, as `python -m` does."""
    module, *arguments = json.loads(os.environ.pop(COMMAND))
    sys.argv[1:] = arguments
    for known in (module, f"{module}.__main__"):
        if not hasattr(sys.modules.get(known), "__path__"):
            sys.modules.pop(known, None)  # imported under its own name, which an interpreter would not have done
    runpy.run_module(module, run_name="__main__", alter_sys=True)


class Process:
    """What tests use of `asyncio.subprocess.Process`."""

    def __init__(self, child: ForkedChild, nursery: "Nursery") -> None:
        self._child = child
        self._nursery = nursery
        self.pid = child.pid

    @property
    def returncode(self) -> int | None:
        """Its exit code, negative for the signal that ended it; None while it runs."""
        self._nursery.listen()
        return self._child.code

    def send_signal(self, number: int) -> None:
        """Raises ProcessLookupError when it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError
        os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code, once it has ended."""
        return await self._nursery.end_of(self._child)


@dataclass
class Nursery:
    """The session's fork server, and who waits for an end that it will report."""

    launcher: ForkLauncher = field(default_factory=lambda: ForkLauncher(list(PRELOADED), _refuse))
    waiting: list[tuple[ForkedChild, "asyncio.Future[None]"]] = field(default_factory=list)

    def start(self, command: list[str], env: Mapping[str, str], output: int) -> Process:
        """Fork a process; before the first one, and after its own end, the server is started."""
        if self.launcher.channel is None:
            self.launcher.start(STDERR)
        while not self.launcher.ready:
            assert self._told(IMPORT_SECONDS), "the fork server says nothing"
            self.launcher.read()
            assert self.launcher.channel is not None, "the fork server has ended"
        name = env.get("RR_INSTANCE", command[0].rpartition(".")[2])
        child = self.launcher.launch(ProcessSpec(name, __name__, {**env, COMMAND: json.dumps(command)}), output)
        self._wake()
        return Process(child, self)

    def listen(self) -> None:
        """Take in what the server has reported; never waits."""
        while self._told(0):
            self.launcher.read()
        self._wake()

    async def end_of(self, child: ForkedChild) -> int:
        """A child's exit code, once it is reported."""
        self.listen()
        if self.launcher.channel is not None and child.code is None:
            loop = asyncio.get_running_loop()
            entry = (child, loop.create_future())
            own = os.dup(self.launcher.channel.fileno())  # a loop knows one reader a descriptor
            self.waiting.append(entry)
            loop.add_reader(own, self.listen)
            try:
                await entry[1]
            finally:
                loop.remove_reader(own)
                os.close(own)
                self.waiting.remove(entry)
        assert child.code is not None
        return child.code

    def close(self) -> None:
        """End the server, and with it every process."""
        server = self.launcher.server
        self.launcher.close()
        if server is not None:
            server.process.wait(END_SECONDS)

    def _told(self, seconds: float) -> bool:
        channel = self.launcher.channel
        return channel is not None and bool(select.select([channel], [], [], seconds)[0])

    def _wake(self) -> None:
        for child, ended in self.waiting:
            if child.code is not None and not ended.done():
                ended.set_result(None)


def _refuse(report: str) -> None:
    raise ImportError(report)


NURSERY: Final = Nursery()


def start(module: str, *arguments: str, env: Mapping[str, str], output: IO[Any] | int = STDERR) -> Process:
    """`python -m MODULE ARGUMENTS…` with this environment; both of its outputs go into `output`."""
    return NURSERY.start([module, *arguments], env, output if isinstance(output, int) else output.fileno())


def pytest_unconfigure() -> None:
    """The session is over."""
    NURSERY.close()
