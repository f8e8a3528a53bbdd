"""Everything that a run left behind, as plain values: what the invariants judge.

Rows are JSON objects as the database shows them, under `schema.table`. Times are ISO texts in UTC as Postgres and the
target write them, or seconds since 1970 where we write them; `seconds` makes both comparable.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from libs.tlog.chain import ChainKey, Head
from libs.tlog.verify import StoredEntry, StoredState
from runbook_ranger.chaos.history import Call

Row: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one row, noted in the transaction that made it. `old` is empty for a new row, `new` for a gone one.

    `number` is in the order of the changes of one row; `at` is the database's clock.
    """

    number: int
    at: float
    table: str
    old: Row
    new: Row

    @property
    def row(self) -> Row:
        """The row as it is, or was at last."""
        return self.new or self.old


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a stream."""

    stream: str
    epoch: int
    seq: int
    subject: str
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""

    @property
    def id(self) -> str:
        """The event's id."""
        return self.headers.get("ce-id") or self.headers.get("Nats-Msg-Id", "")


@dataclass(frozen=True, slots=True)
class Injury:
    """A fault that was carried out: what, to whom, from when to when; `detail` as its kind has it."""

    kind: str
    victim: str
    began: float
    ended: float
    detail: Row = field(default_factory=dict)

    @property
    def met(self) -> bool:
        """Whether it met its victim."""
        return "missed" not in self.detail


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a process's health: how long the answer took, or that there was none.

    `control` is how long a bystander of the same machine took at the same time.
    """

    name: str
    pid: int
    at: float
    seconds: float
    found: Literal["answered", "silent", "gone"]
    control: float = 0.0


@dataclass(frozen=True, slots=True)
class Log:
    """The timeline as it is stored."""

    entries: Sequence[StoredEntry] = ()
    state: StoredState | None = None
    heads: Mapping[ChainKey, Head] = field(default_factory=dict)
    traces: Mapping[str, str] = field(default_factory=dict)  # traceparents of events, by their ids
    executions: Mapping[str, str] = field(default_factory=dict)  # what they are about, by their ids


@dataclass(frozen=True, slots=True)
class Ledger:
    """The target's: every call, effect, repetition and refusal, in order."""

    calls: Sequence[Row] = ()
    effects: Sequence[Row] = ()
    replays: Sequence[Row] = ()
    refused: Sequence[Row] = ()


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the checker is given."""

    history: Sequence[Call] = ()
    ledger: Ledger = field(default_factory=Ledger)
    changes: Sequence[Change] = ()
    rows: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    messages: Sequence[Message] = ()
    consumers: Mapping[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    log: Log = field(default_factory=Log)
    injuries: Sequence[Injury] = ()
    looks: Sequence[Look] = ()
    unsettled: Sequence[str] = ()
    gathered_at: float = 0.0

    @property
    def erased(self) -> bool:
        """Whether the bus lost its store: reports that only it had are their senders' to repeat."""
        return any(injury.kind == "erase" for injury in self.injuries)

    def table(self, name: str) -> Sequence[Row]:
        """The rows of a table at the end."""
        return self.rows.get(name, ())

    def changed(self, table: str) -> list[Change]:
        """The changes of a table, in order."""
        return [change for change in self.changes if change.table == table]

    def stream(self, name: str) -> list[Message]:
        """The messages of a stream, in order."""
        return [message for message in self.messages if message.stream == name]


@dataclass(frozen=True, slots=True)
class Violation:
    """What breaks which invariant: the number, the thing, and in words how."""

    invariant: int
    subject: str
    detail: str

    def __str__(self) -> str:
        return f"invariant {self.invariant}: {self.subject}: {self.detail}"


def seconds(moment: Any) -> float:
    """Seconds since 1970 of an ISO text, a datetime or such a number; 0 where there is none."""
    if moment is None or moment == "":
        return 0.0
    if isinstance(moment, int | float):
        return float(moment)
    found = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def lives(changes: Iterable[Change], *key: str) -> Iterator[tuple[tuple[Any, ...], list[Change]]]:
    """The changes of each row by its key, in order."""
    found: dict[tuple[Any, ...], list[Change]] = defaultdict(list)
    for change in sorted(changes, key=lambda one: one.number):
        found[tuple(change.row[name] for name in key)].append(change)
    yield from found.items()


def lives_of(looks: Iterable[Look]) -> Iterator[tuple[str, list[Look]]]:
    """The looks at each process by its name, in order."""
    found: dict[str, list[Look]] = defaultdict(list)
    for look in sorted(looks, key=lambda one: one.at):
        found[look.name].append(look)
    yield from found.items()


def trace_of(traceparent: str) -> str:
    """The trace that a traceparent belongs to; empty for none."""
    parts = traceparent.split("-")
    return parts[1] if len(parts) == 4 else ""
