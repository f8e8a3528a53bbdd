"""What a supervisor runs, as units that it can start."""

import os
import selectors
import signal
from collections.abc import Iterator
from dataclasses import dataclass

from runbook_ranger.stack import identity
from runbook_ranger.stack.console import Console
from runbook_ranger.stack.forkclient import ForkLauncher
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.probe import Probe
from runbook_ranger.stack.processes import Child, ExecLauncher, ProcessSpec
from runbook_ranger.stack.servers.base import Server
from runbook_ranger.stack.units import Look, Unit

FORKSERVER = "forkserver"
FORKSERVER_STAGE = 50
SERVER_STAGE = 60


@dataclass(frozen=True)
class Plan:
    """What to run: servers in the order of their stop, the one preparing job, and the services."""

    servers: list[Server]
    services: list[ProcessSpec]
    prepare: ProcessSpec | None = None
    restore: ProcessSpec | None = None  # the part of `prepare` that is repeated after a failure
    url: str = ""
    hint: str = ""
    fork: bool = True


class Fleet:
    """Makes the units of a plan and starts their processes, all output going to one console."""

    def __init__(self, layout: Layout, plan: Plan, console: Console) -> None:
        self.layout, self.plan, self.console = layout, plan, console
        self.alone = ExecLauncher()
        self.forks = ForkLauncher([spec.module for spec in self._forked()], console.tell)

    def _forked(self) -> list[ProcessSpec]:
        extra = [self.plan.restore] if self.plan.restore else []
        return [*{spec.module: spec for spec in [*extra, *self.plan.services]}.values()]

    def units(self) -> Iterator[Unit]:
        """Fork server, servers and services in the order of their start, none of them started."""
        if self.plan.fork:  # first: it imports while the servers start
            ready = Look(lambda: self.forks.ready, "it is still importing")
            yield Unit(FORKSERVER, FORKSERVER_STAGE, self.start_forkserver, ready, grace=2.0, watch=False)
        for number, server in enumerate(self.plan.servers):
            yield Unit(
                server.name,
                SERVER_STAGE + number,
                start=lambda server=server: StartedServer(server),  # type: ignore[misc]
                readiness=Look(server.is_ready),
                stop_signal=server.stop_signal,
                grace=15.0,
                watch=False,
            )
        for spec in self.plan.services:
            readiness = Probe(spec.ready_url) if spec.ready_url else Look(lambda: True)
            start = lambda spec=spec: self.start(spec)  # noqa: E731
            yield Unit(spec.name, spec.stage, start, readiness, ready_url=spec.ready_url)

    def start_forkserver(self) -> Child:
        """Start the fork server and listen to it."""
        output = self.console.pipe(FORKSERVER)
        try:
            if self.forks.channel is not None:
                self.console.selector.unregister(self.forks.channel)
            child = self.forks.start(output)
        finally:
            os.close(output)
        if self.forks.channel is not None:
            self.console.selector.register(self.forks.channel, selectors.EVENT_READ, self.forks)
        return child

    def start(self, spec: ProcessSpec, *, fork: bool | None = None) -> Child:
        """Start one process, forked or alone as the plan says, and record it."""
        output = self.console.pipe(spec.name)
        launcher = self.forks if (self.plan.fork if fork is None else fork) else self.alone
        try:
            child: Child = launcher.launch(spec, output)
        finally:
            os.close(output)
        identity.remember(self.layout.record(spec.name), child.pid)
        return child


class StartedServer:
    """A server as a child."""

    def __init__(self, server: Server) -> None:
        self.process = server.start()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server only, never to its children."""
        self.process.send_signal(number)
