"""Signals as events of a selector, for a program that has no loop of a framework's."""

import selectors
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Awakening:
    """The read end of what the interpreter writes to when a signal arrives."""

    channel: socket.socket

    def drain(self) -> None:
        """Forget the numbers; the handlers have run."""
        with suppress(BlockingIOError):
            self.channel.recv(4096)


class Signals:
    """Signals wake the selector; those that ask for an end call `stop`. Restores everything on leaving."""

    def __init__(self, selector: selectors.BaseSelector, stop: Callable[[], None]) -> None:
        self.selector, self.stop = selector, stop
        self.reading, self.writing = socket.socketpair()

    def __enter__(self) -> None:
        for channel in (self.reading, self.writing):
            channel.settimeout(0)
        self.selector.register(self.reading, selectors.EVENT_READ, Awakening(self.reading))
        signal.set_wakeup_fd(self.writing.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in ENDING:
            signal.signal(number, self._stop)

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(-1)
        for number in (*ENDING, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        self.selector.unregister(self.reading)
        self.reading.close()
        self.writing.close()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stop()
