"""The supervisor: a plain, synchronous, single-threaded program that keeps servers and services alive.

It has one thread, since the parent-death signal belongs to the spawning thread; it waits in one selector for output,
ended children and signals. Whatever ends is started again, whatever its exit code, with a back-off. Killed with
SIGKILL, everything dies with it, and the next start resumes on the same data.

Order of a start: servers and fork server together; provisioning and migrations once the servers answer; services.
Provisioning runs again whenever a server had to be restarted or a service ended by itself: what it missed (a consumer,
a stream, a group) is then there when it starts again.
"""

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from runbook_ranger.stack import identity
from runbook_ranger.stack.console import Console, Voice
from runbook_ranger.stack.errors import AlreadyRunningError
from runbook_ranger.stack.files import try_lock
from runbook_ranger.stack.fleet import FORKSERVER_STAGE, SERVER_STAGE, Fleet, Plan
from runbook_ranger.stack.forkclient import ForkLauncher
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.processes import Child
from runbook_ranger.stack.state import StateFile
from runbook_ranger.stack.units import State, Unit, ending
from runbook_ranger.stack.wakeups import Awakening, Signals

NAME = "supervisor"
QUICK = 0.02
CALM = 1.0  # whatever happens wakes the selector; this is for what has to be looked at
CALM_AFTER = 30.0
SAY_EVERY = 3.0
ATTEMPTS = 3  # to prepare, when a server died under it; a refusal stands at once
REFUSED = 3  # exit code of `prepare` and of provisioning


@dataclass
class Supervisor:
    """Runs a plan until it is told to stop. `on_ready` is called once, when every unit has become ready."""

    layout: Layout
    plan: Plan
    echo: bool = True
    on_ready: Callable[[], None] = lambda: None
    units: dict[str, Unit] = field(default_factory=dict)
    job: Child | None = None
    prepared: bool = False
    ready: bool = False
    attempts: int = 0
    outdated: bool = False  # something ended after the running job had begun: it may not have seen that
    failure: str = ""
    stopping: bool = False

    def run(self) -> int:
        """Start everything, keep it alive, stop it in order; returns 0, or 1 when the first preparation was refused.

        Raises:
            AlreadyRunningError: another supervisor owns the data directory.
        """
        lock = try_lock(self.layout.lock(NAME))
        if lock is None:
            owner = identity.recall(self.layout.record(NAME))
            raise AlreadyRunningError(self.layout.root, owner.pid if owner else None)
        try:
            identity.remember(self.layout.record(NAME), os.getpid())
            self._stop_orphans()
            self._open()
            with Signals(self.selector, self._asked_to_stop):
                self._loop()
        finally:
            self._close()
            os.close(lock)
        if self.failure:
            self.console.tell(self.failure)
        return 1 if self.failure else 0

    def _open(self) -> None:
        self.began = self.said = self.disturbed = time.monotonic()
        self.selector = selectors.DefaultSelector()
        width = max((len(spec.name) for spec in self.plan.services), default=0)
        self.console = Console(self.layout.logs, self.selector, self.echo, max(width, 10))
        self.file = StateFile(self.layout.state, self.plan.url)
        self.fleet = Fleet(self.layout, self.plan, self.console)
        self.units = {unit.name: unit for unit in self.fleet.units()}

    def _stop_orphans(self) -> None:
        """End what a killed supervisor left (where the kernel does not do it); the stores' locks decide afterwards."""
        for path in sorted(self.layout.record("*").parent.glob("*.json")):
            found = identity.recall(path)
            if found is not None and found.pid != os.getpid():
                stop = next((server.stop_signal for server in self.plan.servers if server.name == path.stem), None)
                identity.end(found, stop or signal.SIGKILL, 15.0)

    def _asked_to_stop(self) -> None:
        if self.stopping:
            for unit in self.units.values():
                unit.hurry()
        else:
            self.console.tell("stopping")
        self.stopping = True

    def _loop(self) -> None:
        ticked = 0.0
        while not self._finished():
            for key, _ in self.selector.select(QUICK if self._busy() else CALM - time.monotonic() % CALM):
                self._handle(key.data)
            now = time.monotonic()
            if now - ticked >= QUICK:
                ticked = now
                self._tick(now)

    def _handle(self, source: object) -> None:
        match source:
            case Voice():
                self.console.hear(source)
            case ForkLauncher(channel=channel):
                source.read()
                if source.channel is None and channel is not None:
                    self.selector.unregister(channel)
            case Awakening():
                source.drain()
            case _:
                pass

    def _busy(self) -> bool:
        settled = {State.READY, State.STOPPED}
        return self.stopping or not self.prepared or any(unit.state not in settled for unit in self.units.values())

    def _finished(self) -> bool:
        return self.stopping and all(unit.state is State.STOPPED for unit in self.units.values()) and self.job is None

    def _tick(self, now: float) -> None:
        changed = each(self._reap(unit, now) for unit in self.units.values())
        if self.stopping:
            changed |= self._stop_stage(now)
        else:
            changed |= self._start_due(now)
            changed |= each(self._check(unit, now) for unit in self.units.values())
            self._announce(now)
        if changed:
            self.file.write(self.units.values())

    def _reap(self, unit: Unit, now: float) -> bool:
        code = unit.reap(now)
        if code is None:
            return False
        self.disturbed = now
        if not self.stopping:
            wait = f"again in {unit.due - now:.1f} s"
            self.console.tell(f"{unit.name} {ending(code)}; {wait}")
            if unit.stage >= SERVER_STAGE or code >= 0:
                self.prepared = False
                self.outdated = self.job is not None
        return True

    def _check(self, unit: Unit, now: float) -> bool:
        before = unit.state
        changed = unit.check(now, calm=now - self.disturbed > CALM_AFTER)
        if self.ready and before is not unit.state:
            self.console.tell(f"{unit.name} is ready again")
        return changed

    def _start_due(self, now: float) -> bool:
        early = [unit for unit in self.units.values() if unit.stage >= FORKSERVER_STAGE]
        changed = each(unit.launch(now) for unit in early)
        if not all(unit.state is State.READY for unit in early if unit.stage >= SERVER_STAGE):
            return changed
        if not self.prepared:
            self._prepare()
        if self.prepared and (not self.plan.fork or self.fleet.forks.ready):
            late = [unit for unit in self.units.values() if unit.stage < FORKSERVER_STAGE]
            changed |= each(unit.launch(now) for unit in late)
        return changed

    def _prepare(self) -> None:
        """One step of the preparing job: start it, or see how it ended."""
        again = self.ready and self.plan.restore is not None
        spec = self.plan.restore if again else self.plan.prepare
        if spec is None:
            self.prepared = True
        elif self.job is None:
            self.outdated = False
            with suppress(OSError):
                self.job = self.fleet.start(spec, fork=self.plan.fork and again)
        elif (code := self.job.poll()) is not None:
            self.job = None
            self._judge(spec.name, code)

    def _judge(self, name: str, code: int) -> None:
        """How the preparing job ended: it is repeated, or what it was for goes on, or the first start has failed."""
        if code:
            self.console.tell(f"{name} {ending(code)}; see `rangerctl logs {name}`")
        if code and code != REFUSED and self.attempts < ATTEMPTS:
            self.attempts += 1
        elif code and not self.ready:
            self.failure = f"{name} {ending(code)}; see {self.layout.log(name)}"
            self.stopping = True
        else:
            self.attempts = 0
            self.prepared = not self.outdated

    def _stop_stage(self, now: float) -> bool:
        """Stop the lowest stage that still runs; the next one only when all of it has ended."""
        if self.job is not None:
            self.job.signal(signal.SIGTERM)
            self.job = None if self.job.poll() is not None else self.job
        left = [unit for unit in self.units.values() if unit.state is not State.STOPPED]
        stage = min((unit.stage for unit in left), default=0)
        for unit in left:
            if unit.stage == stage:
                unit.stop(now)
                unit.press(now)
        return bool(left)

    def _announce(self, now: float) -> None:
        missing = [unit for unit in self.units.values() if unit.state is not State.READY]
        if not missing and not self.ready and self.prepared:
            self.ready = True
            self.file.write(self.units.values())
            self.console.tell(f"ready in {now - self.began:.1f} s{self.plan.hint}")
            self.on_ready()
        elif not self.ready and now - self.said > SAY_EVERY:
            self.said = now
            for unit in missing:
                if unit.state is not State.WAITING:
                    self.console.tell(f"waiting for {unit.name}: {unit.detail or unit.state}")
            if self.job is not None:
                self.console.tell("waiting for provisioning and migrations")

    def _close(self) -> None:
        """Leave nothing behind, even after an error of our own."""
        for unit in sorted(self.units.values(), key=lambda unit: unit.stage):
            if unit.child is not None and unit.child.poll() is None:
                unit.child.signal(unit.stop_signal if unit.stage >= SERVER_STAGE else signal.SIGKILL)
        if self.units:
            self.file.write(self.units.values())
        for path in self.layout.record("*").parent.glob("*.json"):
            path.unlink(missing_ok=True)


def each(outcomes: Iterable[bool]) -> bool:
    """Whether any outcome is true, after every one of them has come about."""
    return any(list(outcomes))
