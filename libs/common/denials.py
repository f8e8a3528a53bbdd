"""What the bus's server does not permit, told as that and at once.

NATS answers a forbidden publish or subscription with an error on the connection and with nothing where an answer was
awaited: by itself each of them would look like a server that is slow. The error names the subject and no message, so
everything that waits on that subject is refused; that is right, since permissions know subjects only.
"""

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import nats.errors

from libs.common import metrics
from libs.common.contracts.choreography import EVENTS, STREAMS
from libs.common.telemetry import log

REPEAT_SECONDS: Final = 60.0
"""The same denial is counted each time and logged once in so long."""
_SAID: Final = re.compile(r'permissions violation for (publish|subscription)[^"]*"([^"]+)"', re.IGNORECASE)
_UNAUTHORISED: Final = "authorization violation"
_OPERATIONS: Final = {"publish": "publish", "subscription": "subscribe"}
_KINDS: Final = {
    "$js": "jetstream",
    "rpc": "rpc",
    "dlq": "dead_letter",
    "alert": "intake",
    **{subject.removesuffix(".*"): "fact" for subject in STREAMS[EVENTS]},
}
_FIX: Final = "`rangerctl nats permissions` shows what each process is to be granted; docs/operators.md, The bus's keys"


class NotPermitted(nats.errors.Error):
    """The server lets this process not do this; waiting does not help, its configuration has to be mended.

    `operation` is publish or subscribe; `subject` is in small letters where only the server's word is known.
    """

    def __init__(self, operation: str, subject: str) -> None:
        super().__init__(f"not permitted: {operation} {subject}")
        self.operation = operation
        self.subject = subject


class Denials:
    """Hears a connection's errors, and passes each denial on to whoever waits for what was denied."""

    def __init__(self) -> None:
        self._scopes: dict[str, set[asyncio.Timeout]] = {}
        self._watchers: dict[str, Callable[[NotPermitted], None]] = {}
        self._unheard: dict[str, NotPermitted] = {}
        self._told: dict[str, float] = {}

    def hear(self, error: Exception) -> NotPermitted | None:
        """The denial that a connection's error is, counted, logged and passed on; None for any other error."""
        text = str(error)
        found = _SAID.search(text)
        if found is None:
            if self.unauthorised(error):
                self._tell("bus_unauthorised", "", fix="the server knows neither this key nor this password")
            return None
        denied = NotPermitted(_OPERATIONS[found[1].lower()], found[2])
        subject = denied.subject.lower()
        metrics.BUS_DENIALS.labels(denied.operation, kind(subject)).inc()
        self._tell("bus_denied", _tellable(subject), operation=denied.operation, subject=denied.subject, fix=_FIX)
        if denied.operation == "subscribe":
            self._unheard[subject] = denied
            return denied
        now = asyncio.get_running_loop().time()
        for scope in self._scopes.pop(subject, ()):  # at most once each
            scope.reschedule(now)
        if subject in self._watchers:
            self._watchers[subject](denied)
        return denied

    def unauthorised(self, error: Exception) -> bool:
        """Whether the server says that it does not know this process at all."""
        return _UNAUTHORISED in str(error).lower()

    @contextlib.asynccontextmanager
    async def unless_denied(self, subject: str) -> AsyncIterator[None]:
        """Within the block, wait for the answer to what is published on `subject`.

        Raises:
            NotPermitted: within the block, as soon as the server says so.
        """
        key = subject.lower()
        scopes = self._scopes.setdefault(key, set())
        scope = asyncio.timeout(None)
        try:
            async with scope:
                scopes.add(scope)
                yield
        except TimeoutError:
            if scope.expired():
                raise NotPermitted("publish", subject) from None
            raise
        finally:
            scopes.discard(scope)
            if not scopes and self._scopes.get(key) is scopes:
                del self._scopes[key]

    def watch(self, subject: str, callback: Callable[[NotPermitted], None]) -> None:
        """Call back when `subject` may not be published on; a later watcher of the same subject takes its place."""
        self._watchers[subject.lower()] = callback

    def check(self, subject: str) -> None:
        """Whether a subscription to `subject` stands, once the server has taken it in.

        Raises:
            NotPermitted: it was denied.
        """
        if (denied := self._unheard.pop(subject.lower(), None)) is not None:
            raise NotPermitted(denied.operation, subject)

    def check_all(self) -> None:
        """As `check`, for every subscription so far.

        Raises:
            NotPermitted: the first that was denied.
        """
        for subject in list(self._unheard):
            self.check(subject)

    def _tell(self, what: str, about: str, **details: str) -> None:
        now = time.monotonic()
        if now - self._told.get(what + about, -REPEAT_SECONDS) >= REPEAT_SECONDS:
            self._told[what + about] = now
            log.error(what, **details)


def kind(subject: str) -> str:
    """What a subject is for, of a handful of words: a metric's label."""
    first = subject.partition(".")[0].lower()
    return "inbox" if first.startswith("_inbox") else _KINDS.get(first, "other")


def _tellable(subject: str) -> str:
    """Where subjects hold a message's own number, those of a kind are one to the log."""
    return kind(subject) if subject.startswith(("_inbox", "$js.ack.")) else subject
