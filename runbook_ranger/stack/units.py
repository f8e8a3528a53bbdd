"""A unit is something that the supervisor keeps alive: its states, back-off and health.

waiting --start--> starting --ready--> ready
starting | ready --end--> backoff --time--> starting
any --stop--> stopping --end--> stopped
"""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from runbook_ranger.stack.errors import StoreBusyError
from runbook_ranger.stack.forkclient import ForkServerGoneError
from runbook_ranger.stack.processes import Child

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
HEALTHY_AFTER = 30.0
BUSY_DELAY = 0.1
STARTING_INTERVAL = 0.05
READY_INTERVAL = 2.0
CALM_INTERVAL = 10.0  # while nothing has ended for a while: each look is a request, answered by asking every server


class State(StrEnum):
    """Where a unit is in its life."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    BACKOFF = "backoff"
    STOPPING = "stopping"
    STOPPED = "stopped"


RUNNING = frozenset({State.STARTING, State.READY, State.STOPPING})


class Readiness(Protocol):
    """Anything that can tell whether a unit does its work."""

    def step(self) -> str | None:
        """None while undecided, "" when ready, otherwise what is missing."""


@dataclass
class Look:
    """A readiness that is decided at once by a quick look."""

    look: Callable[[], bool]
    missing: str = "it does not answer yet"

    def step(self) -> str | None:
        """Never undecided."""
        return "" if self.look() else self.missing


@dataclass
class Unit:
    """One supervised process. `stage` orders the stop; `grace` is the time it has for an orderly end."""

    name: str
    stage: int
    start: Callable[[], Child]
    readiness: Readiness
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0
    watch: bool = True  # keep asking for readiness after the first yes
    ready_url: str = ""  # where whoever wants to know it now may ask
    state: State = State.WAITING
    child: Child | None = None
    restarts: int = 0
    failures: int = 0
    detail: str = ""
    due: float = 0.0
    since: float = field(default_factory=time.time)  # wall clock, for people
    _began: float = 0.0
    _asked: float = 0.0
    _deadline: float = 0.0

    @property
    def running(self) -> bool:
        """Whether a process of it exists."""
        return self.state in RUNNING

    def launch(self, now: float) -> bool:
        """Start the process if it is due; False when it is not or could not be started yet."""
        if self.state not in {State.WAITING, State.BACKOFF} or now < self.due:
            return False
        try:
            self.child = self.start()
        except (StoreBusyError, ForkServerGoneError) as busy:
            self.detail, self.due = str(busy), now + BUSY_DELAY
            return False
        except Exception as error:  # noqa: BLE001 -- a unit that cannot start must not end the supervisor
            self._fail(now, f"cannot start: {error}")
            return True
        self._began = now
        self._enter(State.STARTING, "starting")
        return True

    def reap(self, now: float) -> int | None:
        """The exit code if the process has just ended (the unit then backs off, or is stopped); None otherwise."""
        if self.child is None or not self.running:
            return None
        code = self.child.poll()
        if code is None:
            return None
        self.child = None
        if self.state is State.STOPPING:
            self._enter(State.STOPPED, "")
        else:
            self._fail(now, f"it was {ending(code)}")
        return code

    def check(self, now: float, *, calm: bool = False) -> bool:
        """Ask for readiness when it is time to; True when the state or the complaint has changed.

        What is ready in `calm` times is asked less often.
        """
        asking = self.state is State.STARTING or (self.state is State.READY and self.watch)
        settled = CALM_INTERVAL if calm and not self.detail else READY_INTERVAL
        interval = STARTING_INTERVAL if self.state is State.STARTING else settled
        if not asking or now - self._asked < interval:
            return False
        verdict = self.readiness.step()
        if verdict is None:
            return False
        self._asked = now
        return self._judge(verdict)

    def stop(self, now: float) -> None:
        """Begin an orderly stop; one that does not run is stopped at once."""
        if self.child is None:
            self._enter(State.STOPPED, "")
        elif self.state is not State.STOPPING:
            self._deadline = now + self.grace
            self._enter(State.STOPPING, "stopping")
            self.child.signal(self.stop_signal)

    def press(self, now: float) -> None:
        """Kill a process that has used up its grace."""
        if self.state is State.STOPPING and self.child is not None and now > self._deadline:
            self._deadline = now + self.grace
            self.child.signal(signal.SIGKILL)

    def hurry(self) -> None:
        """No grace any more."""
        self.grace = self._deadline = 0.0

    def _judge(self, verdict: str) -> bool:
        before = self.state, self.detail
        if verdict == "" and self.state is State.STARTING:
            self._enter(State.READY, "")
        self.detail = verdict
        return (self.state, self.detail) != before

    def _fail(self, now: float, why: str) -> None:
        if self._began and now - self._began > HEALTHY_AFTER:
            self.failures = 0
        self.due = now + min(FIRST_DELAY * 2**self.failures, LONGEST_DELAY)
        self.failures += 1
        self.restarts += 1
        self._enter(State.BACKOFF, why)

    def _enter(self, state: State, detail: str) -> None:
        self.state, self.detail = state, detail
        if state in {State.STARTING, State.BACKOFF, State.STOPPED}:
            self.since = time.time()


def ending(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"ended with {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
